"""Workers on any machine, through a Dask scheduler."""

import contextlib
import importlib
import importlib.util
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

from designspace.errors import InputError
from designspace.io.process_pool import interrupts_blocked
from designspace.runs import Trial, TrialState
from designspace.runs.training_options import check_cluster
from designspace.training.cancellation import watch_cancellation
from designspace.training.concurrency import MAX_AT_ONCE
from designspace.training.device_health import DEVICE_FAILURES, DeviceHealth
from designspace.training.devices import physical_gpu
from designspace.training.loky_workers import (
    TaskResult,
    Work,
)
from designspace.training.trial_task import Failure, Outcome, TrialTask

_CLUSTERS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
}
# Per job; a trial uses one thread.
_JOB: dict[str, Any] = {"cores": 1, "processes": 1, "memory": "4GB"}
# How a nanny logs the end of a worker's process; lines of it to read, and how often to look for it.
_ENDED = re.compile(r"Worker process \d+ (?:was killed by signal (\d+)|exited with status (\d+))")
_LOG_LINES, _LOG_TRIES, _LOG_SECONDS = 20, 3, 0.5
_CONNECTED = ("running", "connecting")
# Once a worker is retired, tasks wait so many seconds for others to come back.
_ABSENT_SECONDS = 60.0


class DaskWorkers:
    """The worker processes of a Dask scheduler, one trial per thread of theirs.

    A task holds model, recipe and seed; of the driver's paths only those of the data and of the
    cache are used. When a worker dies, the scheduler sends its trial to another one. A worker whose
    device fails, or that can't read the images or load a model's block, is retired.
    """

    def __init__(
        self, client: Any, work: Work, max_trials: int | None = None, device: str | None = None
    ) -> None:
        """Use a connected client.

        Args:
            client: Connected to the scheduler; closed with the workers.
            work: Function that runs a task.
            max_trials: Trials at once, or None for one per thread of the workers.
            device: Device of all tasks, in place of their own.
        """
        self._device = device
        self._client, self._work, self._max_trials = client, work, max_trials
        self._running: dict[Any, TrialTask] = {}
        self._restarted: set[str] = set()
        # Addresses; Dask keeps a retired worker that alone holds a result.
        self._retired: set[str] = set()
        self._health = DeviceHealth()
        self._usable_at = time.monotonic()
        self._news = threading.Event()

    @property
    def slots(self) -> int:
        """Tasks that can run at once: the threads of all workers, up to `max_trials`."""
        threads = sum(self._usable().values())
        return min(threads, self._max_trials or threads)

    max_slots = slots

    @property
    def lost_devices(self) -> Mapping[str, str]:
        """Why a worker is retired, by its name."""
        return self._health.reasons

    def _usable(self) -> dict[str, int]:
        """Return the threads of each worker that is not retired, by its address."""
        with self._connected():
            threads = self._client.nthreads().items()
        return {address: n for address, n in threads if address not in self._retired}

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Raise an InputError in place of what Dask raises once the scheduler is gone."""
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) or self._client.status not in _CONNECTED:
                raise _scheduler_is_gone() from None
            raise

    def submit(self, task: TrialTask) -> None:
        """Send a task to the scheduler."""
        # A key of its own: a cancelled task of an earlier driver may be running still.
        key = f"trial-{task.run_index}-{task.index}-{uuid4().hex}"
        # A preference: a worker that restarts has another address.
        workers = [*self._usable()] if self._retired else []
        sent = task if self._device is None else replace(task, device=self._device)
        with self._connected():
            future = self._client.submit(
                *(_task_runner(), _import("cloudpickle").dumps((_run, self._work, sent))),
                key=key,
                pure=False,
                workers=workers or None,
                allow_other_workers=bool(workers),
            )
        self._running[future] = task
        future.add_done_callback(lambda _: self._news.set())

    def wait(self, seconds: float) -> list[TaskResult]:
        """Return finished tasks, waiting up to `seconds` for the first.

        Raises:
            InputError: The connection to the scheduler is lost.
            DeviceError: All workers are retired.
        """
        self._check_workers()
        if self._client.status not in _CONNECTED:
            raise _scheduler_is_gone()
        self._news.wait(seconds)
        self._news.clear()
        return [self._collect(future) for future in list(self._running) if future.done()]

    def _check_workers(self) -> None:
        """Raise if only retired workers are left; tasks wait a while for others to come back."""
        now = time.monotonic()
        if not self._retired or self.slots:
            self._usable_at = now
        elif not self._running or now - self._usable_at > _ABSENT_SECONDS:
            raise self._health.no_worker_left("worker")

    def kill(self, task: TrialTask) -> None:
        """Cancel a task, which stops at its next step; `wait` then returns it as cancelled."""
        for future, other in self._running.items():
            if other.position == task.position:
                future.cancel(force=True)

    def close(self) -> None:
        """Cancel the remaining tasks and disconnect."""
        for future in self._running:
            future.cancel()
        self._running.clear()
        cluster = self._client.cluster
        self._client.close()
        if cluster is not None:
            cluster.close()

    def _collect(self, future: Any) -> TaskResult:
        task = self._running.pop(future)
        if future.status == "finished":
            address, name, outcome = future.result()
            if isinstance(outcome, str):
                trial = Trial(task.id, task.index, TrialState.FAILED, None, (), 0.0, task.seed)
                outcome = Outcome(replace(trial, reason=outcome), Failure.WORKER_UNREADY)
            note = self._check_worker(address, name, task, outcome)
            written = partial(self._remove_checkpoint, address, task)
            return TaskResult(task, outcome, note=note, written=written)
        if future.status == "cancelled":
            # A client that has lost its scheduler cancels all tasks, which says nothing of models.
            lost = self._client.status != "running"
            return TaskResult(task, None, "it was cancelled", suspects=0 if lost else 1)
        return TaskResult(task, None, self._describe_death(future.exception()))

    def _describe_death(self, error: Any) -> str:
        """Name the Dask worker that died last, and the signal or status that its process ended by.

        The process that watches over a worker's, Dask's nanny, logs how it ended.
        """
        worker = getattr(error, "last_worker", None)
        if worker is None:
            return f"its worker broke ({type(error).__name__}: {error})".replace("\n", " ")[:500]
        name = f"Dask worker {worker.name} on {worker.host}"
        for _ in range(_LOG_TRIES):
            for line in self._nanny_log(worker.nanny):
                if ended := _ENDED.search(line):
                    how = _signal_name(int(ended[1])) if ended[1] else f"status {ended[2]}"
                    return f"its worker died ({how}): {name}"
            time.sleep(_LOG_SECONDS)
        return f"its worker died: {name}; its log says more"

    def _nanny_log(self, address: str) -> list[str]:
        """Return the last lines of a nanny's log, newest first; none if it is gone, too."""
        try:
            lines = self._client.sync(self._client.rpc(address).get_logs, n=_LOG_LINES)
        except Exception:
            return []
        return [line for _, line in lines]

    def _remove_checkpoint(self, address: str, task: TrialTask) -> None:
        """Remove the checkpoint that a worker keeps of a task, unless the worker is gone."""
        with contextlib.suppress(Exception):
            self._client.run(_remove_checkpoint, task, workers=[address], on_error="ignore")

    def _check_worker(self, address: str, name: str, task: TrialTask, outcome: Outcome) -> str:
        """Restart the process of a worker after a device error, or retire the worker."""
        if address in self._retired:
            return ""
        if outcome.failure is Failure.WORKER_UNREADY:
            reason = self._health.reasons[f"Dask worker {name}"] = outcome.trial.reason
            self._retire(address)
            return f"Dask worker {name} is retired, as it can't begin to train: {reason}"
        task = replace(task, device=f"{task.device} of Dask worker {name}")
        retire, note = self._health.check(name, name in self._restarted, task, outcome)
        if outcome.failure not in DEVICE_FAILURES:
            self._restarted.discard(name)
            return ""
        if not retire:
            self._restarted.add(name)
            try:
                self._client.restart_workers([address])
                return ""
            except Exception:  # the worker has no nanny, or does not come back
                reason = self._health.reasons[f"Dask worker {name}"] = outcome.trial.reason
                note = f"Dask worker {name} is retired, as it can't be restarted after: {reason}"
        self._retire(address)
        return note

    def _retire(self, address: str) -> None:
        self._retired.add(address)
        self._client.retire_workers([address], close_workers=True, remove=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _scheduler_is_gone() -> InputError:
    return InputError("the Dask scheduler is gone; start it again, then the same call resumes")


def _task_runner() -> Callable[[bytes], tuple[str, str, Outcome | str]]:
    """Return what runs a pickled task: a function that Dask sends by value, as it is nested.

    It returns address and name of the worker, and the outcome, or why the worker can't run tasks:
    the worker may lack this package or torch, or have another version.
    """

    def run(pickled: bytes) -> Any:
        import pickle

        from distributed import get_worker

        worker = get_worker()
        try:
            function, work, task = pickle.loads(pickled)
        except Exception as error:
            outcome = f"it can't read the task: {type(error).__name__}: {error}"
        else:
            try:
                outcome = function(worker, work, task)
            except ImportError as error:
                outcome = f"{type(error).__name__}: {error}"
        return worker.address, str(worker.name), outcome

    return run


def _run(worker: Any, work: Work, task: TrialTask) -> Outcome:
    """Run a task, which the driver may cancel."""
    key = worker.get_current_task()

    def is_cancelled() -> bool:
        running = worker.state.tasks.get(key)
        return running is not None and running.state == "cancelled"

    watch_cancellation(is_cancelled)
    return work(task)


def _remove_checkpoint(task: TrialTask) -> None:
    from designspace.training.run_task import remove_checkpoint  # for workers alone

    remove_checkpoint(task)


def connect(
    scheduler: str | None,
    cluster: str | None,
    options: Mapping[str, Any],
    jobs: int,
    gpus: tuple[str, ...] = (),
    timeout: float = 20.0,
    threads: bool = True,
) -> Any:
    """Connect to a scheduler, or start one with its workers.

    Args:
        scheduler: Address of a running scheduler, such as tcp://10.0.0.1:8786, or None.
        cluster: slurm or another system that dask-jobqueue knows, or None.
        options: Of the cluster, such as queue, walltime and memory.
        jobs: Cluster jobs, or trials at once on this machine, to start workers for.
        gpus: GPUs of this machine to train on; empty for the CPU.
        timeout: Seconds to wait for the scheduler.
        threads: Let one process train all models of a GPU.

    Raises:
        InputError: Dask is not installed, no scheduler answers, or the batch system or one of its
            options is unknown.
    """
    check_cluster(cluster)
    distributed = _import("distributed")
    if scheduler is not None:
        try:
            return distributed.Client(scheduler, timeout=timeout, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"scheduler is {scheduler!r}; no Dask scheduler answers there: {error}", "scheduler"
            ) from None
    with interrupts_blocked():
        if cluster is not None:
            workers = job_cluster(cluster, options)
            workers.scale(jobs=jobs)
        else:
            workers = local_cluster(jobs, gpus, threads)
    return distributed.Client(workers, set_as_default=False)


def local_cluster(jobs: int, gpus: tuple[str, ...] = (), threads: bool = True) -> Any:
    """Start a scheduler and workers for `jobs` trials at once on this machine.

    On a CPU each trial has a process. A GPU has one, which trains several models in threads: one of
    dask-cuda's if it is installed, which sees its GPU first; others claim theirs (`claim_device`).
    Without threads each trial has a process on a GPU too, as torch.compile needs.
    """
    together = bool(gpus) and threads
    settings: dict[str, Any] = {
        "n_workers": min(jobs, len(gpus)) if together else jobs,
        "threads_per_worker": min(-(-jobs // len(gpus)), MAX_AT_ONCE) if together else 1,
        "dashboard_address": None,
        "silence_logs": logging.CRITICAL,
    }
    if has_own_gpus(gpus, threads):
        visible = ",".join(physical_gpu(gpu) for gpu in gpus[: settings["n_workers"]])
        return _import("dask_cuda").LocalCUDACluster(CUDA_VISIBLE_DEVICES=visible, **settings)
    return _import("distributed").LocalCluster(processes=True, **settings)


def has_own_gpus(gpus: tuple[str, ...], threads: bool) -> bool:
    """Whether each worker of `local_cluster` sees the GPUs in an order of its own."""
    return bool(gpus) and threads and importlib.util.find_spec("dask_cuda") is not None


def job_cluster(system: str, options: Mapping[str, Any]) -> Any:
    """Start a Dask scheduler on this machine whose workers are jobs of a batch system.

    Further options are read from dask-jobqueue's configuration file.

    Raises:
        InputError: An option is unknown, or dask-jobqueue is not installed.
    """
    jobqueue = _import("dask_jobqueue")
    settings = {**_JOB, **options}
    try:
        return getattr(jobqueue, _CLUSTERS[system])(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"cluster is {system!r}; {error}", "cluster") from None


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"backend is 'dask', which needs {name}: pip install 'designspace-regnet[dask]'",
            "backend",
        ) from None
