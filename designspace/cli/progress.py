"""Long work on the terminal: a bar with rate and time left, plain lines when it is no terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from designspace.runs import Run, Trial
    from designspace.training.driver import RunProgress
    from designspace.training.tensorboard import TrialTensorBoard

# Seconds between plain lines that bring news, and between any.
_NEWS_EVERY, _LINE_EVERY = 10.0, 60.0


@contextmanager
def terminal(stopped: str) -> Iterator["Progress | None"]:
    """Give a bar where there is a terminal; on Ctrl-C, say how to go on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f}"),
        TextColumn("{task.fields[about]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    try:
        with bar:
            yield bar if console.is_terminal else None
    except KeyboardInterrupt as stop:
        stop.args = (stopped,)
        raise


class Display:
    """Draws on a bar, or prints lines without one."""

    def __init__(self, bar: "Progress | None") -> None:
        """Begin with nothing shown."""
        self._bar = bar
        self._task = bar.add_task("", total=None, visible=False, about="") if bar else None
        self._line_at, self._shown = -_LINE_EVERY, ("", -1)
        self._began = ("", 0.0, 0)

    def note(self, text: str) -> None:
        """Print something that a person should know."""
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def decoded(self, done: int, total: int) -> None:
        """So many images are in the cache."""
        rate = self._rate("decoding images", done)
        left = f"{rate:.0f} images/s, {duration((total - done) / rate)} left" if rate else ""
        self.show("decoding images", done, total, left, last=done == total)

    def _rate(self, name: str, done: int) -> float:
        """How many a second, since that name was first shown or its count began anew."""
        now = time.monotonic()
        if self._began[0] != name or done < self._began[2]:
            self._began = (name, now, done)
        _, since, first = self._began
        return (done - first) / max(now - since, 1e-9)

    def show(self, name: str, done: int, total: int, about: str, last: bool = False) -> None:
        """Show how far something is, in place of what was shown before."""
        if self._bar and self._task is not None:
            self._bar.update(
                self._task,
                description=name,
                completed=done,
                total=total,
                about=about,
                visible=not last,
            )
            return
        now = time.monotonic()
        news = self._shown != (name, done)
        if now - self._line_at >= (_NEWS_EVERY if news else _LINE_EVERY):
            self._line_at, self._shown = now, (name, done)
            print(f"{name}: {done} of {total}  {about}".rstrip(), file=sys.stderr, flush=True)


class EvaluationDisplay(Display):
    """Draws what an evaluation tells."""

    def epochs(self, done: int, total: int, seconds_left: float) -> None:
        """So many epochs of a supervised training are done."""
        left = f"{duration(seconds_left)} left"
        self.show("epochs with labels", done, total, left, last=done == total)


class TrainingDisplay(Display):
    """Draws what the driver of trials tells."""

    def __init__(
        self, bar: "Progress | None", board: "TrialTensorBoard | None" = None, several: bool = False
    ) -> None:
        """Begin.

        Args:
            bar: On a terminal.
            board: Gets every trial, where there is one.
            several: Whether models need the name of their run.
        """
        super().__init__(bar)
        self._board, self._several = board, several

    def trial(self, folder: "Run", trial: "Trial", snapshot: "RunProgress") -> None:
        """A trial is in the journal of a run."""
        if self._board:
            self._board.write(folder.path / "tensorboard", trial)
        if trial.reason:
            of = f" of {folder.name}" if self._several else ""
            self.note(f"model {trial.index}{of} {trial.state}: {trial.reason}")
        self.tick(snapshot)

    def tick(self, snapshot: "RunProgress") -> None:
        """Show how far the run is."""
        self.show("training", snapshot.finished, snapshot.total, describe(snapshot))


def summary(snapshot: "RunProgress") -> str:
    """Return how training ended in one line."""
    parts = [f"{snapshot.complete} complete"]
    parts += [f"{snapshot.diverged} diverged"] if snapshot.diverged else []
    parts += [f"{snapshot.failed} failed (--retry tries again)"] if snapshot.failed else []
    return f"{snapshot.finished} of {snapshot.total} models: {', '.join(parts)}"


def describe(snapshot: "RunProgress") -> str:
    """Return rate, time left and failures in a few words."""
    words = [f"{snapshot.per_hour:.0f} models/h"] if snapshot.per_hour else []
    if snapshot.seconds_left is not None:
        words.append(f"{duration(snapshot.seconds_left)} left")
    words += [f"{snapshot.diverged} diverged"] if snapshot.diverged else []
    words += [f"{snapshot.failed} failed"] if snapshot.failed else []
    return ", ".join(words)


def duration(seconds: float) -> str:
    """Write a time in two units: 42 s, 3 min 20 s, 5 h 12 min, 2 d 4 h."""
    whole = round(seconds)
    for unit, name, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {small}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
