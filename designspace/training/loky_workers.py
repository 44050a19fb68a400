"""Worker processes on this machine: joblib's loky, one executor per worker.

A shared executor breaks as a whole when one of its workers is killed; separate ones do not.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace
from typing import Protocol

from designspace.io.process_pool import (
    ProcessPoolExecutor,
    TerminatedWorkerError,
    exit_codes,
    interrupts_blocked,
    pool,
)
from designspace.training.device_health import DEVICE_FAILURES, DeviceHealth
from designspace.training.trial_task import Outcome, TrialTask

Work = Callable[[TrialTask], Outcome]


@dataclass(frozen=True)
class TaskResult:
    """A task that a worker has finished.

    Attributes:
        task: The task.
        outcome: Its outcome, or None if the worker died.
        death: How the worker died.
        note: A message for the user about the worker.
        suspects: How many tasks may have caused the death: several if they shared a process, 0 if
            another task was the cause.
        written: Called once the trial is in the journal, or None.
        cleared: Positions of earlier tasks that caused no death after all: the device did.
    """

    task: TrialTask
    outcome: Outcome | None
    death: str = ""
    note: str = ""
    suspects: int = 1
    written: Callable[[], None] | None = None
    cleared: frozenset[tuple[int, int]] = frozenset()


class Workers(Protocol):
    """Where tasks run, at most `slots` at once."""

    @property
    def slots(self) -> int:
        """Tasks that can run at once."""

    @property
    def max_slots(self) -> int:
        """Tasks that may run at once later, if the workers find that more are faster."""

    @property
    def lost_devices(self) -> Mapping[str, str]:
        """Why no model trains on a device any more, by its name."""

    def submit(self, task: TrialTask) -> None:
        """Start a task in a free slot."""

    def wait(self, seconds: float) -> list[TaskResult]:
        """Return finished tasks, waiting up to `seconds` for the first.

        Raises:
            DeviceError: All workers are retired, as their devices failed.
        """

    def kill(self, task: TrialTask) -> None:
        """Kill the worker of a task; `wait` then returns the task with the worker's death."""

    def close(self) -> None:
        """Stop all workers immediately."""


class LokyWorkers:
    """Processes on this machine, distributed over the devices in turn."""

    def __init__(
        self,
        jobs: int,
        work: Work,
        devices: tuple[str, ...] = ("cpu",),
        first: Callable[[], None] | None = None,
    ) -> None:
        """Create `jobs` slots.

        Args:
            jobs: Tasks that can run at once.
            work: Function that runs a task.
            devices: Names of the devices.
            first: What processes do first, starting now; by default, that of a slot starts with its
                first task.
        """
        self._work, self._devices = work, devices
        self._executors: list[ProcessPoolExecutor | None] = [None] * jobs
        self._running: dict[Future[Outcome], tuple[TrialTask, int]] = {}
        self._fresh = [True] * jobs
        self._retired: set[int] = set()
        self._health = DeviceHealth()
        for slot in range(jobs if first else 0):
            executor = self._executors[slot] = pool(1)
            with interrupts_blocked():
                executor.submit(first)

    @property
    def slots(self) -> int:
        """Tasks that can run at once."""
        return len(self._executors) - len(self._retired)

    max_slots = slots

    @property
    def lost_devices(self) -> Mapping[str, str]:
        """Why a worker on a device is retired, by the device's name."""
        return self._health.reasons

    def submit(self, task: TrialTask) -> None:
        """Start a task in the first free slot, on that slot's device."""
        taken = {slot for _, slot in self._running.values()} | self._retired
        slot = next(slot for slot in range(len(self._executors)) if slot not in taken)
        task = replace(task, device=self._devices[slot % len(self._devices)])
        try:
            future = self._submit_to(slot, task)
        except BrokenExecutor:  # its process was killed while idle
            self._drop(slot)
            future = self._submit_to(slot, task)
        self._running[future] = (task, slot)

    def _submit_to(self, slot: int, task: TrialTask) -> "Future[Outcome]":
        executor = self._executors[slot]
        if executor is None:
            executor = self._executors[slot] = pool(1)
        with interrupts_blocked():
            future: Future[Outcome] = executor.submit(self._work, task)
        return future

    def wait(self, seconds: float) -> list[TaskResult]:
        """Return finished tasks, waiting up to `seconds` for the first.

        Raises:
            DeviceError: All workers are retired, as their devices failed.
        """
        if not self.slots and not self._running:
            raise self._health.no_worker_left()
        finished = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED).done
        return [self._collect(future) for future in finished]

    def kill(self, task: TrialTask) -> None:
        """Kill the worker of a task; `wait` then returns the task with the worker's death."""
        for other, slot in self._running.values():
            executor = self._executors[slot]
            if other.position == task.position and executor is not None:
                executor.shutdown(wait=False, kill_workers=True)

    def close(self) -> None:
        """Kill all workers; every file that they write is written atomically."""
        for slot in range(len(self._executors)):
            self._drop(slot)
        self._running.clear()

    def _collect(self, future: "Future[Outcome]") -> TaskResult:
        task, slot = self._running.pop(future)
        try:
            outcome = future.result()
        except Exception as error:  # the worker is gone, whatever loky raises
            self._drop(slot)
            return TaskResult(task, None, describe_death(error))
        retire, note = self._health.check(slot, self._fresh[slot], task, outcome)
        self._fresh[slot] = False
        if outcome.failure in DEVICE_FAILURES:
            self._drop(slot)
        if retire:
            self._retired.add(slot)
        return TaskResult(task, outcome, note=note)

    def _drop(self, slot: int) -> None:
        """Kill the process of a slot, if any; the next task gets another one."""
        executor, self._executors[slot] = self._executors[slot], None
        self._fresh[slot] = True
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)


def describe_death(error: Exception) -> str:
    """Return how a worker died, from the error that loky raised."""
    if isinstance(error, TerminatedWorkerError):
        return f"its worker died ({exit_codes(error)})"
    return f"its worker broke ({type(error).__name__}: {error})".replace("\n", " ")[:500]
