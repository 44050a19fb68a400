"""Scaling one network: RegNet parameters where it has them, else its explicit stages.

For RegNets the parameters are scaled and the width rule is applied anew: w_0 to the nearest
multiple of 8, w_a to two decimals as in the published tables, g to a whole number; d and w_m stay
unless depth is scaled. RegNetY-128GF at sqrt(2) in width so gives the widths of RegNetY-256GF.
pycls' scaler rounds the stages' widths and g to multiples of 8 instead, which does not.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from designspace.arch import (
    BodyBatch,
    Cost,
    Model,
    RegNetParamsBatch,
    Skeleton,
    cost,
    countable,
    group_compatible,
)
from designspace.arch.body import FloatArray, IntArray
from designspace.derive.scaling_rules import Rule

_MAX_WIDTH = 10**5
_MAX_DEPTH = 1000


@dataclass(frozen=True, eq=False)
class Scaled:
    """A network at n factors; those that can't be built are left out.

    Attributes:
        factors: The flops factors that gave a network, (n,).
        stages: Its bodies.
        regnets: Their parameters, or None for a free body.
        resolutions: Input side of each, in pixels, (n,).
        parent: What was scaled.
    """

    factors: FloatArray
    bodies: BodyBatch
    regnets: RegNetParamsBatch | None
    resolutions: IntArray
    parent: Model

    def __len__(self) -> int:
        return len(self.factors)

    @property
    def cost(self) -> Cost:
        """Cost of each, at its own resolution."""
        parts = {name: np.zeros(len(self), np.int64) for name in ("flops", "params", "acts")}
        for resolution in np.unique(self.resolutions):
            rows = np.flatnonzero(self.resolutions == resolution)
            counted = cost(self.bodies.take(rows), self._frame(int(resolution)))
            for name, values in parts.items():
                values[rows] = getattr(counted, name)
        return Cost(**parts)

    @property
    def countable(self) -> NDArray[np.bool_]:
        """Which can be counted; factors may lead to networks beyond all numbers."""
        made = np.zeros(len(self), np.bool_)
        for resolution in np.unique(self.resolutions):
            rows = np.flatnonzero(self.resolutions == resolution)
            made[rows] = countable(self.bodies.take(rows), self._frame(int(resolution)))
        return made

    def take(self, rows: NDArray[np.bool_]) -> "Scaled":
        """Select networks by a mask."""
        return Scaled(
            self.factors[rows],
            self.bodies.take(rows),
            None if self.regnets is None else self.regnets.take(rows),
            self.resolutions[rows],
            self.parent,
        )

    def model(self, i: int, name: str) -> Model:
        """Return number i as a network without provenance."""
        regnet = None if self.regnets is None else self.regnets.regnet(i)
        skeleton = self._frame(int(self.resolutions[i]))
        return Model(name, self.bodies.body(i), skeleton, regnet)

    def _frame(self, resolution: int) -> Skeleton:
        return replace(self.parent.skeleton, resolution=resolution)


def scale(parent: Model, rule: Rule, factors: FloatArray) -> Scaled:
    """Scale a network to each of n factors of flops at once."""
    depth, width, side = (np.array(f) for f in zip(*map(rule.factors, factors), strict=True))
    resolutions = _resolutions(parent.skeleton.resolution, side)
    if parent.regnet is None:
        made = Scaled(factors, _scaled_stages(parent, depth, width), None, resolutions, parent)
        return made.take(made.countable)
    regnets, possible = _scaled_regnets(parent, depth, width)
    se = np.full(len(regnets), parent.body.se_ratio)
    bodies, fits = regnets.bodies(parent.skeleton.num_stages, se)
    rows, regnets = np.flatnonzero(possible)[fits], regnets.take(fits)
    sane = bodies.widths.max(axis=1, initial=0) <= _MAX_WIDTH
    made = Scaled(factors[rows], bodies, regnets, resolutions[rows], parent)
    return made.take(sane & made.countable)


def _scaled_regnets(
    parent: Model, depth: FloatArray, width: FloatArray
) -> tuple[RegNetParamsBatch, NDArray[np.bool_]]:
    """Return the parameters of the factors at which they are in range, and the mask of which."""
    assert parent.regnet is not None
    old = parent.regnet
    d = np.maximum(1, np.rint(old.d * depth))
    w_0 = np.maximum(1, np.rint(old.w_0 * width / 8)) * 8
    # The last block keeps its place in the profile, so that depth adds blocks, not width.
    stretch = max(old.d - 1, 1) / np.maximum(d - 1, 1)
    stretch = np.where(d == old.d, 1.0, stretch)
    w_a = np.round(old.w_a * width * stretch, 2)
    g = np.maximum(1, np.rint(old.g * width))
    fits = (d <= _MAX_DEPTH) & (np.maximum(w_0, np.maximum(w_a, g)) <= _MAX_WIDTH)
    count = int(fits.sum())
    regnets = RegNetParamsBatch(
        d=d[fits].astype(np.int64),
        w_0=w_0[fits].astype(np.int64),
        w_a=w_a[fits],
        w_m=np.full(count, old.w_m),
        b=np.full(count, old.b),
        g=g[fits].astype(np.int64),
    )
    # For narrow networks the rounding of w_0 alone can change the number of stages; then w_a goes
    # with the rounded w_0, which leaves the profile as it was.
    lost = regnets.stage_counts() != parent.skeleton.num_stages
    followed = np.round(old.w_a * regnets.w_0 / old.w_0 * stretch[fits], 2)
    return replace(regnets, w_a=np.where(lost, followed, regnets.w_a)), fits


def _scaled_stages(parent: Model, depth: FloatArray, width: FloatArray) -> BodyBatch:
    old = parent.body
    d, w, b, g = (
        np.array([values], dtype=np.float64)
        for values in (old.depths, old.widths, old.bottleneck_ratios, old.group_widths)
    )
    depths = np.clip(np.rint(d * depth[:, None]), 1, _MAX_DEPTH).astype(np.int64)
    wished = np.clip(np.rint(w * width[:, None] / 8), 1, _MAX_WIDTH / 8) * 8
    wished = np.where(width[:, None] == 1, w, wished)
    groups = np.clip(np.rint(g * width[:, None]), 1, _MAX_WIDTH)
    b = np.broadcast_to(b, depths.shape)
    widths, groups_ = group_compatible(wished.astype(np.int64), b, groups.astype(np.int64))
    return BodyBatch(depths, widths, b, groups_, np.full(len(depths), old.se_ratio))


def _resolutions(parent: int, side: FloatArray) -> IntArray:
    """Nearest multiple of 4 pixels, as in pycls' scaler; for small images to the pixel."""
    unit = 4 if parent >= 64 else 1
    wished = np.maximum(1, np.rint(parent * side / unit)) * unit
    return np.where(side == 1, parent, np.minimum(wished, 8192)).astype(np.int64)
