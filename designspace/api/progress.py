"""Progress of long calls: a bar on a terminal or in a notebook, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from designspace.pretraining.pretrain import PretrainProgress
    from designspace.runs import Run, Trial
    from designspace.space.sampler import SearchObserver
    from designspace.training.driver import RunProgress
    from designspace.training.trial_log import TrialLog

# Seconds between plain lines when something changed, and at most between any two.
_NEWS_EVERY, _LINE_EVERY = 10.0, 60.0
# Seconds before the progress of a search is shown.
_SEARCH_SHOWN_AFTER = 1.0


@contextmanager
def progress_bar(stopped: str, wanted: bool = True) -> Iterator["Progress | None"]:
    """Yield a progress bar on a terminal or in a notebook, else None.

    Args:
        stopped: Message of a KeyboardInterrupt: how to resume.
        wanted: Whether progress is shown at all.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    drawn = wanted and (console.is_terminal or console.is_jupyter)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[about]}"),
        console=console,
        transient=True,
        disable=not drawn,
    )
    try:
        with bar:
            yield bar if drawn else None
    except KeyboardInterrupt as stop:
        stop.args = (stopped,)
        raise


class Display:
    """Draws on a bar, prints lines without one, or stays silent."""

    def __init__(self, bar: "Progress | None", silent: bool = False) -> None:
        self._bar, self._silent = bar, silent
        self._task = bar.add_task("", total=None, visible=False, about="") if bar else None
        self._line_at, self._shown = -_LINE_EVERY, ("", -1)
        self._began = ("", 0.0, 0)

    def note(self, text: str) -> None:
        """Print a message."""
        if self._silent:
            return
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def decoded(self, done: int, total: int) -> None:
        """Show how many images are decoded."""
        rate = self._rate("decoding images", done)
        left = f"{rate:.0f} images/s, {duration((total - done) / rate)} left" if rate else ""
        self.show("decoding images", done, total, left, last=done == total)

    def _rate(self, name: str, done: int) -> float:
        """Return items per second since `name` was first shown or its count restarted."""
        now = time.monotonic()
        if self._began[0] != name or done < self._began[2]:
            self._began = (name, now, done)
        _, since, first = self._began
        return (done - first) / max(now - since, 1e-9)

    def show(self, name: str, done: int, total: int, about: str, last: bool = False) -> None:
        """Show `done` of `total`, in place of what was shown before."""
        if self._silent:
            return
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
        due = now - self._line_at >= (_NEWS_EVERY if news else _LINE_EVERY)
        if due or (news and done == total):
            self._line_at, self._shown = now, (name, done)
            print(f"{name}: {done} of {total}  {about}".rstrip(), file=sys.stderr, flush=True)


@contextmanager
def search_progress(wanted: bool = True) -> Iterator["SearchObserver"]:
    """Yield a function that shows the progress of a long search, on a terminal or in a notebook."""
    began, displays = time.monotonic(), list[Display]()

    def show(accepted: int, n: int, tried: int) -> None:
        if time.monotonic() - began < _SEARCH_SHOWN_AFTER:
            return
        if not displays:
            bar = stack.enter_context(progress_bar("interrupted; nothing was written", wanted))
            displays.append(Display(bar, silent=bar is None))
        displays[0].show("sampling", accepted, n, f"{tried:,} candidates tried")

    with ExitStack() as stack:
        yield show


class EvaluationDisplay(Display):
    """Progress of an evaluation."""

    def epochs(self, done: int, total: int, seconds_left: float) -> None:
        """Show the epochs done by all supervised trainings."""
        left = f"{duration(seconds_left)} left"
        self.show("epochs with labels", done, total, left, last=done == total)


class TrainingDisplay(Display):
    """Progress of the trials of one or several runs."""

    def __init__(
        self,
        bar: "Progress | None",
        log: "TrialLog | None" = None,
        several: bool = False,
        silent: bool = False,
    ) -> None:
        """Start.

        Args:
            bar: The bar, or None for lines.
            log: Receives every trial.
            several: Whether to name the run of each model.
            silent: Show nothing.
        """
        super().__init__(bar, silent)
        self._log, self._several, self._log_failure = log, several, ""

    def trial(self, folder: "Run", trial: "Trial", snapshot: "RunProgress") -> None:
        """Report a trial that is in the journal of a run."""
        if self._log:
            self._write_log(self._log, folder, trial)
        if trial.reason:
            of = f" of {folder.name}" if self._several else ""
            self.note(f"model {trial.index}{of} {trial.state}: {trial.reason}")
        self.tick(snapshot)

    def _write_log(self, log: "TrialLog", folder: "Run", trial: "Trial") -> None:
        """Log a trial; a server that can't be reached doesn't end the training."""
        try:
            log.write(folder.path, trial)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
            if failure != self._log_failure:
                self.note(f"model {trial.index} is not logged, but in the journal: {failure}")
            self._log_failure = failure

    def tick(self, snapshot: "RunProgress") -> None:
        """Show how many models are finished."""
        self.show("training", snapshot.finished, snapshot.total, describe(snapshot))


class PretrainingDisplay(Display):
    """Progress of a pretraining."""

    def __init__(self, bar: "Progress | None", silent: bool = False) -> None:
        super().__init__(bar, silent)
        self._alarms: set[str] = set()

    def begin(self, done: int, total: int) -> None:
        """Report how many iterations an earlier call has done."""
        if done:
            rest = "finished" if done == total else f"resuming at {done + 1}"
            self.note(f"{done} of {total} iterations were done before: {rest}")

    def steps(
        self, records: list[dict[str, Any]], total: int, progress: "PretrainProgress"
    ) -> None:
        """Show the iterations that are in the journal."""
        last = records[-1]
        speed = f"{progress.images_per_second:.0f} images/s"
        about = f"loss {last['loss']:.4f}  lr {last['lr']:.4g}  {speed}"
        left = f"{duration(progress.seconds_left)} left"
        self.show("pretraining", last["iteration"], total, f"{about}  {left}")

    def alarms(self, alarms: dict[str, str]) -> None:
        """Report the alarms that are new, and those that are over."""
        for name, text in alarms.items():
            if name not in self._alarms:
                self.note(f"  ALARM ({name}): {text}")
        for name in sorted(self._alarms - set(alarms)):
            self.note(f"  alarm over ({name})")
        self._alarms = set(alarms)

    def epoch(self, record: dict[str, Any]) -> None:
        """Report the metrics of an epoch."""
        knn = f", k-NN {record['knn']:.1f} %" if "knn" in record else ""
        rank = (
            f", RankMe {record['rankme']:.1f} of {record['rank_limit']}"
            if "rankme" in record
            else ""
        )
        self.note(
            f"epoch {record['epoch']}: loss {record['loss']:.4f}, {record['prototypes_used']} "
            f"prototypes used, feature std {record['feature_std']:.2f}{rank}{knn}"
        )


def describe(snapshot: "RunProgress") -> str:
    """Describe rate, time left and failures in a few words."""
    words = [f"{snapshot.per_hour:.0f} models/h"] if snapshot.per_hour else []
    if snapshot.seconds_left is not None:
        words.append(f"{duration(snapshot.seconds_left)} left")
    words += [f"{snapshot.diverged} diverged"] if snapshot.diverged else []
    words += [f"{snapshot.failed} failed"] if snapshot.failed else []
    return ", ".join(words)


def duration(seconds: float) -> str:
    """Format a time in two units: 42 s, 3 min 20 s, 5 h 12 min, 2 d 4 h."""
    whole = round(seconds)
    for unit, name, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {small}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
