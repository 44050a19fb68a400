"""A population's design parameters as named columns.

AnyNet: `d1` … `dk`, `w1` … `wk`, `b1` … (or one `b` when every model shares it across its stages),
`g1` … (or one `g`), and the total depth `d`. Blocks have b and g only where they use them,
and their own axes. Where models differ in their number of stages, `stages` has it, and columns of a
stage are NaN for models without it. RegNet: `d`, `w_0`, `w_a`, `w_m`, `b`, `g`. Networks of several
activations have `activation`, its index in `ACTIVATIONS`; tables and pages show its name.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.arch.activation import ACTIVATIONS
from designspace.arch.blocks import body_axes
from designspace.arch.body import BodyBatch, FloatArray, IntArray
from designspace.arch.regnet import REGNET_AXES, RegNetParamsBatch

# Parameters without an order: number i stands for name i.
CATEGORIES: dict[str, tuple[str, ...]] = {"activation": ACTIVATIONS}


def parameters(
    bodies: BodyBatch, regnets: RegNetParamsBatch | None = None
) -> dict[str, FloatArray]:
    """Return the values of each parameter, (n,), in display order."""
    own: dict[str, FloatArray] = {}
    missing = bodies.depths == 0
    for name, values in bodies.extras.items():
        own |= _shared_or_by_stage(name, values, missing)
    if missing.any():
        own["stages"] = bodies.stage_counts.astype(np.float64)
    if bodies.activations is not None and np.ptp(bodies.activations):
        own["activation"] = bodies.activations.astype(np.float64)
    present = body_axes(bodies.block)
    if regnets is not None:
        names = [name for name in REGNET_AXES if name not in ("b", "g") or name in present]
        return {**{name: getattr(regnets, name).astype(np.float64) for name in names}, **own}
    columns = _by_stage("d", bodies.depths, missing) | _by_stage("w", bodies.widths, missing)
    if "b" in present:
        columns |= _shared_or_by_stage("b", bodies.bottleneck_ratios, missing)
    if "g" in present and not (bodies.group_widths == bodies.inner_widths).all():
        if one_group_width(bodies).all():
            columns["g"] = bodies.group_widths.max(axis=1).astype(np.float64)
        else:
            columns |= _by_stage("g", bodies.group_widths, missing)
    return {**columns, **own, "d": bodies.depths.sum(axis=1).astype(np.float64)}


def category_names(bodies: BodyBatch | None) -> dict[str, tuple[str, ...]]:
    """Return the names that numbers of parameters of these bodies stand for, by parameter.

    A table that was imported may have a column of the same name, whose numbers are its own.
    """
    if bodies is None or bodies.activations is None or not np.ptp(bodies.activations):
        return {}
    return CATEGORIES


def with_names(
    columns: Mapping[str, FloatArray], bodies: BodyBatch | None
) -> dict[str, NDArray[Any]]:
    """Return the columns of these bodies' parameters, each (n,), with names in place of numbers."""
    names = category_names(bodies)
    return {
        name: np.array(names[name], dtype=object)[values.astype(np.int64)]
        if name in names
        else values
        for name, values in columns.items()
    }


def one_group_width(bodies: BodyBatch) -> NDArray[np.bool_]:
    """Return which models use one group width in all stages, (n,).

    A shared g is capped at the width of the 3x3 where that is narrower (DDS appendix D).
    """
    groups = bodies.group_widths
    capped = groups == bodies.inner_widths
    return np.asarray(((groups == groups.max(axis=1)[:, None]) | capped).all(axis=1))


def _shared_or_by_stage(
    letter: str, values: FloatArray, missing: NDArray[np.bool_]
) -> dict[str, FloatArray]:
    if (values == values[:, :1]).all():
        return {letter: values[:, 0].astype(np.float64)}
    return _by_stage(letter, values, missing)


def _by_stage(
    letter: str, values: IntArray | FloatArray, missing: NDArray[np.bool_]
) -> dict[str, FloatArray]:
    present = np.where(missing, np.nan, values)
    return {f"{letter}{i + 1}": present[:, i] for i in range(values.shape[1])}
