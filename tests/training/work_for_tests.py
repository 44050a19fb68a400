"""What workers do in tests: importable by worker processes."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

from designspace.runs import Trial, TrialState
from designspace.training.run_task import Failure, Outcome, run_task


def at_once(task):
    """Be through at once, telling which process it was."""
    trial = Trial(
        task.id,
        task.index,
        TrialState.COMPLETE,
        10.0,
        (),
        0.0,
        task.seed,
        versions={"process": str(os.getpid()), "device": task.device},
    )
    return Outcome(trial)


def dies_once(task):
    """Model 0 kills its process the first time; the others take a moment."""
    if task.index == 0:
        flag = Path(task.checkpoint).with_suffix(".died")
        if not flag.exists():
            flag.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return at_once(task)


def always_crashes(task):
    """Model 0 crashes its process as a bug in compiled code does."""
    if task.index == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    return at_once(task)


def hangs(task):
    """Model 0 never comes back."""
    if task.index == 0:
        Path(task.checkpoint).with_suffix(".hangs").write_text("")
        time.sleep(600)
    return at_once(task)


def on_a_broken_device(task):
    """Train on the CPU; devices whose name begins with `bad` fail their probe."""
    from designspace.training import device_setup

    if not task.device.startswith("bad"):
        return run_task(replace(task, device="cpu"))
    before = device_setup.probe
    device_setup.probe = _fail
    try:
        return run_task(replace(task, device="cpu"))
    finally:
        device_setup.probe = before


def _fail(device):
    raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")


def on_a_broken_dask_worker(task):
    """Train on the CPU; the Dask worker 1 fails its probe."""
    from distributed import get_worker

    return on_a_broken_device(replace(task, device="bad" if get_worker().name == 1 else "cpu"))


def claims_a_device(names):
    """Return the device that this process gets."""
    from designspace.training.devices import claim_device

    return claim_device(names)


def in_a_thread(task):
    """Take a moment; say which process and how many threads of models it has."""
    time.sleep(0.3)
    models = [t for t in threading.enumerate() if t.name.startswith("model-")]
    outcome = at_once(task)
    versions = {**outcome.trial.versions, "models": str(len(models))}
    return replace(outcome, trial=replace(outcome.trial, versions=versions))


def asserts_on_the_device(task):
    """Model 3 breaks the CUDA context of its process, and with it all models there."""
    flag = Path(task.checkpoint).parent / f"{os.getpid()}.broken"
    if task.index == 3:
        flag.write_text("")
    for _ in range(4):
        time.sleep(0.1)
        if flag.exists():
            return _device_error(task)
    return at_once(task)


def crashes_its_process(task):
    """Model 3 kills its process, and with it all models there."""
    time.sleep(0.2)
    if task.index == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(0.2)
    return at_once(task)


def _device_error(task):
    trial = replace(
        at_once(task).trial,
        state=TrialState.FAILED,
        error=None,
        reason="AcceleratorError: CUDA error: device-side assert triggered",
    )
    return Outcome(trial, Failure.DEVICE_ERROR)


# Set when `notes_its_end` has returned, in the process of the worker.
ENDED = threading.Event()


def notes_its_end(task):
    """Train, and set `ENDED` whatever happens."""
    try:
        return run_task(task)
    finally:
        ENDED.set()


def waits_for_its_end(task):
    """Wait until `ENDED` is set."""
    assert ENDED.wait(60)


def on_a_bad_device(task):
    """Every device is unusable."""
    trial = replace(_device_error(task).trial, reason="CUDA error: busy or unavailable")
    return Outcome(trial, Failure.DEVICE_UNUSABLE)


def without_images_on_worker_1(task):
    """Train; the Dask worker 1 lacks the folder of the images."""
    from distributed import get_worker

    if get_worker().name == 1:
        data = replace(task.data, source="folder:/no/such/mount")
        return run_task(replace(task, data=data))
    return run_task(task)


def with_images_of_its_own(task):
    """Train on a machine that does not share the driver's cache."""
    return run_task(replace(task, home=task.home.with_name("worker")))


def without_torch_on_worker_1(task):
    """Be through at once; the Dask worker 1 lacks a package."""
    from distributed import get_worker

    if get_worker().name == 1:
        raise ModuleNotFoundError("No module named 'torch'")
    return at_once(task)


class OfAnotherVersion:
    """A task that the worker's version of this package can't read."""

    def __reduce__(self):
        return _fail, (None,)
