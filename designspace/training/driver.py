"""The driver: hands models to workers, writes the journal, and accounts for each of them.

It alone writes to the run folder (but for checkpoints), so that workers may be anywhere.
"""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from designspace.errors import InputError
from designspace.runs import Run, Trial, TrialState
from designspace.runs.heartbeat import Heartbeat, write_heartbeat
from designspace.training.loky_workers import TaskResult, Workers
from designspace.training.trial_task import TrialTask

# A worker that dies twice in the same trial leaves it to a third try, alone, which is the last.
_TRIES = 3
_TICK = 0.5
_LIVE_EVERY = 2.0
# A worker checks the time limit itself; one that is silent for so long beyond it is killed.
_GRACE = 60.0


@dataclass(frozen=True)
class RunProgress:
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


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What is to be done in one run.

    Attributes:
        folder: Where its journal is.
        tasks: What is to be trained.
        done: Trials of earlier calls that count among those asked for.
        flops: Multiply-adds of each model by index, to estimate the time that is left.
    """

    folder: Run
    tasks: Sequence[TrialTask]
    done: Sequence[Trial]
    flops: Sequence[int]


class Observer(Protocol):
    """Who is told how it goes; the command line draws it."""

    def note(self, text: str) -> None:
        """Something that a person should know."""

    def trial(self, folder: Run, trial: Trial, snapshot: RunProgress) -> None:
        """A trial was written to the journal of a run; the snapshot is of all runs."""

    def tick(self, snapshot: RunProgress) -> None:
        """Time has passed."""


class _Account:
    """What has become of the models of one run, or of several together."""

    def __init__(self, share: RunPlan) -> None:
        self.share = share
        self.states = Counter(trial.state for trial in share.done)
        self.total = self.states.total() + len(share.tasks)
        self.todo = sum(share.flops[task.index] for task in share.tasks)
        self.through = 0
        self.count = 0

    def add(self, trial: Trial) -> None:
        self.states[trial.state] += 1
        self.count += 1
        self.through += self.share.flops[trial.index]


class Driver:
    """Trains the models of one run or of several that are asked for and not finished.

    Several runs take turns, model 0 of each first, so that an interruption leaves all of them
    equally long.
    """

    def __init__(
        self,
        shares: Sequence[RunPlan],
        workers: Workers,
        observer: Observer,
        until: Callable[[], str | None] = lambda: None,
        grace: float = _GRACE,
    ) -> None:
        """Prepare.

        Args:
            shares: What is to be done in each run; the tasks of share i have run i.
            workers: Where tasks go.
            observer: Who is told.
            until: Asked before the first and after each trial; words end the training there, and
                are passed on. Trials in flight keep their checkpoints.
            grace: Seconds past its time limit after which a silent worker is killed.
        """
        self._accounts = [_Account(share) for share in shares]
        self._workers, self._observer = workers, observer
        self._until, self._grace = until, grace
        tasks = [task for share in shares for task in share.tasks]
        self._waiting = deque(sorted(tasks, key=lambda task: (task.index, task.run)))
        self._alone: deque[TrialTask] = deque()
        self._running: dict[tuple[int, int], float] = {}
        self._limits: dict[tuple[int, int], tuple[TrialTask, float]] = {}
        self._killed: set[tuple[int, int]] = set()
        self._tries: Counter[tuple[int, int]] = Counter()
        self._exclusive = False
        self._started = time.monotonic()
        self._live_at = 0.0

    def run(self) -> tuple[RunProgress, ...]:
        """Train until every model has a trial, or it may stop; return how each run ended."""
        ended = self._may_stop()
        if not ended:
            self._fill()
        while not ended and (self._waiting or self._alone or self._running):
            finished = self._take(self._workers.wait(_TICK))
            # Workers go on before the disk is waited for.
            self._fill()
            ended = self._write(finished) and self._may_stop()
            self._end_silent()
            self._show()
        return tuple(self.snapshot(run) for run in range(len(self._accounts)))

    def snapshot(self, run: int | None = None) -> RunProgress:
        """Return how far one run is, or all of them together."""
        accounts = self._accounts if run is None else [self._accounts[run]]
        states = sum((account.states for account in accounts), Counter[TrialState]())
        elapsed = max(time.monotonic() - self._started, 1e-9)
        # Runs take turns, so that what is left of one takes as long as what is left of all.
        through = sum(account.through for account in self._accounts)
        todo = sum(account.todo for account in self._accounts)
        return RunProgress(
            total=sum(account.total for account in accounts),
            complete=states[TrialState.COMPLETE],
            diverged=states[TrialState.DIVERGED],
            failed=states[TrialState.FAILED],
            running=sum(run in (None, place[0]) for place in self._running),
            per_hour=3600 * sum(account.count for account in accounts) / elapsed,
            seconds_left=elapsed * (todo - through) / through if through else None,
        )

    def _may_stop(self) -> bool:
        words = self._until()
        if words is not None:
            self._observer.note(words)
        return words is not None

    def _fill(self) -> None:
        if self._exclusive:
            return
        while self._waiting and len(self._running) < self._workers.slots:
            self._start(self._waiting.popleft())
        if self._alone and not self._waiting and not self._running:
            self._exclusive = True
            self._start(self._alone.popleft())

    def _start(self, task: TrialTask) -> None:
        self._tries[task.place] += 1
        self._running[task.place] = time.time()
        # A worker elsewhere may decode images first, for hours.
        if task.time_limit is not None and task.cache is not None:
            limit = time.monotonic() + task.time_limit + self._grace
            self._limits[task.place] = (task, limit)
        self._workers.submit(task)

    def _end_silent(self) -> None:
        for task, limit in list(self._limits.values()):
            if time.monotonic() > limit:
                del self._limits[task.place]
                self._killed.add(task.place)
                self._workers.kill(task)

    def _take(self, ended: list[TaskResult]) -> list[tuple[TrialTask, Trial]]:
        finished = []
        for done in ended:
            del self._running[done.task.place]
            self._limits.pop(done.task.place, None)
            alone, self._exclusive = self._exclusive, False
            trial = self._judge(done, alone)
            if trial is not None:
                finished.append((done.task, trial))
        return finished

    def _write(self, finished: list[tuple[TrialTask, Trial]]) -> bool:
        """Write the journals, tell the observer; say whether there was anything to write."""
        for run, account in enumerate(self._accounts):
            trials = [trial for task, trial in finished if task.run == run]
            if trials:
                account.share.folder.append_trials(trials)
        for task, trial in finished:
            account = self._accounts[task.run]
            account.add(trial)
            if trial.state is not TrialState.FAILED:
                self._drop_checkpoint(task)
            self._observer.trial(account.share.folder, trial, self.snapshot())
        return bool(finished)

    def _judge(self, done: TaskResult, alone: bool) -> Trial | None:
        """Return the trial of a task that is through, or None where it is to be tried again."""
        task, outcome = done.task, done.outcome
        if outcome is not None:
            for note in outcome.notes:
                self._note(task, note)
            if not outcome.out_of_memory or alone:
                return outcome.trial
            self._note(task, "out of memory; to be tried again alone")
            self._alone.append(task)
            return None
        if task.place in self._killed:
            return _failed(task, f"past its time limit of {task.time_limit:g} s without a sign")
        tries = self._tries[task.place]
        if tries < _TRIES:
            self._note(task, f"{done.death}; to be tried again")
            if tries == _TRIES - 1:
                self._alone.append(task)
            else:
                self._waiting.appendleft(task)
            return None
        reason = f"{done.death}, {tries} times, the last time alone; was it out of memory?"
        return _failed(task, reason)

    def _note(self, task: TrialTask, words: str) -> None:
        of = f" of {self._accounts[task.run].share.folder.name}" if len(self._accounts) > 1 else ""
        self._observer.note(f"model {task.index}{of}: {words}")

    def _drop_checkpoint(self, task: TrialTask) -> None:
        if task.checkpoint is not None:
            with contextlib.suppress(OSError):
                task.checkpoint.unlink(missing_ok=True)

    def _show(self) -> None:
        self._observer.tick(self.snapshot())
        now = time.monotonic()
        if now - self._live_at < _LIVE_EVERY:
            return
        self._live_at = now
        for run, account in enumerate(self._accounts):
            snapshot = self.snapshot(run)
            running = {index: since for (of, index), since in self._running.items() if of == run}
            live = Heartbeat(snapshot.total, snapshot.per_hour, snapshot.seconds_left, running)
            with contextlib.suppress(InputError):  # a full disk stops at the journal, not here
                write_heartbeat(account.share.folder, live)


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
