"""How models are measured, checked before torch is imported."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from designspace.errors import InputError, nearest
from designspace.runs.measurements import Mode
from designspace.runs.recipe import Precision
from designspace.runs.training_options import check_device, check_threads


@dataclass(frozen=True)
class MeasureOptions:
    """How models are measured.

    Attributes:
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; None is one per core.
        batch: Images per step.
        precision: fp32, tf32, bf16 or fp16; None is fp32 on CPUs and TF32 on GPUs that have it.
        mode: inference or training.
        compile: Use torch.compile.
        time_limit: Seconds of timing per model.
        memory: Whether to measure peak memory too.
    """

    device: str = "cpu"
    threads: int | None = None
    batch: int = 1
    precision: Precision | None = None
    mode: Mode = "inference"
    compile: bool = False
    time_limit: float = 5.0
    memory: bool = True

    def __post_init__(self) -> None:
        check_device(self.device)
        check_threads(self.threads)
        if not 1 <= self.batch <= 1_000_000:
            raise InputError(f"batch is {self.batch}; it must be 1 to 1,000,000", "batch")
        for name, value, allowed in (
            ("precision", self.precision, get_args(Precision)),
            ("mode", self.mode, get_args(Mode)),
        ):
            if value is not None and value not in allowed:
                raise InputError(f"{name} is {value!r}; {nearest(str(value), list(allowed))}", name)
        if not 0 < self.time_limit < float("inf"):
            raise InputError(
                f"time_limit is {self.time_limit:g}; it must be above 0 seconds", "time_limit"
            )

    def with_batch(self, batch: int) -> "MeasureOptions":
        """Return the same options for another batch."""
        return replace(self, batch=batch)


def parse_batches(batch: int | str | Sequence[int]) -> list[int]:
    """Return batch sizes: a number, several, or text such as `"1,64"`.

    Raises:
        InputError: One is no whole number of at least 1.
    """
    parts: Sequence[Any]
    parts = (
        batch.split(",")
        if isinstance(batch, str)
        else batch
        if isinstance(batch, Sequence)
        else [batch]
    )
    sizes = [int(part) if str(part).strip().isdecimal() else 0 for part in parts]
    if not sizes or min(sizes) < 1:
        raise InputError(f"batch is {batch!r}; give whole numbers from 1, such as 1,64", "batch")
    return list(dict.fromkeys(sizes))
