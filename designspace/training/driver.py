"""The driver: hands models to workers, writes the journal, and accounts for each of them.

It alone writes to the run folder (but for checkpoints), so that workers may be anywhere.
"""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from designspace.errors import InputError
from designspace.runs import RunFolder, Trial, TrialState
from designspace.runs.live import Live, write_live
from designspace.training.task import TrialTask
from designspace.training.workers import Done, Workers

# A worker that dies twice in the same trial leaves it to a third try, alone, which is the last.
_TRIES = 3
_TICK = 0.5
_LIVE_EVERY = 2.0
# A worker checks the time limit itself; one that is silent for so long beyond it is killed.
_GRACE = 60.0


@dataclass(frozen=True)
class Snapshot:
    """How far a run is.

    Attributes:
        total: Models that this call is to see finished.
        complete: Of those, complete, from before and from now.
        diverged: Diverged.
        failed: Failed.
        running: In the hands of workers.
        per_hour: Models finished an hour since this call began, 0 before the first.
        seconds_left: Estimate by multiply-adds still to do, or None before the first.
    """

    total: int
    complete: int
    diverged: int
    failed: int
    running: int
    per_hour: float
    seconds_left: float | None

    @property
    def finished(self) -> int:
        """Models that have a trial."""
        return self.complete + self.diverged + self.failed


class Observer(Protocol):
    """Who is told how it goes; the command line draws it."""

    def note(self, text: str) -> None:
        """Something that a person should know."""

    def trial(self, trial: Trial, snapshot: Snapshot) -> None:
        """A trial was written to the journal."""

    def tick(self, snapshot: Snapshot) -> None:
        """Time has passed."""


class Driver:
    """Trains the models of one run folder that are asked for and not finished."""

    def __init__(
        self,
        folder: RunFolder,
        tasks: Iterable[TrialTask],
        flops: dict[int, int],
        done: Iterable[Trial],
        workers: Workers,
        observer: Observer,
        grace: float = _GRACE,
    ) -> None:
        """Prepare.

        Args:
            folder: Where the journal is.
            tasks: What is to be trained, in order.
            flops: Multiply-adds of each model by index, to estimate the time that is left.
            done: Trials of earlier calls that count among those asked for.
            workers: Where tasks go.
            observer: Who is told.
            grace: Seconds past its time limit after which a silent worker is killed.
        """
        self._grace = grace
        self._folder, self._workers, self._observer = folder, workers, observer
        self._waiting = deque(tasks)
        self._alone: deque[TrialTask] = deque()
        self._running: dict[int, float] = {}
        self._limits: dict[int, float] = {}
        self._killed: set[int] = set()
        self._tries: dict[int, int] = {}
        self._exclusive = False
        self._states = Counter(trial.state for trial in done)
        self._flops = flops
        self._total = self._states.total() + len(self._waiting)
        self._todo = sum(flops[task.index] for task in self._waiting)
        self._through = 0
        self._count = 0
        self._started = time.monotonic()
        self._live_at = 0.0

    def run(self) -> Snapshot:
        """Train until every model has a trial; return how it ended."""
        self._fill()
        while self._waiting or self._alone or self._running:
            finished = self._take(self._workers.wait(_TICK))
            # Workers go on before the disk is waited for.
            self._fill()
            self._write(finished)
            self._end_silent()
            self._show()
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """Return how far the run is."""
        elapsed = max(time.monotonic() - self._started, 1e-9)
        left = elapsed * (self._todo - self._through) / self._through if self._through else None
        return Snapshot(
            total=self._total,
            complete=self._states[TrialState.COMPLETE],
            diverged=self._states[TrialState.DIVERGED],
            failed=self._states[TrialState.FAILED],
            running=len(self._running),
            per_hour=3600 * self._count / elapsed,
            seconds_left=left,
        )

    def _fill(self) -> None:
        if self._exclusive:
            return
        while self._waiting and len(self._running) < self._workers.slots:
            self._start(self._waiting.popleft())
        if self._alone and not self._waiting and not self._running:
            self._exclusive = True
            self._start(self._alone.popleft())

    def _start(self, task: TrialTask) -> None:
        self._tries[task.index] = self._tries.get(task.index, 0) + 1
        self._running[task.index] = time.time()
        # A worker elsewhere may decode images first, for hours.
        if task.time_limit is not None and task.cache is not None:
            self._limits[task.index] = time.monotonic() + task.time_limit + self._grace
        self._workers.submit(task)

    def _end_silent(self) -> None:
        for index, limit in list(self._limits.items()):
            if time.monotonic() > limit:
                del self._limits[index]
                self._killed.add(index)
                self._workers.kill(index)

    def _take(self, ended: list[Done]) -> list[tuple[TrialTask, Trial]]:
        finished = []
        for done in ended:
            del self._running[done.task.index]
            self._limits.pop(done.task.index, None)
            alone, self._exclusive = self._exclusive, False
            trial = self._judge(done, alone)
            if trial is not None:
                finished.append((done.task, trial))
        return finished

    def _write(self, finished: list[tuple[TrialTask, Trial]]) -> None:
        if not finished:
            return
        self._folder.append_trials([trial for _, trial in finished])
        for task, trial in finished:
            self._states[trial.state] += 1
            self._count += 1
            self._through += self._flops[trial.index]
            if trial.state is not TrialState.FAILED:
                self._drop_checkpoint(task)
            self._observer.trial(trial, self.snapshot())

    def _judge(self, done: Done, alone: bool) -> Trial | None:
        """Return the trial of a task that is through, or None where it is to be tried again."""
        task, outcome = done.task, done.outcome
        if outcome is not None:
            for note in outcome.notes:
                self._observer.note(f"model {task.index}: {note}")
            if not outcome.out_of_memory or alone:
                return outcome.trial
            self._observer.note(f"model {task.index}: out of memory; to be tried again alone")
            self._alone.append(task)
            return None
        if task.index in self._killed:
            return _failed(task, f"past its time limit of {task.time_limit:g} s without a sign")
        tries = self._tries[task.index]
        if tries < _TRIES:
            self._observer.note(f"model {task.index}: {done.death}; to be tried again")
            if tries == _TRIES - 1:
                self._alone.append(task)
            else:
                self._waiting.appendleft(task)
            return None
        reason = f"{done.death}, {tries} times, the last time alone; was it out of memory?"
        return _failed(task, reason)

    def _drop_checkpoint(self, task: TrialTask) -> None:
        if task.checkpoint is not None:
            with contextlib.suppress(OSError):
                task.checkpoint.unlink(missing_ok=True)

    def _show(self) -> None:
        snapshot = self.snapshot()
        self._observer.tick(snapshot)
        now = time.monotonic()
        if now - self._live_at >= _LIVE_EVERY:
            self._live_at = now
            live = Live(
                snapshot.total, snapshot.per_hour, snapshot.seconds_left, dict(self._running)
            )
            with contextlib.suppress(InputError):  # a full disk stops at the journal, not here
                write_live(self._folder, live)


def _failed(task: TrialTask, reason: str) -> Trial:
    return Trial(
        id=task.id,
        index=task.index,
        state=TrialState.FAILED,
        error=None,
        curve=(),
        seconds=0.0,
        seed=task.seed,
        reason=reason,
        split=task.data.split,
    )
