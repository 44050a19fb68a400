"""One process at a time: a lock that the operating system frees when its holder dies."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from designspace.errors import InputError


@contextmanager
def lock(path: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock file at `path`, which stays when the lock is released.

    Args:
        path: The lock file.
        what: What is locked, for the message.
        wait: Wait for the holder instead of raising.

    Raises:
        InputError: Another process holds it (named), or the file can't be written or locked.
    """
    held = FileLock(path, timeout=-1 if wait else 0, mode=0o644)
    try:
        held.acquire()
    except Timeout:
        with path.open(errors="replace") as file:
            holder = file.read(200).strip() or "another process"
        raise InputError(
            f"{what} is in use by {holder}; wait for it or stop it, then try again"
        ) from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    try:
        with suppress(OSError):  # a full disk does not matter here
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        held.release()


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock; reading permission suffices."""
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
