"""Devices that trials train on: which ones there are, and which one a worker takes.

A driver that leaves the work to others does not wait for torch's import.
"""

import ctypes
import fcntl
import itertools
import os
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

from joblib import cpu_count

from designspace.errors import InputError
from designspace.runs.training_options import check_device

# Small networks leave most of a GPU idle; a trial that runs out of memory is repeated alone.
_TRIALS_PER_GPU, _COMPILED_PER_GPU = 16, 4
_CLAIMING = threading.Lock()


def resolve_devices(device: str) -> tuple[str, ...]:
    """Return the names of the devices that an option selects.

    Args:
        device: auto (all CUDA devices, else MPS, else the CPU), cpu, cuda, cuda:N or mps.

    Raises:
        InputError: The name is unknown, or this machine has no such device.
    """
    check_device(device)
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return ("cpu",)
    import torch

    has_mps = torch.backends.mps.is_available()
    gpus = tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))
    if device == "auto":
        return gpus or (("mps",) if has_mps else ("cpu",))
    if device == "mps":
        if not has_mps:
            raise InputError(
                "device is 'mps'; this machine has no Apple GPU that torch can use", "device"
            )
        return ("mps",)
    if not gpus:
        raise InputError(
            f'device is {device!r}; torch finds no CUDA device here; use device="cpu"', "device"
        )
    number = device.partition(":")[2]
    if number and int(number) >= len(gpus):
        raise InputError(
            f"device is {device!r}; there are {len(gpus)} CUDA devices, cuda:0 first", "device"
        )
    return (f"cuda:{int(number)}",) if number else gpus


def _may_have_gpu() -> bool:
    """Whether there is a driver of GPUs; without one, torch needn't be imported to look."""
    if sys.platform != "linux" or Path("/dev/kfd").exists():  # AMD's driver
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def claim_device(names: tuple[str, ...]) -> str:
    """Return the device that the fewest worker processes of this machine have claimed.

    Workers that were started independently of each other, such as Dask's, share the devices of a
    machine by this. A claim is a file lock, which ends with the process.
    """
    if len(names) == 1:
        return names[0]
    with _CLAIMING:  # a worker may train several models in threads
        return _claim(names)


@cache
def _claim(names: tuple[str, ...]) -> str:
    for share in itertools.count():
        for name in names:
            file = f"designspace-{os.getuid()}-gpu-{physical_gpu(name)}-{share}.lock"
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(Path(tempfile.gettempdir(), file), flags, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            return name  # the open handle holds the lock
    raise AssertionError


def physical_gpu(name: str) -> str:
    """Return what `cuda:N` is in CUDA_VISIBLE_DEVICES, or N: a number or UUID of the machine."""
    number = name.partition(":")[2]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(" ", "").split(",")
    return (visible[int(number)] or number) if int(number) < len(visible) else number


def default_jobs(devices: tuple[str, ...], compiled: bool = False) -> int:
    """Return the default number of trials at once: one per core, one on MPS, 16 per GPU.

    With torch.compile, whose compiler takes a core per trial, four per GPU. Where a process finds
    out how many are fastest (`GpuWorkers`), this is not used.
    """
    cores = available_cores()
    if devices == ("cpu",):
        return cores
    if devices == ("mps",):
        return 1
    if compiled:
        return max(len(devices), min(cores, _COMPILED_PER_GPU * len(devices)))
    return _TRIALS_PER_GPU * len(devices)


def available_cores() -> int:
    """Return the number of cores that CPU affinity and container limits leave to this process."""
    return int(cpu_count())
