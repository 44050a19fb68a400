"""Rules of finished bodies, which sampling checks after it has drawn them."""

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.arch import BodyBatch, RegNetParamsBatch, group_compatible
from designspace.arch.body import FloatArray, IntArray

# Combinations of values of axes that are rounded to see which remain.
_MOST_COMBINATIONS = 10**6
# Returns which bodies keep a rule, (n,); RegNet parameters are None for AnyNets.
BodyRule = Callable[[BodyBatch, RegNetParamsBatch | None], NDArray[np.bool_]]


def body_rules(
    monotone: Mapping[str, str],
    distinct: Mapping[str, int],
    total_depth: tuple[int, int] | None,
    skipped_steps: bool,
) -> dict[str, BodyRule]:
    """Return the rules of a space by name.

    Args:
        monotone: Direction of each monotone axis. Widths and group widths are rounded after they
            are drawn, so that strictly monotone ones may tie.
        distinct: Number of distinct values by axis.
        total_depth: Closed range of the number of blocks in all stages, or None.
        skipped_steps: Whether a RegNet may skip a power of w_m.
    """
    rules: dict[str, BodyRule] = {}
    if not skipped_steps:
        rules["skipped steps"] = _skips_no_step
    for name, direction in monotone.items():
        if direction.startswith("strictly"):
            sign = -1 if direction.endswith("decreasing") else 1
            rules[f"{direction.replace('_', ' ')} {name}"] = partial(_is_strict, name, sign)
    for name, count in distinct.items():
        rules[f"{count} distinct {name}"] = partial(_has_distinct, name, count)
    if total_depth is not None:
        rules["total depth"] = partial(_has_total_depth, *total_depth)
    return rules


def most_distinct(name: str, axes: Mapping[str, FloatArray], share: Collection[str]) -> int:
    """Return how many values of an axis one finished body can have, or more than that.

    Args:
        name: The axis.
        axes: The values of the axis, and of others that widths and group widths are rounded by.
        share: Axes with one value for all stages.
    """
    order = sorted(axes, key=lambda axis: axis not in share)
    rows = math.prod(len(axes[axis]) for axis in order if axis in share)
    columns = math.prod(len(axes[axis]) for axis in order if axis not in share)
    if rows * columns > _MOST_COMBINATIONS:
        return columns
    combined = np.meshgrid(*(axes[axis] for axis in order), indexing="ij")
    grid: dict[str, NDArray[Any]] = dict(zip(order, combined, strict=True))
    if len(grid) > 1:
        ones = np.ones_like(grid["w"])
        widths, groups = (grid.get(axis, ones).astype(np.int64) for axis in ("w", "g"))
        grid["w"], grid["g"] = group_compatible(widths, grid.get("b", ones), groups)
    return int(_count_distinct(grid[name].reshape(rows, columns)).max())


def _values(bodies: BodyBatch, name: str) -> NDArray[Any]:
    """Return the values of an axis, (n, stages); missing stages repeat the last one."""
    values: Mapping[str, NDArray[Any]] = {
        "d": bodies.repeated_depths,
        "w": bodies.widths,
        "b": bodies.bottleneck_ratios,
        "g": bodies.group_widths,
        **bodies.extras,
    }
    return values[name]


def _skips_no_step(bodies: BodyBatch, regnets: RegNetParamsBatch | None) -> NDArray[np.bool_]:
    assert regnets is not None
    return ~regnets.skip_steps()


def _is_strict(
    name: str, sign: int, bodies: BodyBatch, regnets: RegNetParamsBatch | None
) -> NDArray[np.bool_]:
    steps = sign * np.diff(_values(bodies, name), axis=1)
    return np.asarray(((steps > 0) | (bodies.depths[:, 1:] == 0)).all(axis=1))


def _has_distinct(
    name: str, count: int, bodies: BodyBatch, regnets: RegNetParamsBatch | None
) -> NDArray[np.bool_]:
    return np.asarray(_count_distinct(_values(bodies, name)) == count)


def _count_distinct(rows: NDArray[Any]) -> IntArray:
    """Return the number of distinct values in each row, (n,)."""
    return np.asarray(1 + (np.diff(np.sort(rows, axis=1), axis=1) != 0).sum(axis=1))


def _has_total_depth(
    low: int, high: int, bodies: BodyBatch, regnets: RegNetParamsBatch | None
) -> NDArray[np.bool_]:
    depth = bodies.depths.sum(axis=1)
    return np.asarray((depth >= low) & (depth <= high))
