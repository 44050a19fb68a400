"""Workers anywhere, through Dask's own scheduler."""

import importlib
import logging
import threading
from typing import Any

from designspace.errors import InputError, nearest
from designspace.io.process_pool import interrupts_blocked
from designspace.training.loky_workers import TaskResult, Work
from designspace.training.trial_task import TrialTask

_CLUSTERS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
}
# One core a job, as a trial has one thread; people override it for their cluster.
_JOB = {"cores": 1, "processes": 1, "memory": "4GB"}


class DaskWorkers:
    """The worker processes of a Dask scheduler: one trial each, wherever they are.

    A task carries its model, recipe and seed; the driver's paths mean nothing to it, but for the
    data. When a worker dies, the scheduler sends its trial to another one by itself.
    """

    def __init__(self, client: Any, work: Work, most: int | None = None) -> None:
        """Use a connected client.

        Args:
            client: Connected to the scheduler; closed with the workers.
            work: What a worker does with a task.
            most: Trials at once, or None for as many as there are workers.
        """
        self._client, self._work, self._most = client, work, most
        self._running: dict[Any, TrialTask] = {}
        self._sent = 0
        self._news = threading.Event()

    @property
    def slots(self) -> int:
        """How many tasks run at once: workers that the scheduler knows of at the moment."""
        return min(len(self._client.nthreads()), self._most or 10**6)

    def submit(self, task: TrialTask) -> None:
        """Hand a task to the scheduler."""
        self._sent += 1
        key = f"trial-{task.run}-{task.index}-{task.seed}-{self._sent}"
        future = self._client.submit(self._work, task, key=key, pure=False)
        self._running[future] = task
        future.add_done_callback(lambda _: self._news.set())

    def wait(self, seconds: float) -> list[TaskResult]:
        """Return what has come to an end, waiting so long for the first.

        Raises:
            InputError: The connection to the scheduler is lost.
        """
        if self._client.status not in ("running", "connecting"):
            raise InputError(
                "the Dask scheduler is gone; start it again, then the same command goes on"
            )
        self._news.wait(seconds)
        self._news.clear()
        return [self._collect(future) for future in list(self._running) if future.done()]

    def kill(self, task: TrialTask) -> None:
        """Give a task up; a worker that hangs in it is Dask's to restart."""
        for future, other in self._running.items():
            if other.place == task.place:
                future.cancel(force=True)

    def close(self) -> None:
        """Take back what has not begun, and disconnect."""
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
            return TaskResult(task, future.result())
        if future.status == "cancelled":
            return TaskResult(task, None, "it was cancelled")
        error = future.exception()
        return TaskResult(task, None, f"its worker died ({error})".replace("\n", " ")[:500])


def connect(
    scheduler: str | None,
    cluster: str | None,
    options: tuple[str, ...],
    jobs: int,
    patience: float = 20.0,
) -> Any:
    """Connect to a scheduler, or start one with its workers.

    Args:
        scheduler: Address of a running scheduler, such as tcp://10.0.0.1:8786, or None.
        cluster: slurm or another system that dask-jobqueue knows, or None.
        options: KEY=VALUE for the cluster: queue=gpu, walltime=04:00:00, memory=16GB.
        jobs: Workers to start where no scheduler is given: cluster jobs, or processes here.
        patience: Seconds to wait for an answer.

    Raises:
        InputError: Dask is not installed, nothing answers at the address, or the cluster system or
            one of its options is unknown.
    """
    distributed = _import("distributed")
    if scheduler is not None:
        try:
            return distributed.Client(scheduler, timeout=patience, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"--scheduler {scheduler}: no Dask scheduler answers: {error}"
            ) from None
    with interrupts_blocked():
        if cluster is not None:
            made = job_cluster(cluster, options)
            made.scale(jobs=jobs)
        else:
            made = distributed.LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
    return distributed.Client(made, set_as_default=False)


def job_cluster(system: str, options: tuple[str, ...]) -> Any:
    """Start a Dask scheduler here whose workers are jobs of a batch system.

    What is not given here is read from dask-jobqueue's own configuration file.

    Raises:
        InputError: The system or an option is unknown, or dask-jobqueue is not installed.
    """
    jobqueue = _import("dask_jobqueue")
    if system not in _CLUSTERS:
        raise InputError(f"--cluster {system}: unknown; {nearest(system, list(_CLUSTERS))}")
    given = dict(_option(text) for text in options)
    try:
        return getattr(jobqueue, _CLUSTERS[system])(**{**_JOB, **given})
    except (TypeError, ValueError) as error:
        raise InputError(f"--cluster {system}: {error}") from None


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"--backend dask needs {name}: pip install 'designspace-regnet[dask]'"
        ) from None


def _option(text: str) -> tuple[str, Any]:
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise InputError(f"--cluster-option {text!r}: write KEY=VALUE, such as queue=gpu")
    # A time such as 04:00:00 is a number to YAML 1.1.
    return key, value if ":" in value else yaml.safe_load(value)
