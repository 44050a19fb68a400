"""Commands in processes of their own, which tests kill or deprive of disk, rights and time.

A fork server that has imported everything starts them, so that a command begins at once and is
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

from small import as_stamp
from training_fixtures import Inline

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

    # Whether training needs no worker processes, and PNG files are stamps; False with --faults.
    in_process = True

    def __init__(self, *words, before=None, in_process=None):
        """Start it; `before` is called in its process first."""
        self._receiver, sender = _CONTEXT.Pipe(duplex=False)
        in_process = Command.in_process if in_process is None else in_process
        arguments = ([str(word) for word in words], before, in_process, sender)
        self._process = _CONTEXT.Process(target=_run, args=arguments)
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
        children = []
        for task in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children += [int(word) for word in task.read_text().split()]
        return [pid for pid in children if b"popen_loky_posix" in _words_of(pid)]


def _words_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _run(words, before, in_process, sender):
    from designspace.cli.main import main
    from designspace.report import figure_files
    from designspace.training import train_runs

    os.setsid()
    if in_process:
        figure_files.saved = as_stamp(figure_files.saved)
        train_runs.LokyWorkers = lambda jobs, work, *_: Inline(1, work)
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


def tried(function, *arguments, wrong=InputError):
    """Call a function; return its result, and the message of its error or None."""
    try:
        return function(*arguments), None
    except wrong as error:
        return None, str(error)


def places(data, path=()):
    """Yield the path of every value in nested data."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def limit_files(size):
    """Let no file of this process grow beyond `size` bytes: to it, the disk is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def obey_permissions():
    """Drop root's capabilities to read and write any file; another user has none."""

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
    """Let `time.time` return an hour less at each call."""
    import time

    shown = [time.time()]

    def earlier():
        shown[0] -= 3600
        return shown[0]

    time.time = earlier


def clear(text, *parts):
    """Check that a command printed one message of one line, with these parts; return the line."""
    lines = [line for line in text.splitlines() if line.startswith("designspace: ")]
    assert len(lines) == 1, text
    assert text.rstrip("\n").splitlines()[-1] == lines[0], text
    assert "Traceback" not in text, text
    for part in parts:
        assert str(part) in lines[0], lines[0]
    return lines[0]
