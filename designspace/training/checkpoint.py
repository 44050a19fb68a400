"""The state of a trial in flight: one file, replaced whole after each epoch."""

import contextlib
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from designspace.io.files import half_written

_FORMAT = 1


def save(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a state under its final name at once or not at all.

    There is no fsync: a process that dies loses nothing without it, and a file that a power cut
    left torn is found out by `load`.

    Args:
        path: The file.
        key: What the state is of; `load` returns it for that alone.
        state: Tensors and plain values.

    Raises:
        OSError: It can't be written.
    """
    temporary = half_written(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save({"format": _FORMAT, "key": key, **state}, file)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        # Of a file that broke off torch says in which line of its own; the reason lies behind that.
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(cause, OSError):
            raise cause from None
        raise OSError("torch could not write it; is the disk full?") from error


def load(path: Path, key: str, device: torch.device) -> dict[str, Any] | None:
    """Return the state, or None where there is none, it is damaged, or it is of another trial."""
    if not path.is_file():  # a pipe in its place would be waited for
        return None
    try:
        # torch doesn't look at the archive's checksums, and would hand out a changed number.
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception:  # neither zipfile nor torch names one error for a damaged file
        return None
    if not isinstance(state, dict) or (state.get("format"), state.get("key")) != (_FORMAT, key):
        return None
    return state
