"""Where trials train: which devices there are, and how each is used."""

import contextlib
import ctypes
import platform
import sys
from pathlib import Path

import torch
from joblib import cpu_count

from designspace import __version__
from designspace.errors import InputError
from designspace.runs.options import check_device

# Small networks leave most of a GPU idle; what does not fit is tried again alone.
_TRIALS_PER_GPU = 4


def resolve_devices(text: str) -> tuple[str, ...]:
    """Return the devices that a person asked for, as torch names them.

    Args:
        text: auto (all CUDA devices, else MPS, else the CPU), cpu, cuda, cuda:N or mps.

    Raises:
        InputError: The name is unknown, or this machine has no such device.
    """
    check_device(text)
    if text == "auto":
        gpus = tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        return gpus or (("mps",) if torch.backends.mps.is_available() else ("cpu",))
    if text == "cpu":
        return ("cpu",)
    if text == "mps":
        if not torch.backends.mps.is_available():
            raise InputError("--device mps: this machine has no Apple GPU that torch can use")
        return ("mps",)
    number = text.partition(":")[2]
    count = torch.cuda.device_count()
    if count == 0:
        raise InputError(f"--device {text}: torch finds no CUDA device here; use --device cpu")
    if number and int(number) >= count:
        raise InputError(f"--device {text}: there are {count} CUDA devices, cuda:0 first")
    return (f"cuda:{int(number)}",) if number else tuple(f"cuda:{i}" for i in range(count))


def default_jobs(devices: tuple[str, ...]) -> int:
    """Return how many trials run at once: one a core, one on MPS, several on each GPU."""
    cores = available_cores()
    if devices == ("cpu",):
        return cores
    if devices == ("mps",):
        return 1
    return max(len(devices), min(cores, _TRIALS_PER_GPU * len(devices)))


def available_cores() -> int:
    """Return how many cores this process may use, by affinity and by the container's limit."""
    return int(cpu_count())


def prepare(device: torch.device, exact: bool = False, threads: int = 1) -> torch.dtype | None:
    """Set this process up for a device; return the type to autocast to, or None for float32.

    One thread a trial: trials side by side use the cores better than the threads of one, and sums
    of one thread come out the same however many trials there are. A CPU is exact always.

    Args:
        device: Where trials will train.
        exact: On CUDA, don't choose algorithms by timing them: runs are equal to the last bit.
        threads: More than one where a single training has the CPU to itself.
    """
    torch.set_num_threads(threads if device.type == "cpu" else 1)
    _keep_memory()
    if device.type != "cuda":
        return None
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = not exact
    torch.backends.cudnn.deterministic = True
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def versions(device: torch.device, autocast: torch.dtype | None) -> dict[str, str]:
    """Return what a trial ran with, as it stands in its record."""
    return {
        "designspace": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device_name(device),
        "precision": str(autocast or torch.float32).removeprefix("torch."),
    }


def device_name(device: torch.device) -> str:
    """Return the maker's name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    name = name or platform.processor() or platform.machine()
    return f"mps ({name})" if device.type == "mps" else f"cpu ({name})"


def _keep_memory() -> None:
    """Tell glibc to keep freed memory, which each step would ask for again page by page."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        trim_threshold, mmap_threshold = -1, -3
        mallopt(mmap_threshold, 32 << 20)  # the most that glibc accepts
        mallopt(trim_threshold, (1 << 31) - 1)


def release_memory(device: torch.device) -> None:
    """Hand freed memory back to the system, between trials."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
