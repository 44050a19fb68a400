"""RegNet parameters and the quantized linear rule that turns them into stages (DDS §3.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field

from designspace.arch.array_batch import ArrayBatch
from designspace.arch.body import (
    Body,
    BodyBatch,
    BottleneckRatio,
    FloatArray,
    IntArray,
    check_expansion,
    group_compatible,
)
from designspace.io.validation import check_fields

QUANTUM = 8

# Half the width of a tie: far above what float64 rounds, far below what differs between models.
_TIE = 1e-9
# Steps that powers are tabulated for, and entries of such a table.
_MAX_STEPS, _TABLE = 2**14, 2**22


@dataclass(frozen=True)
class RegNetParams:
    """The six numbers of one RegNet; b and g are shared by all stages.

    Attributes:
        d: Total number of blocks.
        w_0: Initial width, a multiple of 8.
        w_a: Slope of the linear widths, channels a block.
        w_m: Ratio between the widths of neighbouring stages.
        b: Bottleneck ratio; below 1 it must be 1/n.
        g: Group width.
    """

    d: Annotated[int, Field(ge=1, le=1000, strict=True)]
    w_0: Annotated[int, Field(ge=QUANTUM, le=10**5, multiple_of=QUANTUM, strict=True)]
    w_a: Annotated[float, Field(ge=0, le=1e5, strict=True)]
    w_m: Annotated[float, Field(gt=1, le=100, strict=True)]
    b: Annotated[BottleneckRatio, AfterValidator(check_expansion)] = 1.0
    g: Annotated[int, Field(ge=1, le=10**6, strict=True)] = 1

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        check_fields(self, "regnet: ")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in files."""
        b = int(self.b) if float(self.b).is_integer() else self.b
        return {"d": self.d, "w_0": self.w_0, "w_a": self.w_a, "w_m": self.w_m, "b": b, "g": self.g}

    def body(self, se_ratio: float = 0.0) -> Body:
        """Return the body of these parameters, with however many stages it has."""
        batch = RegNetParamsBatch.from_list([self])
        bodies, _ = batch.bodies(int(batch.stage_counts()[0]), np.array([se_ratio]))
        return bodies.body(0)


REGNET_AXES = tuple(field.name for field in fields(RegNetParams))


@dataclass(frozen=True, eq=False)
class RegNetParamsBatch(ArrayBatch):
    """The parameters of n RegNets as arrays, each (n,)."""

    d: IntArray
    w_0: IntArray
    w_a: FloatArray
    w_m: FloatArray
    b: FloatArray
    g: IntArray

    def __len__(self) -> int:
        return len(self.d)

    @staticmethod
    def from_list(regnets: Sequence[RegNetParams]) -> "RegNetParamsBatch":
        """Stack single parameter sets."""
        return RegNetParamsBatch.from_columns(
            {name: [getattr(r, name) for r in regnets] for name in REGNET_AXES}
        )

    @staticmethod
    def from_columns(columns: Mapping[str, Any]) -> "RegNetParamsBatch":
        """Make a batch of one sequence of n numbers for each parameter."""
        kinds = {
            name: np.int64 if name in ("d", "w_0", "g") else np.float64 for name in REGNET_AXES
        }
        arrays: dict[str, Any] = {k: np.asarray(columns[k]).astype(v) for k, v in kinds.items()}
        return RegNetParamsBatch(**arrays)

    def regnet(self, i: int) -> RegNetParams:
        """Return parameter set i as plain values."""
        return RegNetParams(**{name: getattr(self, name)[i].item() for name in REGNET_AXES})

    def block_widths(self) -> IntArray:
        """Quantized width of every block before group compatibility, (n, max d); 0 past a depth."""
        return quantized_widths(self.d, self.w_0, self.w_a, self.w_m)

    def stage_counts(self) -> IntArray:
        """Number of stages of each model, (n,): runs of equal block width."""
        widths = self.block_widths()
        steps = (np.diff(widths, axis=1) != 0) & (widths[:, 1:] > 0)
        counts: IntArray = 1 + steps.sum(axis=1, dtype=np.int64)
        return counts

    def skip_steps(self) -> NDArray[np.bool_]:
        """Return which models lack a stage for some power of w_m up to the largest, (n,).

        Some w_0 * w_m ** k lies between the widths of two neighbouring blocks, or rounds to the
        same multiple of 8 as another.
        """
        last = (self.w_0 + self.w_a * (self.d - 1))[:, None]
        steps = _steps(last, self.w_0, self.w_m)[:, 0]
        return np.asarray(self.stage_counts() != steps + 1)

    def bodies(
        self, num_stages: int | Sequence[int], se_ratios: FloatArray
    ) -> tuple[BodyBatch, NDArray[np.bool_]]:
        """Turn parameters into stages, for the models with `num_stages` of them.

        Args:
            num_stages: Number of stages, or several.
            se_ratios: Squeeze ratio of each model, (n,).

        Returns:
            The bodies with so many stages, and the mask (n,) of which models they are.
        """
        allowed = [num_stages] if isinstance(num_stages, int) else list(num_stages)
        widths = self.block_widths()
        starts = np.ones_like(widths, dtype=bool)
        starts[:, 1:] = np.diff(widths, axis=1) != 0
        starts &= widths > 0
        counts, most = starts.sum(axis=1), max(allowed)
        fits = np.isin(counts, allowed)
        widths, starts, depth, counts = widths[fits], starts[fits], self.d[fits], counts[fits]
        # np.nonzero goes row by row, so that each row gives its stages in order. A stage that is
        # missing begins where the network ends.
        begin = np.repeat(depth[:, None], most + 1, axis=1)
        begin[:, :most][np.arange(most) < counts[:, None]] = np.nonzero(starts)[1]
        depths = np.diff(begin, axis=1)
        first = np.minimum(begin[:, :most], depth[:, None] - 1)
        b = np.repeat(self.b[fits][:, None], most, axis=1)
        g = np.repeat(self.g[fits][:, None], most, axis=1)
        stage_widths, groups = group_compatible(np.take_along_axis(widths, first, axis=1), b, g)
        return BodyBatch(depths, stage_widths, b, groups, se_ratios[fits]), fits


def quantized_widths(d: IntArray, w_0: IntArray, w_a: FloatArray, w_m: FloatArray) -> IntArray:
    """Block widths by the quantized linear rule, DDS eq. 2 to 4.

    u_j = w_0 + w_a * j (eq. 2); s_j solves u_j = w_0 * w_m ** s_j (eq. 3); the width is
    w_0 * w_m ** round(s_j) (eq. 4), rounded to a multiple of 8. In float64; ties round to even.
    The last digits of logarithms and powers differ between processors, so that neither decides: an
    s_j within 1e-9 of a tie is one (1/2 for w_m = 2.25 and w_0 = 2 w_a), powers are products.

    Args:
        d, w_0, w_a, w_m: The parameters, each (n,).

    Returns:
        Widths (n, max d), 0 where j >= d.
    """
    j = np.arange(int(d.max(initial=1)), dtype=np.float64)
    steps = _steps(w_0[:, None] + w_a[:, None] * j, w_0, w_m)
    widths = np.rint(w_0[:, None] * _power(w_m, steps) / QUANTUM) * QUANTUM
    return np.where(j < d[:, None], widths, 0).astype(np.int64)


def _steps(linear: FloatArray, w_0: IntArray, w_m: FloatArray) -> FloatArray:
    """Return the rounded s_j of linear widths (n, k), DDS eq. 3."""
    exact = np.log(linear / w_0[:, None]) / np.log(w_m)[:, None]
    steps = np.rint(exact)
    tied = np.abs(np.abs(exact - steps) - 0.5) < _TIE
    steps[tied] = np.rint(np.floor(exact[tied]) + 0.5)
    return steps


def _power(base: FloatArray, exponents: FloatArray) -> FloatArray:
    """Return base (n,) ** exponents (n, k), whole and of at least 0, as products.

    Rows of more than `_MAX_STEPS` steps, of a w_m within 0.001 of 1, are left to NumPy.
    """
    result = np.empty(exponents.shape)
    most = exponents.max(initial=0)
    if most > _MAX_STEPS:
        far = exponents.max(axis=1) > _MAX_STEPS
        result[far] = base[far, None] ** exponents[far]
        result[~far] = _power(base[~far], exponents[~far])
        return result
    width = int(most) + 1
    rows = max(1, _TABLE // width)
    for part in (slice(start, start + rows) for start in range(0, len(base), rows)):
        factors = np.repeat(base[part, None], width, axis=1)
        factors[:, 0] = 1.0
        powers = np.cumprod(factors, axis=1)
        result[part] = np.take_along_axis(powers, exponents[part].astype(np.int64), axis=1)
    return result
