"""Read text files and check paths before they are read or written."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from designspace.errors import InputError


def read_text(path: Path, what: str, limit: int | None = None) -> str:
    """Read a UTF-8 file of at most `limit` characters.

    Raises:
        InputError: The file is missing, not a regular file, unreadable, too long or not UTF-8.
    """
    check_regular_file(path, what)
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read() if limit is None else file.read(limit + 1)
    except FileNotFoundError:
        raise InputError(f"{what}: no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{what}: {path} is a folder, not a file") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what}: {path} is not UTF-8 text (byte {error.start}); save it as plain text"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{what}: cannot read {path}: {reason}") from None
    if limit is not None and len(text) > limit:
        raise InputError(
            f"{what}: {path} is longer than {limit:,} characters; is it the right file?"
        )
    return text


def check_regular_file(path: Path, what: str) -> None:
    """Raise if the path is a pipe, a device or a socket: reading one may never end.

    Raises:
        InputError: The path exists and is neither a file nor a folder.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # opening it reports why
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(
            f"{what}: {path} is a pipe, a device or a socket, and reading it may never end; put a "
            "plain file in its place"
        )


def check_links(folder: Path, names: Iterable[str]) -> None:
    """Raise if one of these entries links out of the folder, so that writing would reach elsewhere.

    Raises:
        InputError: There is such a link; the message names it.
    """
    home = Path(os.path.realpath(folder))
    for path in (folder / name for name in names):
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
            raise InputError(
                f"{path} is a link out of its folder, to {path.readlink()}; put a copy in its place"
            )
