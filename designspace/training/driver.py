"""The driver hands models to workers, writes the journal, and accounts for each model.

It alone writes to the run folder (checkpoints aside), so workers may be on other machines.
"""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from designspace.data.prepare import DecodingObserver
from designspace.errors import InputError
from designspace.runs import Run, Trial, TrialState
from designspace.runs.heartbeat import Heartbeat
from designspace.runs.image_results import append_correct
from designspace.training.loky_workers import TaskResult, Workers
from designspace.training.trial_task import Failure, Outcome, TrialTask

# The last try of a trial whose workers died is alone.
_MAX_TRIES = 3
_POLL_SECONDS = 0.5
_HEARTBEAT_SECONDS = 2.0
# Many models at once are trained in the order of the population, but within this many rounds the
# largest first.
_ROUNDS, _MANY_SLOTS = 4, 8
# Workers check the time limit themselves; one that is silent this long beyond it is killed.
_GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class RunProgress:
    """Progress of a run, or of several together.

    Attributes:
        total: Models to train, finished ones included.
        complete: Complete trials, earlier ones included.
        diverged: Diverged trials.
        failed: Failed trials.
        running: Models in training.
        per_hour: Models finished per hour since training started; 0 before the first.
        seconds_left: Estimated from the remaining multiply-adds; None before the first model.
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
    """The work to do in one run.

    Attributes:
        run: The run folder.
        tasks: Trials to train.
        done: Earlier trials of the selected models.
        flops: Multiply-adds of each model by index, to estimate the time left.
    """

    run: Run
    tasks: Sequence[TrialTask]
    done: Sequence[Trial]
    flops: Sequence[int]


class Observer(DecodingObserver, Protocol):
    """Receives messages and progress during training."""

    def trial(self, run: Run, trial: Trial, progress: RunProgress) -> None:
        """A trial was written to the journal of a run; `progress` is of all runs."""

    def tick(self, progress: RunProgress) -> None:
        """Called regularly with the progress of all runs."""


class _Tally:
    """Counts of the trials of one run."""

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.states = Counter(trial.state for trial in plan.done)
        self.total = self.states.total() + len(plan.tasks)
        self.finished = 0
        self.flops_total = sum(plan.flops[task.index] for task in plan.tasks)
        self.flops_finished = 0

    def add(self, trial: Trial) -> None:
        self.states[trial.state] += 1
        self.finished += 1
        self.flops_finished += self.plan.flops[trial.index]


class Driver:
    """Trains the models of one or more runs.

    Several runs take turns, model 0 of each first, so that an interruption leaves all of them
    equally far.
    """

    def __init__(
        self,
        plans: Sequence[RunPlan],
        workers: Workers,
        observer: Observer,
        until: Callable[[], str | None] = lambda: None,
        grace: float = _GRACE_SECONDS,
    ) -> None:
        """Prepare training.

        Args:
            plans: The work to do in each run; the tasks of plan i have `run_index` i.
            workers: Where tasks run.
            observer: Receives messages and progress.
            until: Called before the first and after each trial; a returned text is shown and ends
                the training. Checkpoints of running trials are kept.
            grace: Seconds beyond its time limit after which a silent worker is killed.
        """
        self._tallies = [_Tally(plan) for plan in plans]
        self._workers, self._observer = workers, observer
        self._until, self._grace = until, grace
        self._waiting = deque(_ordered(plans, workers.max_slots))
        self._alone: deque[TrialTask] = deque()
        # Tasks in `_alone` that shared a process when it died: one of them may be the cause.
        self._suspects: set[tuple[int, int]] = set()
        self._running: dict[tuple[int, int], float] = {}
        self._deadlines: dict[tuple[int, int], tuple[TrialTask, float]] = {}
        self._killed: set[tuple[int, int]] = set()
        self._tries: Counter[tuple[int, int]] = Counter()
        self._exclusive = False
        self._noted: set[str] = set()  # by one model, for all
        self._data_error: InputError | None = None
        self._started = time.monotonic()
        self._heartbeat_at = 0.0

    def run(self) -> tuple[RunProgress, ...]:
        """Train until every model has a trial or `until` ends it; return each run's progress.

        Raises:
            InputError: The images of this machine can't be read, or a journal can't be written.
        """
        stopped = self._should_stop()
        if not stopped:
            self._submit_waiting()
        while not stopped and (self._waiting or self._alone or self._running):
            finished = self._take(self._workers.wait(_POLL_SECONDS))
            # Before writing, which waits for the disk.
            self._submit_waiting()
            stopped = self._write(finished) and self._should_stop()
            if self._data_error is not None:
                raise self._data_error
            self._kill_overdue()
            self._report()
        return tuple(self.progress(run_index) for run_index in range(len(self._tallies)))

    def progress(self, run_index: int | None = None) -> RunProgress:
        """Return the progress of one run, or of all together."""
        tallies = self._tallies if run_index is None else [self._tallies[run_index]]
        states = sum((tally.states for tally in tallies), Counter[TrialState]())
        elapsed = max(time.monotonic() - self._started, 1e-9)
        # Runs take turns, so all of them finish at about the same time.
        flops_finished = sum(tally.flops_finished for tally in self._tallies)
        flops_left = sum(tally.flops_total for tally in self._tallies) - flops_finished
        return RunProgress(
            total=sum(tally.total for tally in tallies),
            complete=states[TrialState.COMPLETE],
            diverged=states[TrialState.DIVERGED],
            failed=states[TrialState.FAILED],
            running=sum(run_index in (None, position[0]) for position in self._running),
            per_hour=3600 * sum(tally.finished for tally in tallies) / elapsed,
            seconds_left=elapsed * flops_left / flops_finished if flops_finished else None,
        )

    def _should_stop(self) -> bool:
        reason = self._until()
        if reason is not None:
            self._observer.note(reason)
        return reason is not None

    def _submit_waiting(self) -> None:
        if self._exclusive:
            return
        while self._waiting and len(self._running) < self._workers.slots:
            self._submit(self._waiting.popleft())
        # Without slots, as the last device is lost, the workers raise an error when waited for.
        if self._alone and not self._waiting and not self._running and self._workers.slots:
            self._exclusive = True
            self._submit(self._alone.popleft())

    def _submit(self, task: TrialTask) -> None:
        self._tries[task.position] += 1
        self._running[task.position] = time.time()
        # A worker elsewhere may have to decode images first, for hours.
        if task.time_limit is not None and task.cache is not None:
            deadline = time.monotonic() + task.time_limit + self._grace
            self._deadlines[task.position] = (task, deadline)
        self._workers.submit(task)

    def _kill_overdue(self) -> None:
        for task, deadline in list(self._deadlines.values()):
            if time.monotonic() > deadline:
                del self._deadlines[task.position]
                self._killed.add(task.position)
                self._workers.kill(task)

    def _take(self, results: list[TaskResult]) -> list[tuple[TaskResult, Outcome]]:
        finished = []
        for result in results:
            seconds = time.time() - self._running.pop(result.task.position)
            self._deadlines.pop(result.task.position, None)
            alone, self._exclusive = self._exclusive, False
            outcome = self._finish_or_retry(result, alone, seconds)
            if outcome is not None:
                self._suspects.discard(result.task.position)
                finished.append((result, outcome))
        return finished

    def _finish_or_retry(self, result: TaskResult, alone: bool, seconds: float) -> Outcome | None:
        """Return the outcome of the finished trial, or None to retry.

        Args:
            result: The task that a worker has finished, or died of.
            alone: Whether no other task was running.
            seconds: Since the task was submitted.
        """
        task, outcome = result.task, result.outcome
        self._clear(result.cleared)
        if result.note:
            self._observer.note(result.note)
        death = result.death
        if outcome is not None:
            for note in outcome.notes:
                if note not in self._noted:
                    self._note(task, note)
                    self._noted.add(note)
            if outcome.failure is Failure.WORKER_UNREADY and task.cache is not None:
                # Other workers of this machine can't read them either.
                self._data_error = InputError(
                    f"{outcome.trial.reason}; finished trials are kept, and the same call resumes"
                )
            if outcome.failure in (Failure.DEVICE_UNUSABLE, Failure.WORKER_UNREADY):
                # It was not trained: this is no try of the model.
                self._tries[task.position] -= 1
                stays_alone = alone and task.position not in result.cleared
                (self._alone if stays_alone else self._waiting).appendleft(task)
                return None
            if outcome.failure is Failure.OUT_OF_MEMORY and not alone:
                self._note(task, "out of memory; retrying alone")
                self._alone.append(task)
                return None
            if outcome.failure is not Failure.DEVICE_ERROR:
                return outcome
            death = f"its device failed ({outcome.trial.reason})"
        if task.position in self._killed:
            return _failed(
                task,
                f"killed {self._grace:g} s past its time limit of "
                f"{task.time_limit:g} s, without a response",
                seconds,
            )
        if alone and task.position in self._suspects:
            self._clear(self._suspects)
        if result.suspects != 1:
            self._tries[task.position] -= 1
            (self._alone if result.suspects else self._waiting).append(task)
            if result.suspects:
                self._suspects.add(task.position)
            return None
        tries = self._tries[task.position]
        if tries == _MAX_TRIES:
            # The kernel kills the largest process with SIGKILL when memory runs out.
            hint = "; was it out of memory?" if "SIGKILL" in death else ""
            return _failed(task, f"{death}, {tries} times, the last time alone{hint}", seconds)
        self._note(task, f"{death}; retrying")
        if tries == _MAX_TRIES - 1:
            self._alone.append(task)
        else:
            self._waiting.appendleft(task)
        return None

    def _clear(self, positions: Iterable[tuple[int, int]]) -> None:
        """Of these suspects, none caused the death of a process: they train with others again."""
        cleared = self._suspects & set(positions)
        others = [task for task in self._alone if task.position in cleared]
        self._alone = deque(task for task in self._alone if task.position not in cleared)
        self._waiting.extendleft(reversed(others))
        self._suspects -= cleared

    def _write(self, finished: list[tuple[TaskResult, Outcome]]) -> bool:
        """Write the journals and notify the observer; return whether there was a trial."""
        for run_index, tally in enumerate(self._tallies):
            outcomes = [o for result, o in finished if result.task.run_index == run_index]
            if outcomes:
                # First, so that no trial lacks its images if the driver is killed in between.
                self._write_images(tally.plan.run, outcomes)
                tally.plan.run.append_trials([outcome.trial for outcome in outcomes])
        for result, outcome in finished:
            tally, trial = self._tallies[result.task.run_index], outcome.trial
            tally.add(trial)
            if trial.state is not TrialState.FAILED:
                _remove_checkpoint(result)
            self._observer.trial(tally.plan.run, trial, self.progress())
        return bool(finished)

    def _write_images(self, run: Run, outcomes: list[Outcome]) -> None:
        """Write the results of single images; without them, trials are kept all the same."""
        results = [(o.trial, o.correct) for o in outcomes if o.correct is not None]
        if results:
            try:
                append_correct(run.path, results)
            except InputError as error:
                self._observer.note(f"the results of single images are not kept: {error}")

    def _note(self, task: TrialTask, text: str) -> None:
        several = len(self._tallies) > 1
        of = f" of {self._tallies[task.run_index].plan.run.name}" if several else ""
        self._observer.note(f"model {task.index}{of}: {text}")

    def _report(self) -> None:
        self._observer.tick(self.progress())
        now = time.monotonic()
        if now - self._heartbeat_at < _HEARTBEAT_SECONDS:
            return
        self._heartbeat_at = now
        for run_index, tally in enumerate(self._tallies):
            progress = self.progress(run_index)
            running = {i: since for (of, i), since in self._running.items() if of == run_index}
            beat = Heartbeat(
                progress.total,
                progress.per_hour,
                progress.seconds_left,
                running,
                lost=dict(self._workers.lost_devices),
            )
            with contextlib.suppress(InputError):  # a full disk is reported by the journal
                beat.write(tally.plan.run.heartbeat_file)


def _ordered(plans: Sequence[RunPlan], slots: int) -> list[TrialTask]:
    """Return the tasks of all runs in turns; within a few rounds of `slots`, the largest first.

    So little is left to do at the end besides the last models, and an interrupted run holds the
    first models of its population.
    """
    tasks = [(plan.flops[task.index], task) for plan in plans for task in plan.tasks]
    tasks.sort(key=lambda item: (item[1].index, item[1].run_index))
    window = _ROUNDS * slots if slots >= _MANY_SLOTS else 1
    ordered = []
    for first in range(0, len(tasks), window):
        part = tasks[first : first + window]
        ordered += [task for _, task in sorted(part, key=lambda item: -item[0])]
    return ordered


def _remove_checkpoint(result: TaskResult) -> None:
    if result.task.checkpoint is not None:
        with contextlib.suppress(OSError):
            result.task.checkpoint.unlink(missing_ok=True)
    if result.written is not None:
        result.written()


def _failed(task: TrialTask, reason: str, seconds: float) -> Outcome:
    trial = Trial(
        id=task.id,
        index=task.index,
        state=TrialState.FAILED,
        error=None,
        curve=(),
        seconds=max(0.0, seconds),
        seed=task.seed,
        reason=reason,
        split=task.data.split,
        recipe=task.drawn,
    )
    return Outcome(trial)
