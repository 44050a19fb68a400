"""Locks: who holds them, after a kill too, and on file systems without flock."""

import errno
import fcntl
import os
import socket
import subprocess
import sys

import pytest

from designspace.errors import InputError
from designspace.io.file_lock import is_locked, lock, lock_holder

pytestmark = pytest.mark.filterwarnings("ignore:flock not supported")

NO_FLOCK = """
import errno, fcntl
def no_flock(*args):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = no_flock
"""
HOLD = """
import os, signal, sys, time
from pathlib import Path
from designspace.io.file_lock import lock
with lock(Path(sys.argv[1]), "x"):
    print("held", flush=True)
    {}
"""
DIE, WAIT = "os.kill(os.getpid(), signal.SIGKILL)", "time.sleep(60)"


@pytest.fixture
def holder():
    """Start a process that holds a lock; return once it does."""
    processes = []

    def start(path, then, flock=True):
        code = ("" if flock else NO_FLOCK) + HOLD.format(then)
        words = [sys.executable, "-W", "ignore", "-c", code, str(path)]
        processes.append(subprocess.Popen(words, stdout=subprocess.PIPE))
        assert processes[-1].stdout.readline() == b"held\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def no_flock(monkeypatch):
    """Let this process, too, find no flock, as on Lustre that is mounted without it."""

    def refuse():
        monkeypatch.setattr(fcntl, "flock", fail)

    def fail(*args):
        raise OSError(errno.ENOSYS, "Function not implemented")

    return refuse


@pytest.fixture(params=[True, False], ids=["flock", "no-flock"])
def flock(request, no_flock):
    """Whether there is flock."""
    if not request.param:
        no_flock()
    return request.param


def test_a_living_holder_is_named(flock, holder, tmp_path):
    path = tmp_path / ".lock"
    process = holder(path, WAIT, flock)
    name = f"process {process.pid} on {socket.gethostname()}"
    assert lock_holder(path) == name
    message = f"the folder is in use by {name}; wait for it or stop it"
    with pytest.raises(InputError, match=message), lock(path, "the folder"):
        pass


def test_after_a_kill_the_lock_is_free(flock, holder, tmp_path):
    path = tmp_path / ".lock"
    process = holder(path, DIE, flock)
    process.wait()
    assert path.exists()
    assert not is_locked(path)
    with lock(path, "the folder"):
        assert lock_holder(path) == f"process {os.getpid()} on {socket.gethostname()}"
    assert not is_locked(path)


def test_without_flock_nothing_is_left_and_a_copied_lock_file_is_replaced(tmp_path, no_flock):
    path = tmp_path / ".lock"
    with lock(path, "the folder"):
        pass
    assert path.read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    no_flock()
    assert not is_locked(path)
    with lock(path, "the folder"):
        assert is_locked(path)
    assert not list(tmp_path.iterdir())


def test_without_flock_a_holder_on_another_host_may_live(tmp_path, no_flock):
    path = tmp_path / ".lock"
    path.write_text("4194305\nnode17?pidns-f0000a1b\n12345\n")  # above the highest process number
    no_flock()
    assert lock_holder(path) == "process 4194305 on node17"
    path.write_text(f"4194305\n{socket.gethostname()}\n")
    assert lock_holder(path) is None


def test_a_probe_of_the_lock_does_not_refuse_its_next_holder(tmp_path, monkeypatch):
    """`lock_holder` holds the lock for a moment; here it does so until the first attempt failed."""
    path = tmp_path / ".lock"
    path.touch()
    probe, flock, attempts = os.open(path, os.O_RDONLY), fcntl.flock, []
    flock(probe, fcntl.LOCK_SH)

    def ends_after_an_attempt(*args):
        attempts.append(args)
        try:
            flock(*args)
        finally:
            flock(probe, fcntl.LOCK_UN)

    monkeypatch.setattr(fcntl, "flock", ends_after_an_attempt)
    with lock(path, "the folder"):
        assert len(attempts) == 2
    os.close(probe)
