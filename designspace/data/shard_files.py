"""Which shards a pattern means, which of their files are images, and why a shard can't be read."""

import errno
import glob
import os
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from designspace.errors import InputError, counted, name_some, printable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".ppm", ".bmp", ".tif", ".tiff")
# Fraction of the shards that may be cut.
MAX_CUT = 0.05
# Seconds before a URL or a pipe that failed is read again.
_PAUSES = (0.5, 2.0)
_Read = TypeVar("_Read")


def expand_shards(spec: str) -> list[str]:
    """Return the shards of webdataset:PATTERN: paths, URLs or pipes.

    A pattern has braces (shards/{000..049}.tar); one of paths may have * and ? instead.

    Raises:
        InputError: The webdataset library is missing, the pattern is wrong, or a path is no file.
    """
    try:
        from webdataset.shardlists import expand_urls
    except ImportError:
        raise InputError(
            f"data is {spec!r}; webdataset is not installed: pip install "
            "'designspace-regnet[webdataset]'",
            "data",
        ) from None
    try:
        expanded = expand_urls(spec.partition(":")[2])
    except ValueError as error:
        raise InputError(
            f"data is {spec!r}; {error}; write shards such as shards/{{000..049}}.tar", "data"
        ) from None
    if len(set(expanded)) < len(expanded):
        raise InputError(f"data is {spec!r}, which names a shard twice", "data")
    return list(dict.fromkeys(url for one in expanded for url in _expand_path(one, spec)))


def _expand_path(url: str, spec: str) -> list[str]:
    if is_remote(url):
        return [url]
    path = os.path.expanduser(url)
    if glob.has_magic(path) and not os.path.exists(path):
        paths = sorted(glob.glob(path))
        if not paths:
            raise InputError(f"data is {spec!r}; there is no file {url}", "data")
    else:
        paths = [path]
    for path in paths:
        if os.path.isdir(path):
            raise InputError(
                f"data is {spec!r}; {path} is a folder; name its shards, such as "
                f"{os.path.join(path, '*.tar')}",
                "data",
            )
        if not os.path.exists(path):
            raise InputError(f"data is {spec!r}; {path}: {os.strerror(errno.ENOENT)}", "data")
    return paths


def is_remote(url: str) -> bool:
    """Return whether a shard is a URL or a pipe, rather than a file."""
    return url.startswith("pipe:") or "://" in url


def read_again(
    url: str,
    read: Callable[[], tuple[_Read, str]],
    is_whole: Callable[[_Read], bool] = lambda result: False,
) -> tuple[_Read, str]:
    """Read a shard, one that is remote up to three times.

    Args:
        url: The shard.
        read: Returns what it read, and why the shard can't be read to its end, or "".
        is_whole: Whether nothing is missing, although the shard can't be read to its end.

    Returns:
        What `read` returned last.
    """
    for pause in _PAUSES if is_remote(url) else ():
        result, failure = read()
        if not failure or is_whole(result):
            return result, failure
        time.sleep(pause)
    return read()


def is_image_file(name: str) -> bool:
    """Return whether a file of a shard is an image, by its name."""
    # webdataset takes names like __meta__ as its own; tar on macOS adds a ._NAME to each file.
    hidden = name.startswith("__") or os.path.basename(name).startswith(".")
    return name.lower().endswith(IMAGE_SUFFIXES) and not hidden


def read_failure(error: Exception, url: str) -> str:
    """Say in words why a shard can't be read to its end."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, tarfile.TarError):
        return error.strerror
    if isinstance(error, tarfile.ReadError) and not is_remote(url):
        with Path(url).open("rb") as file:
            start = file.read(512)
        if start[:2] == b"\x1f\x8b" and url.endswith(".tar"):
            return "compressed by gzip; rename it to .tar.gz"
        if start and not start.startswith(b"\x1f\x8b") and start[257:262] != b"ustar":
            return "no tar file"
    # webdataset adds which stream it was reading.
    words = str(error.args[0] if error.args else error).partition(" @ ")[0]
    return printable(words).strip() or type(error).__name__


def check_shards(spec: str, images: int, cut: Mapping[str, str], shards: int) -> None:
    """Check that there are images, and few shards that can't be read to their end.

    Args:
        spec: webdataset:PATTERN, for messages.
        images: In all shards.
        cut: Why a shard can't be read to its end, by its name.
        shards: Number of shards.

    Raises:
        InputError: There is no image, or more than 5 % of the shards are cut.
    """
    if len(cut) > MAX_CUT * shards:
        raise InputError(
            f"data is {spec!r}; {len(cut)} of {counted(shards, 'shard')} can't be read to the end: "
            f"{name_some(cut)}; at most {MAX_CUT:.0%} may be so. Copy them again",
            "data",
        )
    if not images:
        raise InputError(
            f"data is {spec!r}; its shards hold no image; file types: {', '.join(IMAGE_SUFFIXES)}",
            "data",
        )


def cut_note(cut: Mapping[str, str], shards: int) -> str:
    """Return the message for shards that end in the middle of a file."""
    verb = "is" if len(cut) == 1 else "are"
    return (
        f"{len(cut)} of {shards} shards {verb} cut; their whole images are used: {name_some(cut)}"
    )
