"""One driver a run folder: a lock that the operating system drops when its holder dies."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from designspace.errors import InputError


@contextmanager
def lock(path: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock file at `path`; when another process does, refuse at once or wait for it.

    `flock` belongs to the open file of this process, which its children don't inherit: kill -9 of
    the holder frees it, and a file that is left behind locks nothing.

    Args:
        path: The lock file; made when missing, kept afterwards.
        what: What is locked, for the message.
        wait: Wait for the holder instead of refusing.

    Raises:
        InputError: Another process holds it (named), or the file can't be written or locked.
    """
    try:
        # A link is not followed: what it leads to would be overwritten.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(path, flags, 0o644)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
            raise InputError(
                f"{what} is in use by {holder}; wait for it or stop it, then try again"
            ) from None
        except OSError as error:
            raise InputError(f"cannot lock {path}: {error.strerror}") from None
        with suppress(OSError):  # who holds it is told where the disk has room for it
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Say whether a living process holds the lock."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
