"""One process per GPU, which trains several models at once: a thread and a CUDA stream for each.

Models of one process share the CUDA context and the images, and their kernels may overlap, which
those of several processes can't. In return, a device error ends all models of the process.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_messages

from designspace.errors import counted
from designspace.io.process_pool import ProcessPoolExecutor, interrupts_blocked, pool
from designspace.training.concurrency import MAX_AT_ONCE, Concurrency, observe_steps
from designspace.training.device_health import DEVICE_FAILURES, DeviceHealth
from designspace.training.loky_workers import (
    TaskResult,
    Work,
    describe_death,
)
from designspace.training.trial_task import Failure, Outcome, TrialTask

Position = tuple[int, int]


@dataclass(frozen=True)
class _AtOnce:
    """How many models a GPU's process can train at once, and why not more, if that is decided."""

    models: int
    reason: str


# The outcome of a task, or why it has none; or how many tasks to send.
Message = tuple[Position, Outcome | str] | _AtOnce
# Seconds between two checks that the processes live, while they send nothing.
_POLL_SECONDS = 0.2
# Seconds that a thread may keep Python's lock: 5 ms, the default, exceeds the time of a step.
_SWITCH_INTERVAL = 2e-4
# A GPU is retired when the deaths of its process in a row need so many models to explain them.
_MAX_CAUSES = 3


@dataclass(eq=False)
class _Gpu:
    """A GPU, its process, and the tasks in it."""

    device: str
    slots: int
    measures: bool
    executor: ProcessPoolExecutor | None = None
    connection: "Connection[TrialTask, Message] | None" = None
    serving: Future[None] | None = None
    running: dict[Position, TrialTask] = field(default_factory=dict)
    fresh: bool = True
    killed: Position | None = None
    deaths: int = 0
    causes: int = 0
    dead: set[Position] = field(default_factory=set)
    suspects: set[Position] = field(default_factory=set)
    retired: bool = False
    note: str = ""


class GpuWorkers:
    """Trains several models at once on each of several GPUs."""

    def __init__(
        self,
        per_device: int | None,
        work: Work,
        devices: tuple[str, ...],
        most: int | None = None,
    ) -> None:
        """Prepare; the process of a GPU starts with its first task.

        Args:
            per_device: Models to train at once on a GPU, no more than `MAX_AT_ONCE`; None: as many
                as prove fastest, see `Concurrency`.
            work: Function that runs a task.
            devices: Names of the GPUs.
            most: Models to train at once on all GPUs together; None for no such limit.
        """
        self._work, self._most = work, most
        self._per_device = min(per_device or MAX_AT_ONCE, MAX_AT_ONCE)
        slots = self._per_device if per_device else 1
        self._gpus = [_Gpu(device, slots, per_device is None) for device in devices]
        self._health = DeviceHealth()

    @property
    def slots(self) -> int:
        """Tasks that can run at once."""
        slots = sum(gpu.slots for gpu in self._usable())
        return min(slots, self._most or slots)

    @property
    def max_slots(self) -> int:
        """Tasks that may run at once later."""
        slots = self._per_device * len(self._usable())
        return min(slots, self._most or slots)

    @property
    def lost_devices(self) -> Mapping[str, str]:
        """Why a GPU is retired, by its name."""
        return self._health.reasons

    def submit(self, task: TrialTask) -> None:
        """Start a task on the GPU with the most free slots."""
        gpu = max(self._usable(), key=lambda gpu: gpu.slots - len(gpu.running))
        task = replace(task, device=gpu.device)
        if gpu.serving is not None and gpu.serving.done() and not gpu.running:
            self._drop(gpu)  # killed while idle
        if gpu.connection is None:
            self._start(gpu)
        gpu.running[task.position] = task
        with contextlib.suppress(OSError):  # `wait` sees that the process died
            assert gpu.connection is not None
            gpu.connection.send(task)

    def wait(self, seconds: float) -> list[TaskResult]:
        """Return finished tasks, waiting up to `seconds` for the first, or for more slots.

        Raises:
            DeviceError: All GPUs are retired, as they failed.
        """
        before = self.slots
        busy = [gpu for gpu in self._gpus if gpu.running]
        if not self._usable() and not busy:
            raise self._health.no_worker_left()
        deadline = time.monotonic() + seconds
        results: list[TaskResult] = []
        while busy and not results and self.slots == before:
            left = deadline - time.monotonic()
            if left < 0:
                break
            connections = [gpu.connection for gpu in busy if gpu.connection is not None]
            wait_for_messages(connections, timeout=min(left, _POLL_SECONDS))
            for gpu in busy:
                results += self._take(gpu)
        return results

    def kill(self, task: TrialTask) -> None:
        """Kill the process of a task; `wait` then returns all of its tasks."""
        for gpu in self._gpus:
            if task.position in gpu.running and gpu.executor is not None:
                gpu.killed = task.position
                gpu.executor.shutdown(wait=False, kill_workers=True)

    def close(self) -> None:
        """Kill all processes; every file that they write is written atomically."""
        for gpu in self._gpus:
            self._drop(gpu)
            gpu.running.clear()

    def _usable(self) -> list[_Gpu]:
        return [gpu for gpu in self._gpus if not gpu.retired]

    def _start(self, gpu: _Gpu) -> None:
        """Start the process of a GPU.

        It runs a single function for all of its life: between two, loky ends a process that has
        grown, as a GPU's does.
        """
        gpu.executor, gpu.killed = pool(1), None
        gpu.connection, other = Pipe()
        with interrupts_blocked():
            measure = (gpu.device, gpu.slots) if gpu.measures else None
            gpu.serving = gpu.executor.submit(_serve, self._work, other, measure)

    def _take(self, gpu: _Gpu) -> list[TaskResult]:
        """Return the tasks of a GPU that have ended since the last call."""
        assert gpu.serving is not None
        assert gpu.connection is not None
        died = gpu.serving.done()
        outcomes: list[tuple[Position, Outcome | str]] = []
        with contextlib.suppress(EOFError, OSError):
            while gpu.connection.poll():
                message = gpu.connection.recv()
                if isinstance(message, _AtOnce):
                    _change_slots(gpu, message)
                else:
                    outcomes.append(message)
        results = self._sort(gpu, outcomes)
        if results and gpu.note and not results[0].note:
            results[0], gpu.note = replace(results[0], note=gpu.note), ""
        if died and gpu.running:
            error = gpu.serving.exception() if not gpu.serving.cancelled() else None
            death = describe_death(error) if isinstance(error, Exception) else "its worker ended"
            results += self._end(gpu, [], death)
        return results

    def _sort(self, gpu: _Gpu, outcomes: list[tuple[Position, Outcome | str]]) -> list[TaskResult]:
        """Turn the outcomes of a GPU's tasks into results; end its process if the GPU failed."""
        results, failed = [], []
        for position, outcome in outcomes:
            task = gpu.running.pop(position)
            if isinstance(outcome, str):
                results.append(TaskResult(task, None, outcome))
            elif outcome.failure in DEVICE_FAILURES:
                failed.append((task, outcome))
            else:
                gpu.deaths, gpu.causes, gpu.fresh = 0, 0, False
                gpu.suspects.clear()
                gpu.dead.clear()
                results.append(TaskResult(task, outcome))
        if failed:
            reason = failed[0][1].trial.reason
            unusable = any(o.failure is Failure.DEVICE_UNUSABLE for _, o in failed)
            if unusable and gpu.fresh:
                results += self._retire(gpu, failed, reason)
            else:
                tasks = [task for task, _ in failed]
                results += self._end(gpu, tasks, f"its device failed ({reason})")
        return results

    def _end(self, gpu: _Gpu, failed: Iterable[TrialTask], death: str) -> list[TaskResult]:
        """End the process of a GPU, after a task in it failed or the process died."""
        tasks = [*failed, *gpu.running.values()]
        gpu.running.clear()
        self._drop(gpu)
        killed, gpu.killed = gpu.killed, None
        if killed is not None:
            return [
                TaskResult(task, None, death, suspects=int(task.position == killed))
                for task in tasks
            ]
        positions = {task.position for task in tasks}
        common = gpu.suspects & positions
        gpu.causes += not common
        gpu.suspects = common or positions
        gpu.deaths += 1
        gpu.dead |= positions
        note, suspects = "", len(tasks)
        if gpu.causes >= _MAX_CAUSES:
            gpu.retired, suspects = True, 0
            self._health.reasons[gpu.device] = death
            note = f"{gpu.device} is retired: its process died {gpu.deaths} times in a row; {death}"
        elif len(tasks) > 1:
            note = f"{gpu.device}: {death}; its {len(tasks)} models are trained again one by one"
        return [
            TaskResult(
                *(task, None, death),
                note=note if i == 0 else "",
                suspects=suspects,
                cleared=frozenset(gpu.dead) if gpu.retired else frozenset(),
            )
            for i, task in enumerate(tasks)
        ]

    def _retire(
        self, gpu: _Gpu, failed: list[tuple[TrialTask, Outcome]], reason: str
    ) -> list[TaskResult]:
        """Retire a GPU that a fresh process can't use; its tasks were not trained."""
        gpu.retired = True
        self._health.reasons[gpu.device] = reason
        others = list(gpu.running.values())
        gpu.running.clear()
        self._drop(gpu)
        note, cleared = f"{gpu.device} is retired, as it fails: {reason}", frozenset(gpu.dead)
        return [
            *(
                TaskResult(task, outcome, note=note if i == 0 else "", cleared=cleared)
                for i, (task, outcome) in enumerate(failed)
            ),
            *(TaskResult(task, None, reason, suspects=0, cleared=cleared) for task in others),
        ]

    def _drop(self, gpu: _Gpu) -> None:
        """Kill the process of a GPU, if any; the next task gets another one."""
        executor, gpu.executor = gpu.executor, None
        gpu.connection = gpu.serving = None
        gpu.fresh = True
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)


def _change_slots(gpu: _Gpu, message: _AtOnce) -> None:
    gpu.slots = message.models
    if message.reason:
        gpu.measures = False
        gpu.note = f"{gpu.device} trains {counted(gpu.slots, 'model')} at once: {message.reason}"


def _serve(
    work: Work, connection: "Connection[Message, TrialTask]", measure: tuple[str, int] | None
) -> None:
    """In the worker: run each task that arrives in a thread, until the process is killed.

    Args:
        work: Function that runs a task.
        connection: Brings tasks, and takes their outcomes.
        measure: Name of the GPU, and how many models to train at once before it is measured how
            many are fastest; None: it is decided.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    # Read when CUDA starts; each stream needs a hardware queue for its kernels to overlap others'.
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    sending = threading.Lock()
    concurrency = Concurrency(partial(_memory, measure[0]), measure[1]) if measure else None

    def send(message: Message) -> None:
        with sending:
            connection.send(message)

    def observe(position: Position, steps: int, seconds: float) -> None:
        if concurrency and concurrency.steps(position, steps, seconds):
            send(_AtOnce(concurrency.at_once, concurrency.reason))

    def run(task: TrialTask) -> None:
        observe_steps(partial(observe, task.position))
        try:
            outcome: Outcome | str = work(task)
        except BaseException as error:  # a silent thread would leave the driver waiting
            outcome = f"its thread broke ({type(error).__name__}: {error})".replace("\n", " ")[:500]
        full = isinstance(outcome, Outcome) and outcome.failure is Failure.OUT_OF_MEMORY
        if concurrency and concurrency.end(task.position, full):
            send(_AtOnce(concurrency.at_once, concurrency.reason))
        send((task.position, outcome))

    with contextlib.suppress(EOFError):  # the driver is gone
        while task := connection.recv():
            if concurrency:
                concurrency.begin(task.position)
            name = f"model-{task.index}"
            threading.Thread(target=run, args=(task,), name=name, daemon=True).start()


def _memory(device: str) -> tuple[int, int] | None:
    """Return the free and the total bytes of a GPU; None elsewhere, or if it fails."""
    if not device.startswith("cuda"):
        return None
    import torch  # for workers alone

    from designspace.training.static_step import SETUP

    with SETUP, contextlib.suppress(RuntimeError, AssertionError):  # training reports it
        return torch.cuda.mem_get_info(device)
    return None
