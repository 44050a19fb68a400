"""Write files whole or not at all."""

import os
import re
import secrets
from pathlib import Path

from designspace.errors import InputError

# The file that makes a folder a run folder.
POPULATION_FILE = "population.jsonl"
# A temporary file of `recipe.yaml` is `.recipe.yaml.designspace-`, eight characters and `.tmp`.
_MARK, _SUFFIX = ".designspace-", ".tmp"
_TEMPORARY = re.compile(r"\..+\.designspace-[a-z0-9_]{8}\.tmp")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all; raises as `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, fsync, rename.

    Raises:
        InputError: The folder does not exist or cannot be written, or the disk is full.
    """
    try:
        temporary = path.with_name(f".{path.name}{_MARK}{secrets.token_hex(4)}{_SUFFIX}")
        try:
            # Unlike a file of `tempfile`, one that others may read, unless the umask forbids it.
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def temporary_path(path: Path) -> Path:
    """Return the name under which this process writes a file before renaming it to `path`."""
    return path.with_name(f".{path.name}{_MARK}{os.getpid():08d}{_SUFFIX}")


def remove_temporary_files(folder: Path) -> None:
    """Remove what killed processes left in a folder while writing."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make a folder with its parents.

    Raises:
        InputError: A file is in the way, or a parent cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"cannot make folder {path}: a file of that name is in the way") from None
    except OSError as error:
        raise InputError(f"cannot make folder {path}: {error.strerror}") from None
    return path


def check_output_folder(path: Path) -> None:
    """Raise if a folder for results is a run folder, whose meaning they would change.

    Raises:
        InputError: It is one (`out`).
    """
    if (path / POPULATION_FILE).is_file():
        raise InputError(
            f"out: {path} is a run folder, which holds a population and its trials alone; choose "
            "another",
            "out",
        )


def make_output_folder(path: Path) -> Path:
    """Make a folder for results, with its parents.

    Raises:
        InputError: It is a run folder, or can't be made.
    """
    check_output_folder(path)
    return make_folder(path)
