"""Append-only journals: JSON lines, each ending with a checksum of the rest.

A record is flushed and fsynced before `append` returns. A torn last line (the process died while
writing) is reported and ignored; any other damaged line is an error that names file and line.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace.errors import InputError
from designspace.io.text_files import check_regular_file, read_text


@dataclass(frozen=True)
class Journal:
    """The contents of a journal.

    Attributes:
        records: All complete records.
        torn_line: Number of a torn last line, or None.
    """

    records: tuple[dict[str, Any], ...]
    torn_line: int | None = None


def encode(record: dict[str, Any]) -> str:
    """Render one record as a line of JSON that ends with the `crc32` of the rest."""
    body = json.dumps(record, separators=(", ", ": "), allow_nan=False)[:-1]
    return f'{body}, "crc32": "{zlib.crc32(body.encode()):08x}"}}\n'


def append(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Append records and fsync, first cutting off a torn last line.

    A last record that lacks only its newline is complete and stays.

    Raises:
        InputError: The file cannot be written; its earlier records are unharmed.
    """
    text = "".join(encode(record) for record in records).encode()
    try:
        with exclusive(path) as handle:
            end = _end_of_complete_lines(handle)
            size = os.fstat(handle).st_size
            if _is_complete(os.pread(handle, size - end, end)):
                end, text = size, b"\n" + text
            os.ftruncate(handle, end)
            os.lseek(handle, end, os.SEEK_SET)
            try:
                view = memoryview(text)
                while view:
                    view = view[os.write(handle, view) :]
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, end)
                raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Open a journal that no other process appends to until the end of the block.

    Where the file system has no locks, as on some mounts of Lustre and FUSE, one process must write
    at a time.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def read(path: Path, what: str = "journal") -> Journal:
    """Read every record; a missing file is an empty journal.

    Raises:
        InputError: A line other than a torn last one is not a JSON object or fails its checksum.
    """
    if not path.exists():
        return Journal(())
    text = read_text_lossy(path, what)
    lines = text.split("\n")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(_decode(line))
        except ValueError as error:
            if number == len(lines):  # no newline after it: torn while being written
                return Journal(tuple(records), torn_line=number)
            raise InputError(
                f"{what}: {path}, line {number}: {error}; correct or delete that line"
            ) from None
    return Journal(tuple(records))


def read_text_lossy(path: Path, what: str) -> str:
    """Read a journal's text; a byte that is not UTF-8 becomes U+FFFD, failing its checksum."""
    check_regular_file(path, what)
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return read_text(path, what)


def _decode(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("not a complete JSON record") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    stated = record.pop("crc32", None)
    # A record written by hand has no checksum.
    if stated is not None:
        body = line.rpartition(', "crc32": ')[0]
        if stated != f"{zlib.crc32(body.encode()):08x}":
            raise ValueError("its checksum does not fit: the line was changed after it was written")
    return record


def _is_complete(tail: bytes) -> bool:
    try:
        return bool(_decode(tail.decode()))
    except ValueError:
        return False


def _end_of_complete_lines(handle: int) -> int:
    """Offset after the last newline."""
    end = os.lseek(handle, 0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        os.lseek(handle, start, os.SEEK_SET)
        newline = os.read(handle, end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
