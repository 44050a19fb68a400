"""Train the model of one task, in a worker."""

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from designspace.arch.plugins import provide_block
from designspace.data.batches import Batches
from designspace.data.cache import Cache, default_cache_folder, open_cache
from designspace.data.decode import Geometry, geometries
from designspace.data.prepare import prepare_images
from designspace.errors import Diverged, InputError
from designspace.runs import Trial, TrialState
from designspace.training import checkpoint, device_setup, devices
from designspace.training.static_step import SETUP
from designspace.training.trainer import Trainer
from designspace.training.trial_task import Failure, Outcome, TrialTask

# Seconds between two checkpoints on a GPU, where an epoch may take less than writing one.
_SAVE_SECONDS = 20.0
_DEVICE_ERRORS = ("CUDA error", "CUDA driver error", "CUDNN_STATUS", "CUBLAS_STATUS", "NVML")


class _TimeLimitExceeded(Exception):
    """The trial reached its time limit."""


def run_task(task: TrialTask) -> Outcome:
    """Train one model from its checkpoint or from scratch; every ending has a state."""
    if task.block is not None:
        provide_block(task.block)
    progress = _Progress(task)
    device = torch.device("cpu")
    device_failure = Failure.DEVICE_UNUSABLE
    try:
        with SETUP:
            device = torch.device(devices.claim_device(devices.resolve_devices(task.device)))
            precision = device_setup.choose_precision(device, task.recipe)
            # The search takes longer than a short training gains by it.
            autocast = device_setup.prepare(
                device, task.exact, precision=precision, search=task.compiled
            )
            device_setup.probe(device)
        progress.versions = device_setup.versions(device, precision)
        device_failure = Failure.DEVICE_ERROR
        with device_setup.own_stream(device):
            return _train(task, device, autocast, progress)
    except Diverged as stop:
        chance = 100.0 * (1 - 1 / task.model.skeleton.classes)
        return progress.end(TrialState.DIVERGED, chance, str(stop))
    except _TimeLimitExceeded as stop:
        return progress.end(TrialState.FAILED, None, str(stop))
    except Exception as error:  # every ending is recorded, bugs and errors of torch included
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]
        failure = None
        if device_setup.is_out_of_memory(error):
            failure, reason = Failure.OUT_OF_MEMORY, f"out of memory on {task.device}: {reason}"
        elif device_failure is Failure.DEVICE_UNUSABLE or _is_device_error(error):
            failure = device_failure
        return progress.end(TrialState.FAILED, None, reason, failure)
    finally:
        with SETUP:
            device_setup.release_memory(device)


class _Progress:
    """The results of a trial so far."""

    def __init__(self, task: TrialTask) -> None:
        self.task = task
        self.started = time.monotonic()
        self.before = 0.0
        self.curve: list[float] = []
        self.versions: dict[str, str] = {}
        self.notes: list[str] = []

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

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
    file = task.checkpoint or _home(task) / "checkpoints" / f"{task.key[:32]}.pt"
    images = _open_images(task)
    with SETUP:
        batches = Batches(images, task.recipe, device)
        progress.started = time.monotonic()
        training = Trainer(task.model, task.recipe, task.seed, device, autocast, task.compiled)
        progress.curve = training.curve
        state = checkpoint.load(file, task.key, device)
        if state is None and file.exists():
            progress.notes.append(f"{file} is damaged or of another trial; training starts over")
        if state is not None:
            progress.before = float(state["seconds"])
            training.restore(state)
            progress.curve = training.curve
    guard = _guard(task, progress)
    saved = time.monotonic()
    pause = 0.0 if device.type == "cpu" else _SAVE_SECONDS
    while training.epochs_done < task.recipe.epochs:
        training.run_epoch(batches, guard)
        now = time.monotonic()
        if training.epochs_done < task.recipe.epochs and now - saved >= pause:
            _save(file, task.key, training, progress)
            saved = now
    if training.failed_capture:
        progress.notes.append(
            "its steps can't be captured as a CUDA graph, so that it trains more slowly: "
            f"{training.failed_capture}"
        )
    curve, correct = training.curve, training.correct
    with SETUP:
        del training, batches  # frees graphs and memory
    if task.checkpoint is None:
        file.unlink(missing_ok=True)
    outcome = progress.end(TrialState.COMPLETE, curve[-1])
    return replace(outcome, correct=correct) if task.image_results else outcome


def _open_images(task: TrialTask) -> Cache:
    """Open the images that the driver decoded, or decode them on this machine."""
    if task.cache is not None:
        return open_cache(task.cache)
    geometry = geometries(task.recipe, task.model.skeleton.channels)
    cache = _decode_images(task.data.source, task.data.val, geometry, _home(task))
    if cache.content != task.data.content:
        raise InputError(
            f"the images of {task.data.source} on {socket.gethostname()} differ from the run's"
        )
    return cache


def _home(task: TrialTask) -> Path:
    return task.home or default_cache_folder()


@lru_cache(maxsize=1)
def _decode_images(source: str, val: str, geometry: tuple[Geometry, Geometry], home: Path) -> Cache:
    return prepare_images(source, geometry, home, val=val).cache


def _save(file: Path, key: str, training: Trainer, progress: _Progress) -> None:
    """Write the checkpoint; without one training continues."""
    try:
        with SETUP:
            checkpoint.save(file, key, {**training.state(), "seconds": progress.seconds})
    except OSError as error:
        note = (
            f"cannot write checkpoints in {file.parent} ({error.strerror or error}); an "
            "interrupted trial will start over"
        )
        if note not in progress.notes:
            progress.notes.append(note)


def _guard(task: TrialTask, progress: _Progress) -> Callable[[], None]:
    def check() -> None:
        if task.time_limit is not None and progress.seconds > task.time_limit:
            raise _TimeLimitExceeded(
                f"reached its time limit of {task.time_limit:g} s in epoch "
                f"{len(progress.curve) + 1} of {task.recipe.epochs}"
            )

    return check


def _is_device_error(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _DEVICE_ERRORS)
