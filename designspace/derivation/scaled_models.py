"""Scale a model: its RegNet parameters if it has them, otherwise its stages.

For a RegNet, w_0 is rounded to the nearest multiple of 8, w_a to two decimals (as in the published
tables) and g to an integer; d and w_m change only with depth. The quantized linear rule then gives
the stages: RegNetY-128GF scaled by sqrt(2) in width has the widths of RegNetY-256GF. pycls rounds
the stages' widths and g to multiples of 8 instead, which gives other widths.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from designspace.arch import (
    ACTIVATIONS,
    MEASURES,
    Body,
    BodyBatch,
    Cost,
    Model,
    RegNetParamsBatch,
    Skeleton,
    body_axes,
    cost,
    countable,
    group_compatible,
)
from designspace.arch.body import FloatArray, IntArray
from designspace.derivation.scaling_rules import ScalingRule

MAX_WIDTH = 10**5
MAX_DEPTH = 1000
# Group compatibility lowers it to the width of the 3x3: a single group.
_ONE_GROUP = 10**6


@dataclass(frozen=True, eq=False)
class ScaledModels:
    """One model at n factors of flops; factors that give no valid model are left out.

    Attributes:
        factors: The factors of flops, (n,).
        bodies: The scaled bodies.
        regnets: Their RegNet parameters, or None for free bodies.
        resolutions: Input resolution in pixels, (n,).
        parent: The model that was scaled.
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
        """Cost of each model at its own resolution."""

        def count(bodies: BodyBatch, resolution: int) -> Cost:
            return cost_with_stem(bodies, self.skeleton(resolution), self.parent)

        return _cost_by(self.resolutions, self.bodies, count)

    @property
    def countable(self) -> NDArray[np.bool_]:
        """Mask of the models whose cost fits in int64, (n,)."""
        mask = np.zeros(len(self), np.bool_)
        for resolution in np.unique(self.resolutions):
            rows = np.flatnonzero(self.resolutions == resolution)
            mask[rows] = countable(self.bodies.take(rows), self.skeleton(int(resolution)))
        return mask

    def take(self, rows: NDArray[np.bool_]) -> "ScaledModels":
        """Select models by a mask."""
        return ScaledModels(
            self.factors[rows],
            self.bodies.take(rows),
            None if self.regnets is None else self.regnets.take(rows),
            self.resolutions[rows],
            self.parent,
        )

    def model(self, i: int) -> Model:
        """Return model i, named after the parent, without provenance."""
        regnet = None if self.regnets is None else self.regnets.regnet(i)
        body = self.bodies.body(i)
        skeleton = with_stem(body, self.skeleton(int(self.resolutions[i])), self.parent)
        return Model(self.parent.name, body, skeleton, regnet)

    def skeleton(self, resolution: int) -> Skeleton:
        """Return the parent's skeleton at another resolution."""
        return replace(self.parent.skeleton, resolution=resolution)


def scale(parent: Model, rule: ScalingRule, factors: FloatArray) -> ScaledModels:
    """Scale a model to each of n factors of flops."""
    depth, width, side = (np.array(f) for f in zip(*map(rule.factors, factors), strict=True))
    resolutions = _resolutions(parent.skeleton.resolution, side)
    if parent.regnet is None:
        bodies = scale_bodies(parent, depth, width, fixed_group_width(parent))
        scaled = ScaledModels(factors, bodies, None, resolutions, parent)
        return scaled.take(scaled.countable & groups_divide(bodies))
    regnets, in_range = _scaled_regnets(parent, depth, width)
    se = np.full(len(regnets), parent.body.se_ratio)
    bodies, fits = regnets.bodies(parent.skeleton.num_stages, se)
    bodies = of_the_block_of(parent.body, bodies)
    rows, regnets = np.flatnonzero(in_range)[fits], regnets.take(fits)
    scaled = ScaledModels(factors[rows], bodies, regnets, resolutions[rows], parent)
    return scaled.take((bodies.widths.max(axis=1, initial=0) <= MAX_WIDTH) & scaled.countable)


def _scaled_regnets(
    parent: Model, depth: FloatArray, width: FloatArray
) -> tuple[RegNetParamsBatch, NDArray[np.bool_]]:
    """Return the parameters at those factors where they are in range, and the mask of these."""
    old = parent.regnet
    assert old is not None
    d = np.maximum(1, np.rint(old.d * depth))
    w_0 = np.maximum(1, np.rint(old.w_0 * width / 8)) * 8
    # Keep the last block's linear width, so that depth adds blocks, not width.
    stretch = max(old.d - 1, 1) / np.maximum(d - 1, 1)
    stretch = np.where(d == old.d, 1.0, stretch)
    w_a = np.round(old.w_a * width * stretch, 2)
    fixed = fixed_group_width(parent)
    g = np.maximum(1, np.rint(old.g * width)) if fixed is None else np.full(len(width), fixed)
    g_in_range = (g <= MAX_WIDTH) | (g == (fixed or old.g))
    in_range = (d <= MAX_DEPTH) & (np.maximum(w_0, w_a) <= MAX_WIDTH) & g_in_range
    count = int(in_range.sum())
    regnets = RegNetParamsBatch(
        d=d[in_range].astype(np.int64),
        w_0=w_0[in_range].astype(np.int64),
        w_a=w_a[in_range],
        w_m=np.full(count, old.w_m),
        b=np.full(count, old.b),
        g=g[in_range].astype(np.int64),
    )
    # In narrow models, rounding w_0 alone may change the number of stages; scaling w_a by the same
    # rounded factor preserves it.
    lost = regnets.stage_counts() != parent.skeleton.num_stages
    followed = np.round(old.w_a * regnets.w_0 / old.w_0 * stretch[in_range], 2)
    return replace(regnets, w_a=np.where(lost, followed, regnets.w_a)), in_range


def scale_bodies(
    parent: Model,
    depth: FloatArray,
    width: FloatArray,
    fixed_group: int | None,
    group_unit: int = 1,
) -> BodyBatch:
    """Scale a free body by n factors of depth and width.

    Group widths round to multiples of a unit, or are fixed.
    """
    old = parent.body
    d, w, b, g = (
        np.array([values], dtype=np.float64)
        for values in (old.depths, old.widths, old.bottleneck_ratios, old.group_widths)
    )
    depths = np.clip(np.rint(d * depth[:, None]), 1, MAX_DEPTH).astype(np.int64)
    rounded = np.clip(np.rint(w * width[:, None] / 8), 1, MAX_WIDTH / 8) * 8
    rounded = np.where(width[:, None] == 1, w, rounded)
    groups = np.clip(np.rint(g * width[:, None] / group_unit), 1, MAX_WIDTH) * group_unit
    if fixed_group is not None:
        groups = np.full(groups.shape, fixed_group)
    b = np.broadcast_to(b, depths.shape)
    widths, groups_ = group_compatible(rounded.astype(np.int64), b, groups.astype(np.int64))
    scaled = BodyBatch(depths, widths, b, groups_, np.full(len(depths), old.se_ratio))
    return of_the_block_of(old, scaled)


def groups_divide(bodies: BodyBatch) -> NDArray[np.bool_]:
    """Return which bodies have group widths that divide the 3x3's, as `Body` demands, (n,).

    Group compatibility can't grant it to a ratio below 1 other than 1/n.
    """
    return np.asarray((bodies.inner_widths % bodies.group_widths == 0).all(axis=1))


def fixed_group_width(parent: Model) -> int | None:
    """Return the group width of all scaled models, or None where it scales with width.

    It is 1 for blocks without groups and where every stage of the parent is depthwise, and more
    than any width where every stage is a single group; those of the scaled models then are too.
    """
    body, regnet = parent.body, parent.regnet
    if "g" not in body_axes(body.block):
        return 1
    # A RegNet's group width may have rounded the widths to single groups.
    rounded = regnet is not None and replace(regnet, g=_ONE_GROUP).body().widths != body.widths
    inner = BodyBatch.from_bodies([body]).inner_widths[0].tolist()
    if list(body.group_widths) == inner and not rounded:
        return _ONE_GROUP
    return 1 if max(body.group_widths) == 1 else None


def of_the_block_of(parent: Body, bodies: BodyBatch) -> BodyBatch:
    """Return the bodies with the block of a parent, its own axes and its activation."""
    shape = bodies.depths.shape
    codes = np.full(shape[0], ACTIVATIONS.index(parent.activation))
    return replace(
        bodies,
        block=parent.block,
        extras={name: np.broadcast_to(values, shape) for name, values in parent.extras},
        activations=codes if codes.any() else None,
    )


def stem_follows(parent: Model) -> bool:
    """Whether its stem is of patches and as wide as the first stage, which only then is plain.

    In ConvNeXt a change of width between them would add a LayerNorm and a convolution.
    """
    skeleton = parent.skeleton
    alike = skeleton.stem_width == parent.body.widths[0] and skeleton.strides[0] == 1
    return skeleton.stem == "patch" and alike


def with_stem(body: Body, skeleton: Skeleton, parent: Model) -> Skeleton:
    """Return the skeleton of a scaled body: its stem is as wide as the first stage, if it was."""
    return replace(skeleton, stem_width=body.widths[0]) if stem_follows(parent) else skeleton


def cost_with_stem(bodies: BodyBatch, skeleton: Skeleton, parent: Model) -> Cost:
    """Count scaled bodies, each with the stem of `with_stem`."""
    if not stem_follows(parent):
        return cost(bodies, skeleton)
    return _cost_by(
        bodies.widths[:, 0],
        bodies,
        lambda some, width: cost(some, replace(skeleton, stem_width=width)),
    )


def _cost_by(values: IntArray, bodies: BodyBatch, count: Callable[[BodyBatch, int], Cost]) -> Cost:
    """Count the bodies of each value, (n,), together."""
    total = Cost(*(np.zeros(len(bodies), np.int64) for _ in MEASURES))
    for value in np.unique(values).tolist():
        rows = np.flatnonzero(values == value)
        part = count(bodies.take(rows), value)
        for name in MEASURES:
            getattr(total, name)[rows] = getattr(part, name)
    return total


def _resolutions(parent: int, side: FloatArray) -> IntArray:
    """Round to multiples of 4 pixels, as pycls does; below 64 pixels to the pixel."""
    unit = 4 if parent >= 64 else 1
    rounded = np.maximum(1, np.rint(parent * side / unit)) * unit
    return np.where(side == 1, parent, np.minimum(rounded, 8192)).astype(np.int64)
