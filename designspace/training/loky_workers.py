"""Worker processes on this machine: joblib's loky, one executor a worker.

One executor for all would be simpler, but it breaks as a whole when a single worker is killed. With
one each, the others don't notice.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace
from typing import Protocol

from designspace.io.process_pool import (
    ProcessPoolExecutor,
    TerminatedWorkerError,
    interrupts_blocked,
    pool,
)
from designspace.training.trial_task import Outcome, TrialTask

Work = Callable[[TrialTask], Outcome]


@dataclass(frozen=True)
class TaskResult:
    """A task that a worker is through with: its outcome, or None where the worker died."""

    task: TrialTask
    outcome: Outcome | None
    death: str = ""


class Workers(Protocol):
    """Where tasks go: at most `slots` at once."""

    @property
    def slots(self) -> int:
        """How many tasks run at once."""

    def submit(self, task: TrialTask) -> None:
        """Start a task in a free slot."""

    def wait(self, seconds: float) -> list[TaskResult]:
        """Return what has come to an end, waiting so long for the first."""

    def kill(self, task: TrialTask) -> None:
        """End the worker of a task; the task comes back from `wait` with its death."""

    def close(self) -> None:
        """End all workers, at once."""


class LokyWorkers:
    """Processes of this machine, spread over the devices in turn."""

    def __init__(self, jobs: int, work: Work, devices: tuple[str, ...] = ("cpu",)) -> None:
        """Prepare slots; a process starts with the first task of its slot."""
        self._work, self._devices = work, devices
        self._executors: list[ProcessPoolExecutor | None] = [None] * jobs
        self._running: dict[Future[Outcome], tuple[TrialTask, int]] = {}

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        return len(self._executors)

    def submit(self, task: TrialTask) -> None:
        """Start a task in the first free slot, on that slot's device."""
        taken = {slot for _, slot in self._running.values()}
        slot = next(slot for slot in range(self.slots) if slot not in taken)
        task = replace(task, device=self._devices[slot % len(self._devices)])
        try:
            future = self._hand(slot, task)
        except BrokenExecutor:  # its worker was killed while it had nothing to do
            self._drop(slot)
            future = self._hand(slot, task)
        self._running[future] = (task, slot)

    def _hand(self, slot: int, task: TrialTask) -> "Future[Outcome]":
        executor = self._executors[slot]
        if executor is None:
            executor = self._executors[slot] = pool(1)
        with interrupts_blocked():
            future: Future[Outcome] = executor.submit(self._work, task)
        return future

    def wait(self, seconds: float) -> list[TaskResult]:
        """Return what has come to an end, waiting so long for the first."""
        finished = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED).done
        return [self._collect(future) for future in finished]

    def kill(self, task: TrialTask) -> None:
        """Kill the worker of a task; the task comes back from `wait` with its death."""
        for other, slot in self._running.values():
            executor = self._executors[slot]
            if other.place == task.place and executor is not None:
                executor.shutdown(wait=False, kill_workers=True)

    def close(self) -> None:
        """Kill all workers: what they write, they write whole or not at all."""
        for slot in range(self.slots):
            self._drop(slot)
        self._running.clear()

    def _collect(self, future: "Future[Outcome]") -> TaskResult:
        task, slot = self._running.pop(future)
        try:
            return TaskResult(task, future.result())
        except Exception as error:  # the worker is gone, whatever loky makes of it
            self._drop(slot)
            return TaskResult(task, None, _cause(error))

    def _drop(self, slot: int) -> None:
        """Kill the worker of a slot, if there is one; the next task gets another."""
        executor, self._executors[slot] = self._executors[slot], None
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)


def _cause(error: Exception) -> str:
    codes = str(error).rpartition("exit codes of the workers are")[2].strip(" {}.\n")
    if isinstance(error, TerminatedWorkerError):
        return f"its worker died ({codes})" if codes else "its worker died"
    return f"its worker broke ({type(error).__name__}: {error})".replace("\n", " ")[:500]
