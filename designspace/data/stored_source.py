"""Data sets that a file states, rather than the user: their commands are not run.

Shards may be `pipe:COMMAND`, and addresses of other kinds than the web's run programs as well. What
the user passes is run, and remembered, so that the same training resumes without it.
"""

import contextlib
import hashlib
import re
from pathlib import Path

from designspace.data.cache import default_cache_folder
from designspace.data.shard_files import expand_shards, is_remote
from designspace.errors import InputError
from designspace.runs.training_options import has_addresses

# Addresses that stay one word of a shell command in quotes, as webdataset may write them.
_WEB_ADDRESS = re.compile(r"https?://[\w.~:/?#\[\]@!&()*+,=%{}-]+", re.ASCII)


def choose_source(
    passed: str | None, stated: str | None, stated_in: Path | str, cache: Path | None = None
) -> str | None:
    """Return the data set that the user passed, else the one that a file states.

    Args:
        passed: What the user passed, or None.
        stated: What the file states, or None.
        stated_in: The file or folder, for messages.
        cache: Folder of image caches, which remembers what was passed; None for the user's.

    Raises:
        InputError: The stated one would run a command that the user never passed (`data`).
    """
    if passed is not None:
        remember_source(passed, cache)
        return passed
    if stated is not None:
        check_stored_source(stated, stated_in, cache)
    return stated


def remember_source(source: str, cache: Path | None = None) -> None:
    """Remember that the user passed a data set whose shards run commands."""
    commands = _commands(source)
    if not commands:
        return
    file = _marker(commands, cache)
    with contextlib.suppress(OSError):  # then it must be passed again
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def check_stored_source(source: str, stated_in: Path | str, cache: Path | None = None) -> None:
    """Raise if a data set that a file states runs a command that the user never passed.

    Raises:
        InputError: It does (`data`).
    """
    commands = _commands(source)
    if commands and not _marker(commands, cache).is_file():
        raise InputError(
            f"data of {stated_in} is {source!r}, which runs a command; pass it as data to run it",
            "data",
        )


def _commands(source: str) -> list[str]:
    """Shards of a data set that run a command."""
    kind, _, pattern = source.partition(":")
    if kind != "webdataset" or not has_addresses(pattern):
        return []
    urls = expand_shards(source)
    return [url for url in urls if is_remote(url) and not _WEB_ADDRESS.fullmatch(url)]


def _marker(commands: list[str], cache: Path | None) -> Path:
    key = hashlib.sha256("\n".join(commands).encode()).hexdigest()[:20]
    return (cache or default_cache_folder()) / "shards" / f"{key}.passed"
