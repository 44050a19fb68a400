"""RegNet parameters and the quantized linear rule that turns them into stages (DDS §3.3)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.arch.body import Body, BodyBatch, FloatArray, IntArray, group_compatible
from designspace.errors import InputError

QUANTUM = 8


@dataclass(frozen=True)
class RegNetParams:
    """The six numbers of one RegNet; b and g are shared by all stages.

    Attributes:
        d: Blocks in all, up to 1000.
        w_0: Initial width, a positive multiple of 8.
        w_a: Slope of the linear widths, channels a block, at least 0.
        w_m: Ratio between the widths of neighbouring stages, above 1.
        b: Bottleneck ratio.
        g: Group width.
    """

    d: int
    w_0: int
    w_a: float
    w_m: float
    b: float = 1.0
    g: int = 1

    def __post_init__(self) -> None:
        rules = (
            ("d", 1 <= self.d <= 1000, "1 to 1000"),
            ("w_0", 0 < self.w_0 <= 10**5 and self.w_0 % QUANTUM == 0, "a multiple of 8 up to 1e5"),
            ("w_a", 0 <= self.w_a <= 1e5, "0 to 1e5"),
            ("w_m", 1 < self.w_m <= 100, "above 1 and up to 100"),
            ("b", 1 / 64 <= self.b <= 64, "1/64 to 64"),
            ("g", 1 <= self.g <= 10**6, "1 to 1e6"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise InputError(f"regnet: {name} is {getattr(self, name)}; it must be {rule}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as it stands in files."""
        b = int(self.b) if float(self.b).is_integer() else self.b
        return {"d": self.d, "w_0": self.w_0, "w_a": self.w_a, "w_m": self.w_m, "b": b, "g": self.g}

    def body(self, se_ratio: float = 0.0) -> Body:
        """Return the body that these parameters stand for, with however many stages it has."""
        one = RegNetParamsBatch.from_list([self])
        count = int(one.stage_counts()[0])
        bodies, _ = one.bodies(count, np.array([se_ratio]))
        return bodies.body(0)


@dataclass(frozen=True, eq=False)
class RegNetParamsBatch:
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
    def from_list(regnets: list[RegNetParams]) -> "RegNetParamsBatch":
        """Stack single parameter sets."""
        return RegNetParamsBatch(
            d=np.array([r.d for r in regnets], dtype=np.int64),
            w_0=np.array([r.w_0 for r in regnets], dtype=np.int64),
            w_a=np.array([r.w_a for r in regnets], dtype=np.float64),
            w_m=np.array([r.w_m for r in regnets], dtype=np.float64),
            b=np.array([r.b for r in regnets], dtype=np.float64),
            g=np.array([r.g for r in regnets], dtype=np.int64),
        )

    def take(self, rows: NDArray[Any] | slice) -> "RegNetParamsBatch":
        """Select models by index, mask or slice."""
        return RegNetParamsBatch(
            self.d[rows], self.w_0[rows], self.w_a[rows], self.w_m[rows], self.b[rows], self.g[rows]
        )

    @staticmethod
    def concatenate(parts: list["RegNetParamsBatch"]) -> "RegNetParamsBatch":
        """Join parameter sets, in order."""
        names = ("d", "w_0", "w_a", "w_m", "b", "g")
        return RegNetParamsBatch(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        )

    def regnet(self, i: int) -> RegNetParams:
        """Return parameter set i as plain values."""
        return RegNetParams(
            d=int(self.d[i]),
            w_0=int(self.w_0[i]),
            w_a=float(self.w_a[i]),
            w_m=float(self.w_m[i]),
            b=float(self.b[i]),
            g=int(self.g[i]),
        )

    def block_widths(self) -> IntArray:
        """Quantized width of every block before group compatibility, (n, max d); 0 past a depth."""
        return quantized_widths(self.d, self.w_0, self.w_a, self.w_m)

    def stage_counts(self) -> IntArray:
        """Number of stages of each model, (n,): runs of equal block width."""
        widths = self.block_widths()
        steps = (np.diff(widths, axis=1) != 0) & (widths[:, 1:] > 0)
        counts: IntArray = 1 + steps.sum(axis=1, dtype=np.int64)
        return counts

    def bodies(self, num_stages: int, se_ratios: FloatArray) -> tuple[BodyBatch, NDArray[np.bool_]]:
        """Turn parameters into stages, for those models that have `num_stages` of them.

        Returns:
            The stages of the models that fit, and the mask (n,) of which they are.
        """
        widths = self.block_widths()
        starts = np.ones_like(widths, dtype=bool)
        starts[:, 1:] = np.diff(widths, axis=1) != 0
        starts &= widths > 0
        fits = starts.sum(axis=1) == num_stages
        widths, starts, depth = widths[fits], starts[fits], self.d[fits]
        # np.nonzero goes row by row, so that each row gives its stages in order.
        first = np.nonzero(starts)[1].reshape(-1, num_stages)
        depths = np.diff(np.concatenate([first, depth[:, None]], axis=1), axis=1)
        b = np.repeat(self.b[fits][:, None], num_stages, axis=1)
        g = np.repeat(self.g[fits][:, None], num_stages, axis=1)
        stage_widths, groups = group_compatible(np.take_along_axis(widths, first, axis=1), b, g)
        return BodyBatch(depths, stage_widths, b, groups, se_ratios[fits]), fits


def quantized_widths(d: IntArray, w_0: IntArray, w_a: FloatArray, w_m: FloatArray) -> IntArray:
    """Block widths by the quantized linear rule, DDS eq. 2 to 4.

    u_j = w_0 + w_a * j (eq. 2); s_j solves u_j = w_0 * w_m ** s_j (eq. 3); the width is
    w_0 * w_m ** round(s_j) (eq. 4), rounded to a multiple of 8. In float64; ties round to even.

    Args:
        d, w_0, w_a, w_m: The parameters, each (n,).

    Returns:
        Widths (n, max d), 0 where j >= d.
    """
    j = np.arange(int(d.max(initial=1)), dtype=np.float64)
    linear = w_0[:, None] + w_a[:, None] * j
    steps = np.rint(np.log(linear / w_0[:, None]) / np.log(w_m)[:, None])
    widths = np.rint(w_0[:, None] * w_m[:, None] ** steps / QUANTUM) * QUANTUM
    return np.where(j < d[:, None], widths, 0).astype(np.int64)
