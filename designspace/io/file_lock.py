"""One process at a time: a lock that is free again when its holder dies.

The operating system keeps the lock where the file system has flock. Where it has none, as some
mounts of Lustre and FUSE, filelock creates the file with its holder's process and host, and removes
it on release.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from designspace.errors import InputError

# Seconds until a lock is refused: longer than `lock_holder` takes, which holds it for a moment.
RETRY_SECONDS = 0.2
# filelock needs 2 seconds to replace a file that it did not write.
_REPLACE_SECONDS = 3.0
_POLL_SECONDS = 0.02
_UNNAMED = "another process"


@contextmanager
def lock(path: Path, what: str, wait: float = RETRY_SECONDS) -> Iterator[None]:
    """Hold the lock file at `path`, which stays after the release where there is flock.

    Args:
        path: The lock file.
        what: What is locked, for the message.
        wait: Seconds to wait for another holder; `math.inf` for no limit.

    Raises:
        InputError: Another process holds it (named), or the file can't be written or locked.
    """
    held = FileLock(path, timeout=wait, mode=0o644, poll_interval=_POLL_SECONDS)
    try:
        _acquire(held, path)
    except Timeout:
        holder = _read_holder(path)
        raise InputError(
            f"{what} is in use by {holder}; wait for it or stop it, then try again"
        ) from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    try:
        if not _lacks_flock(held):
            with suppress(OSError):  # a full disk does not matter here
                path.write_text(f"{process_name()}\n")
        yield
    finally:
        held.release()


def lock_holder(path: Path) -> str | None:
    """Return the `process_name` of the living process that holds a lock, or None if it is free.

    Reading permission suffices.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(path)
    except OSError:  # the file system has no flock
        record = _read_record(path)
        return process_name(*record) if record and _may_live(*record) else None
    finally:
        os.close(handle)
    return None


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock; reading permission suffices."""
    return lock_holder(path) is not None


def process_name(pid: int | None = None, host: str | None = None) -> str:
    """Return how messages and lock files name a process; by default this one."""
    return f"process {pid or os.getpid()} on {host or socket.gethostname()}"


def _acquire(held: FileLock, path: Path) -> None:
    try:
        held.acquire()
    except Timeout:
        # Without flock, the file of a folder that was copied here looks like a lock.
        if not _lacks_flock(held) or _read_record(path):
            raise
        held.acquire(timeout=_REPLACE_SECONDS)


def _lacks_flock(held: FileLock) -> bool:
    return hasattr(held, "pid")  # raises AttributeError where filelock has used flock


def _read_holder(path: Path) -> str:
    record = _read_record(path)
    return process_name(*record) if record else _read_text(path).strip() or _UNNAMED


def _read_record(path: Path) -> tuple[int, str] | None:
    """Return process and host from filelock's record, which has a line for each."""
    pid, _, rest = _read_text(path).partition("\n")
    # In a container, `?` and a number follow the name of the host.
    host = rest.partition("\n")[0].partition("?")[0]
    return (int(pid), host) if pid.isdecimal() and host else None


def _read_text(path: Path) -> str:
    try:
        with path.open(errors="replace") as file:
            return file.read(300)
    except OSError:  # released in the meantime
        return ""


def _may_live(pid: int, host: str) -> bool:
    """Whether a process exists, which can't be seen of another host's."""
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:  # it is of another user
        return True
    except OSError:
        return False
    return True
