"""Commands in processes of their own, which tests disturb: killed, short of disk, without rights.

A fork server that has imported everything makes them, so that a command starts at once and is
killed in its work, not in its imports.
"""

import contextlib
import ctypes
import io
import multiprocessing
import os
import resource
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path

from designspace.errors import InputError

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "designspace.training.train_runs",
        "designspace.evaluation.classification",
        "designspace.pretraining.pretrain",
        "designspace.report.write_report",
        "designspace.export.export_model",
        "designspace.space",
        "rich.progress",
        "sklearn.datasets",
    ]
)


@dataclass(frozen=True)
class Outcome:
    """What a command did; its code is the negative signal where it was killed."""

    code: int
    out: str = ""
    err: str = ""


class Command:
    """`designspace WORDS` at work in a process of its own."""

    def __init__(self, *words, before=None):
        """Start it; `before` is called in its process first."""
        self._receiver, sender = _CONTEXT.Pipe(duplex=False)
        told = [str(word) for word in words]
        self._process = _CONTEXT.Process(target=_run, args=(told, before, sender))
        self._process.start()
        sender.close()
        self.pid = self._process.pid

    def end(self, seconds=600):
        """Wait for its end; return what it did."""
        try:
            assert self._receiver.poll(seconds), "the command does not end"
            outcome = self._receiver.recv()
        except EOFError:
            outcome = None
        self._process.join(seconds)
        return outcome or Outcome(self._process.exitcode)

    def alive(self):
        """Whether it is still at work."""
        return self._process.is_alive()

    def stop(self, after, number=signal.SIGKILL, group=False):
        """Send a signal after so many seconds; return whether it was still at work then."""
        if self._receiver.poll(after):
            return False
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)
        return True

    def workers(self):
        """Process numbers of its loky workers."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(word) for word in task.read_text().split()]
        return [pid for pid in found if b"popen_loky_posix" in _words_of(pid)]


def _words_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _run(words, before, sender):
    from designspace.cli.main import main

    os.setsid()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = 0
        try:
            if before is not None:
                before()
            main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
    sender.send(Outcome(code, out.getvalue(), err.getvalue()))


def tried(function, *words, wrong=InputError):
    """Call a function; return what it gave, and None or the message of what was wrong."""
    try:
        return function(*words), None
    except wrong as error:
        return None, str(error)


def limit_files(size):
    """Let no file of this process grow beyond so many bytes: to it, the disk is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def obey_permissions():
    """Give up root's right to read and write whatever it likes; another user has none."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Data(ctypes.Structure):
        _fields_ = (
            ("effective", ctypes.c_uint32),
            ("permitted", ctypes.c_uint32),
            ("inheritable", ctypes.c_uint32),
        )

    libc = ctypes.CDLL(None, use_errno=True)
    header, data = Header(0x20080522, 0), (Data * 2)()
    assert libc.capget(ctypes.byref(header), data) == 0
    override, read_search = 1 << 1, 1 << 2
    for name in ("effective", "permitted"):
        setattr(data[0], name, getattr(data[0], name) & ~(override | read_search))
    assert libc.capset(ctypes.byref(header), data) == 0, ctypes.get_errno()


def turn_the_clock_back():
    """Let each look at the clock show an hour less than the one before."""
    import time

    shown = [time.time()]

    def earlier():
        shown[0] -= 3600
        return shown[0]

    time.time = earlier


def clear(text, *told):
    """Hold what a command said to the house's rule: one line: what, where, what would be right."""
    lines = [line for line in text.splitlines() if line.startswith("designspace: ")]
    assert len(lines) == 1, text
    assert text.rstrip("\n").splitlines()[-1] == lines[0], text
    assert "Traceback" not in text, text
    for word in told:
        assert str(word) in lines[0], lines[0]
    return lines[0]
