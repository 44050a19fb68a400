"""Train the model of one task, in a worker."""

import contextlib
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from designspace.arch.plugins import provide_block
from designspace.data.batches import Batches
from designspace.data.cache import Cache, default_cache_folder, open_cache
from designspace.data.decode import Geometry, geometries
from designspace.data.prepare import prepare_images
from designspace.errors import Diverged, InputError
from designspace.runs import Trial, TrialState
from designspace.training import checkpoint, device_setup, devices
from designspace.training.cancellation import raise_if_cancelled
from designspace.training.device_time import DeviceTime
from designspace.training.static_step import SETUP
from designspace.training.trainer import Trainer
from designspace.training.trial_task import Failure, Outcome, TrialTask

# Seconds between two checkpoints on a GPU, where an epoch may take less than writing one.
_SAVE_SECONDS = 20.0
_DEVICE_ERRORS = ("CUDA error", "CUDA driver error", "CUDNN_STATUS", "CUBLAS_STATUS", "NVML")
# Of the GPUs that this process trains on, by name; on a CPU each model has a core of its own.
_GPU_TIMES: defaultdict[str, DeviceTime] = defaultdict(DeviceTime)
# GPUs that have computed something in this process.
_PROBED: set[torch.device] = set()
# Held while images are decoded, as all threads of a process need the same ones.
_DECODING = threading.Lock()


class _TimeLimitExceeded(Exception):
    """The trial reached its time limit."""


def run_task(task: TrialTask) -> Outcome:
    """Train one model from its checkpoint or from scratch; every ending has a state.

    The trial's seconds are those of its device: models that this process trains at once on a GPU
    share the time, as `DeviceTime` charges it.

    Raises:
        TaskCancelled: It was cancelled, and has no outcome. Its checkpoint is kept.
    """
    progress = _Progress(task)
    device = torch.device("cpu")
    # What a failure is at this point: of the worker's block, of its device, of that in training.
    stage = Failure.WORKER_UNREADY
    try:
        with SETUP:
            if task.block is not None:
                provide_block(task.block)
            stage = Failure.DEVICE_UNUSABLE
            device = torch.device(devices.claim_device(devices.resolve_devices(task.device)))
            precision = device_setup.choose_precision(device, task.recipe)
            # The search takes longer than a short training gains by it.
            autocast = device_setup.prepare(
                device, task.exact, precision=precision, search=task.compiled
            )
            device_setup.probe(device)
            if device.type != "cpu":
                _PROBED.add(device)
        progress.versions = device_setup.versions(device, precision)
        stage = Failure.DEVICE_ERROR
        with device_setup.own_stream(device):
            return _train(task, device, autocast, progress)
    except Diverged as stop:
        chance = 100.0 * (1 - 1 / task.model.skeleton.classes)
        return progress.end(TrialState.DIVERGED, chance, str(stop))
    except _TimeLimitExceeded as stop:
        return progress.end(TrialState.FAILED, None, str(stop))
    except Exception as error:  # every ending is recorded, bugs and errors of torch included
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        reason = f"{kind}{error}".strip().splitlines()[0][:500]
        failure = None
        if device_setup.is_out_of_memory(error):
            failure, reason = Failure.OUT_OF_MEMORY, f"out of memory on {task.device}: {reason}"
        elif stage is Failure.DEVICE_UNUSABLE and device in _PROBED and _is_device_error(error):
            failure = Failure.DEVICE_ERROR  # of another model, after which all calls fail
        elif stage is not Failure.DEVICE_ERROR or _is_device_error(error):
            failure = stage
        elif not progress.has_images:
            failure = Failure.WORKER_UNREADY
        return progress.end(TrialState.FAILED, None, reason, failure)
    finally:
        progress.stop_clock()
        with SETUP:
            device_setup.release_memory(device)


class _Progress:
    """The results of a trial so far."""

    def __init__(self, task: TrialTask) -> None:
        self.task = task
        self.started = time.monotonic()
        # Of earlier calls: seconds of the training, and those charged by the device.
        self.before = self.charged_before = 0.0
        self.device_time: DeviceTime | None = None
        self.has_images = False
        self.curve: list[float] = []
        self.versions: dict[str, str] = {}
        self.notes: list[str] = []

    def start_clock(self, device: torch.device) -> None:
        self.started = time.monotonic()
        self.device_time = DeviceTime() if device.type == "cpu" else _GPU_TIMES[str(device)]
        self.charged_before -= self.device_time.begin()

    def stop_clock(self) -> None:
        if self.device_time is not None:
            self.device_time.end()

    @property
    def elapsed(self) -> float:
        """Seconds of the training, which the time limit is about."""
        return self.before + time.monotonic() - self.started

    @property
    def seconds(self) -> float:
        """Seconds of the device."""
        charged = 0.0 if self.device_time is None else self.device_time.seconds()
        return self.charged_before + charged

    def to_state(self) -> dict[str, float]:
        """Return what a checkpoint keeps."""
        return {"seconds": self.elapsed, "device_seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Add the seconds of a checkpoint; those of earlier versions lack the device's."""
        self.before += float(state["seconds"])
        self.charged_before += float(state.get("device_seconds", state["seconds"]))

    def end(
        self,
        state: TrialState,
        error: float | None,
        reason: str = "",
        failure: Failure | None = None,
    ) -> Outcome:
        trial = Trial(
            id=self.task.id,
            index=self.task.index,
            state=state,
            error=error,
            curve=tuple(self.curve),
            seconds=self.seconds,
            seed=self.task.seed,
            versions=self.versions,
            reason=reason,
            split=self.task.data.split,
            recipe=self.task.drawn,
        )
        return Outcome(trial, failure, tuple(self.notes))


def _train(
    task: TrialTask, device: torch.device, autocast: torch.dtype | None, progress: _Progress
) -> Outcome:
    images = _open_images(task)
    with SETUP:
        batches = Batches(images, task.recipe, device)
        progress.has_images = True
        progress.start_clock(device)
        training = Trainer(task.model, task.recipe, task.seed, device, autocast, task.compiled)
    try:
        return _run_epochs(task, training, batches, device, progress)
    finally:
        with SETUP:
            training.close()


def _run_epochs(
    task: TrialTask, training: Trainer, batches: Batches, device: torch.device, progress: _Progress
) -> Outcome:
    file = _checkpoint_file(task)
    with SETUP:
        progress.curve = training.curve
        try:
            state = checkpoint.load(file, task.key, device)
            problem = f"{file} is damaged or of another trial" if file.exists() else ""
        except InputError as error:
            state, problem = None, str(error)
        if state is not None and not training.fits(state):
            state, problem = None, f"{file} has other layers, as the code of the block changed"
        if state is None and problem:
            progress.notes.append(f"{problem}; training starts over")
        if state is not None:
            progress.restore(state)
            training.restore(state)
            progress.curve = training.curve
    guard = _guard(task, progress)
    saved = time.monotonic()
    pause = 0.0 if device.type == "cpu" else _SAVE_SECONDS
    while training.epochs_done < task.recipe.epochs:
        training.run_epoch(batches, guard)
        now = time.monotonic()
        if training.epochs_done == task.recipe.epochs:
            due = task.checkpoint is None  # the driver is elsewhere, and may have gone meanwhile
        else:
            due = now - saved >= pause
        if due:
            _save(file, task.key, training, progress)
            saved = now
    if training.failed_capture:
        progress.notes.append(
            "its steps can't be captured as a CUDA graph, so that it trains more slowly: "
            f"{training.failed_capture}"
        )
    outcome = progress.end(TrialState.COMPLETE, training.curve[-1])
    return replace(outcome, correct=training.correct) if task.image_results else outcome


def remove_checkpoint(task: TrialTask) -> None:
    """Remove the checkpoint that a task left on this machine, once its trial is written."""
    with contextlib.suppress(OSError):
        _checkpoint_file(task).unlink(missing_ok=True)


def _checkpoint_file(task: TrialTask) -> Path:
    return task.checkpoint or _home(task) / "checkpoints" / f"{task.key[:32]}.pt"


def _open_images(task: TrialTask) -> Cache:
    """Open the images that the driver decoded, or decode them on this machine."""
    if task.cache is not None:
        return open_cache(task.cache)
    geometry = geometries(task.recipe, task.model.skeleton.channels)
    request = (task.data.source, task.data.val, geometry, _home(task), task.download)
    with _DECODING:
        cache = _decode_images(*request)
        if cache.content != task.data.content:  # the images were corrected since, perhaps
            _decode_images.cache_clear()
            cache = _decode_images(*request)
    if cache.content != task.data.content:
        raise InputError(
            f"the images of {task.data.source} on {socket.gethostname()} differ from the run's"
        )
    return cache


def _home(task: TrialTask) -> Path:
    return task.home or default_cache_folder()


@lru_cache(maxsize=8)
def _decode_images(
    source: str, val: str, geometry: tuple[Geometry, Geometry], home: Path, download: bool
) -> Cache:
    return prepare_images(source, geometry, home, val=val, download=download).cache


def _save(file: Path, key: str, training: Trainer, progress: _Progress) -> None:
    """Write the checkpoint; without one training continues."""
    try:
        with SETUP:
            checkpoint.save(file, key, {**training.state(), **progress.to_state()})
    except OSError as error:
        note = (
            f"cannot write checkpoints in {file.parent} ({error.strerror or error}); an "
            "interrupted trial will start over"
        )
        if note not in progress.notes:
            progress.notes.append(note)


def _guard(task: TrialTask, progress: _Progress) -> Callable[[], None]:
    def check() -> None:
        raise_if_cancelled()
        if task.time_limit is not None and progress.elapsed > task.time_limit:
            raise _TimeLimitExceeded(
                f"reached its time limit of {task.time_limit:g} s in epoch "
                f"{len(progress.curve) + 1} of {task.recipe.epochs}"
            )

    return check


def _is_device_error(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _DEVICE_ERRORS)
