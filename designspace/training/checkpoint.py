"""Checkpoint of a training in progress: one file, replaced atomically."""

import contextlib
import errno
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from designspace.errors import InputError
from designspace.io.atomic_write import temporary_path
from designspace.training.device_setup import is_out_of_memory

_FORMAT = 1
# Part of torch's message where a file can't be written.
_WRITER = "inline_container"
# In a torn file zipfile seeks to places that don't exist; files of a folder may be missing.
_OF_CONTENT = (None, errno.EINVAL, errno.ENOENT, errno.ENOTDIR)


def save(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Without fsync: a process that dies loses nothing, and `load` detects a file torn by a power cut.

    Args:
        path: The file.
        key: Identifies the training; `load` returns the state for the same key only.
        state: Tensors and plain values.

    Raises:
        OSError: It can't be written.
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save({"format": _FORMAT, "key": key, **state}, file)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        # torch raises an error of its own while it handles the OSError of a failed write.
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(cause, OSError):
            raise cause from None
        if _WRITER not in str(error):  # a device's error, as its tensors were read
            raise
        raise OSError("torch could not write it; is the disk full?") from error


def raise_unless_damaged(error: BaseException, path: Path) -> None:
    """Raise what does not come from a checkpoint's content: of memory, a device, a file system.

    A damaged checkpoint is replaced in time, so that no healthy one must be taken for damaged.

    Raises:
        InputError: The file system fails; the message names `path`.
    """
    if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
        raise error
    if isinstance(error, OSError) and error.errno not in _OF_CONTENT:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def load(path: Path, key: str, device: torch.device) -> dict[str, Any] | None:
    """Return the state, or None if the file is missing, damaged, or of another training.

    Raises:
        InputError: It can't be read now, which says nothing of its content.
        RuntimeError: The device fails, or there is too little memory.
        MemoryError: Likewise.
    """
    if not path.is_file():  # opening a pipe would block
        return None
    try:
        # torch ignores the archive's checksums.
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # zipfile and torch raise many types for a damaged file
        raise_unless_damaged(error, path)
        return None
    if not isinstance(state, dict) or (state.get("format"), state.get("key")) != (_FORMAT, key):
        return None
    return state
