"""How a process is set up for a device: precision, determinism, streams, memory."""

import contextlib
import ctypes
import os
import platform
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from designspace import __version__
from designspace.errors import InputError
from designspace.runs import Recipe
from designspace.runs.recipe import Precision
from designspace.training.concurrency import MAX_AT_ONCE

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# As in trials recorded since the first version.
_PRECISION_NAMES = {"fp32": "float32", "tf32": "tf32", "bf16": "bfloat16", "fp16": "float16"}
# Parts of torch's messages, as it has no exception types for these errors.
_MEMORY_ERRORS = (
    "can't allocate memory",
    "out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "nable to find an engine",
)
# mallopt's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, with the largest values that glibc accepts.
_MALLOC_OPTIONS = ((-3, 32 << 20), (-1, (1 << 31) - 1))
_STREAMS_IN_USE: set[tuple[torch.device, int]] = set()
_STREAMS = threading.Condition()
# Share of a GPU's memory below which unused memory is given back to other processes.
_MIN_FREE = 0.3


def probe(device: torch.device) -> None:
    """Compute something on a device, which raises torch's error if it is unusable."""
    assert torch.ones(2, device=device).sum().item() == 2


def check_precision(device: torch.device, precision: Precision | None) -> None:
    """Raise unless a device computes in a precision; None is its default.

    Raises:
        InputError: The hardware lacks it.
    """
    if precision in (None, "fp32"):
        return
    if device.type != "cuda":
        raise InputError(f"precision is {precision!r}; {device.type} computes in fp32", "precision")
    if precision != "fp16" and not has_tf32(device):
        raise InputError(
            f"precision is {precision!r}, which {device_name(device)} lacks; choose fp32 or fp16",
            "precision",
        )


def choose_precision(device: torch.device, recipe: Recipe) -> Precision:
    """Return the recipe's precision, or the default of the device.

    TF32 where the hardware has it: a step of a CIFAR-10 network is as fast as in bfloat16
    (results/benchmarks/gpu.json), and in 16 bits the first gradients of a network without
    `zero_init_residual` are mostly rounding noise (tests/training/test_precision.py).

    Raises:
        InputError: The hardware lacks the recipe's precision.
    """
    check_precision(device, recipe.precision)
    if recipe.precision is not None:
        return recipe.precision
    if device.type != "cuda":
        return "fp32"
    if has_tf32(device):
        return "tf32"
    return "fp16" if recipe.zero_init_residual else "fp32"


def has_tf32(device: torch.device) -> bool:
    """Whether a CUDA device is of compute capability 8.0 or later: TF32 and native bfloat16."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def prepare(
    device: torch.device,
    exact: bool = False,
    threads: int = 1,
    precision: Precision | None = None,
    search: bool = True,
) -> torch.dtype | None:
    """Set this process up for a device; return the autocast type, or None for float32.

    Trials use one thread each: side by side they use the cores better than several threads per
    trial, and results don't depend on their number. Results on a CPU are always deterministic.

    Args:
        device: Where trials train.
        exact: On CUDA, use deterministic algorithms alone.
        threads: CPU threads, more than one if a single training has the CPU to itself.
        search: On CUDA, time cuDNN's algorithms for each shape of a convolution, and take the best.
        precision: Of training; None is fp32 on CPU and MPS, on CUDA the better of bf16 and fp16.
    """
    torch.set_num_threads(threads if device.type == "cpu" else 1)
    _keep_freed_memory()
    if device.type != "cuda":
        return None
    torch.cuda.set_device(device)
    if exact:
        # Read when cuBLAS is first used (NVIDIA's documentation, "Results reproducibility").
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(exact, warn_only=True)
    torch.backends.cudnn.benchmark = search and not exact
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = precision not in (None, "fp32")
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    return _AUTOCAST.get(precision or ("bf16" if has_tf32(device) else "fp16"))


def versions(device: torch.device, precision: Precision) -> dict[str, str]:
    """Return library versions, device and precision, as in a trial's record."""
    return {
        "designspace": __version__,
        "torch": str(torch.__version__),  # a plain text, read without torch
        "python": platform.python_version(),
        "device": device_name(device),
        "precision": _PRECISION_NAMES[precision],
    }


def device_name(device: torch.device) -> str:
    """Return the product name of a device."""
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


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory, which every step would have to map again."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            for option, value in _MALLOC_OPTIONS:
                ctypes.CDLL("libc.so.6").mallopt(option, value)


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Use a CUDA stream of its own, so that the models of a process overlap.

    torch hands out the same streams of a device in turns, as many as models train at once at most.
    One that another model uses must not be captured: that model's launches would break the capture,
    and with it the process.
    """
    if device.type != "cuda":
        yield
        return
    with _STREAMS:
        while (stream := _free_stream(device)) is None:
            _STREAMS.wait()  # a worker of Dask may have more threads than there are streams
        place = (device, stream.cuda_stream)
        _STREAMS_IN_USE.add(place)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        with _STREAMS:
            _STREAMS_IN_USE.discard(place)
            _STREAMS.notify()


def _free_stream(device: torch.device) -> torch.cuda.Stream | None:
    for _ in range(MAX_AT_ONCE):
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        if (device, stream.cuda_stream) not in _STREAMS_IN_USE:
            return stream
    return None


def release_memory(device: torch.device) -> None:
    """Return cached memory to the system, between trials."""
    if device.type == "cuda":
        with contextlib.suppress(RuntimeError):  # raised again after an earlier device error
            # Freeing memory waits for the models of other threads.
            free, total = torch.cuda.mem_get_info(device)
            if free < _MIN_FREE * total:
                torch.cuda.empty_cache()
        return
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the machine is out of memory."""
    if isinstance(error, InputError) and error.__cause__ is not None:
        return is_out_of_memory(error.__cause__)  # raised in a block of a plugin
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MEMORY_ERRORS)
