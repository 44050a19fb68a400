"""Move a scaled model's cost to its target by small changes of its parameters.

Scaling rounds w_0 to multiples of 8 and g to an integer, so its cost moves in coarse steps. Here
d, w_0, w_a, w_m and g (of a free body: depths, widths and group widths) are varied together around
the scaled values. Of the models within 1 % of the target, the one that departs least from the
scaled values is taken; if there is none, the one nearest to the target.
"""

from dataclasses import replace

import numpy as np

from designspace.arch import BodyBatch, Model, RegNetParams, RegNetParamsBatch, countable
from designspace.arch.body import FloatArray
from designspace.derivation.cost_target import Target
from designspace.derivation.scaled_models import (
    MAX_DEPTH,
    MAX_WIDTH,
    cost_with_stem,
    groups_divide,
    of_the_block_of,
    scale_bodies,
    with_stem,
)

_CLOSE = 0.01
_ROUNDS = 8


def tune(model: Model, target: Target, group_unit: int, fixed_group: int | None) -> Model:
    """Return a model near a scaled one, with a cost nearest to the target.

    Args:
        model: The scaled model.
        target: The target cost.
        group_unit: Group widths become multiples of this.
        fixed_group: Group width of all models, or None where it varies: `fixed_group_width` of the
            parent, as rounding may make a narrow model depthwise that is to have groups.
    """
    best = model
    for _ in range(_ROUNDS):
        bodies, regnets, departure = _candidates(model, best, group_unit, fixed_group)
        if not len(bodies):
            return best
        reached = getattr(cost_with_stem(bodies, model.skeleton, model), target.measure)
        distance = np.abs(reached / target.value - 1)
        close = distance <= _CLOSE
        row = int(np.argmin(np.where(close, departure, np.inf) if close.any() else distance))
        regnet = None if regnets is None else regnets.regnet(row)
        body = bodies.body(row)
        skeleton = with_stem(body, model.skeleton, model)
        nearest = replace(model, body=body, skeleton=skeleton, regnet=regnet)
        if close.any() or nearest.body == best.body:
            return nearest
        best = nearest
    return best


def _candidates(
    model: Model, center: Model, group_unit: int, fixed_group: int | None
) -> tuple[BodyBatch, RegNetParamsBatch | None, FloatArray]:
    """Return bodies around a center, their parameters, and their departure from the model, (n,)."""
    regnets = None
    if model.regnet is None or center.regnet is None:
        depth, width = np.meshgrid(np.linspace(0.8, 1.25, 10), np.linspace(0.8, 1.25, 91))
        bodies = scale_bodies(center, depth.ravel(), width.ravel(), fixed_group, group_unit)
        ratios = [bodies.depths / model.body.depths, bodies.widths / model.body.widths]
        departure = np.asarray(sum((np.log(ratio) ** 2).mean(axis=1) for ratio in ratios))
    else:
        regnets = _regnets_near(center.regnet, group_unit, fixed_group)
        se_ratios = np.full(len(regnets), model.body.se_ratio)
        bodies, fits = regnets.bodies(model.skeleton.num_stages, se_ratios)
        bodies = of_the_block_of(model.body, bodies)
        regnets = regnets.take(fits)
        departure = np.zeros(len(regnets))
        for name in ("d", "w_0", "w_a", "w_m", "g"):
            # w_a may be 0; 1 channel per block is a small slope.
            scaled = getattr(model.regnet, name) + (name == "w_a")
            departure += np.log((getattr(regnets, name) + (name == "w_a")) / scaled) ** 2
    rows = countable(bodies, model.skeleton) & (bodies.widths.max(axis=1) <= MAX_WIDTH)
    rows &= groups_divide(bodies)
    return bodies.take(rows), None if regnets is None else regnets.take(rows), departure[rows]


def _regnets_near(
    center: RegNetParams, group_unit: int, fixed_group: int | None
) -> RegNetParamsBatch:
    group = max(1, round(center.g / group_unit))
    values = np.meshgrid(
        np.arange(max(1, center.d - 2), min(center.d + 2, MAX_DEPTH) + 1),
        np.unique(np.maximum(8, center.w_0 + 8 * np.arange(-2, 3))),
        np.unique(np.round(center.w_a * np.linspace(0.85, 1.15, 31), 2)),
        np.unique(np.maximum(1.01, np.round(center.w_m * np.linspace(0.94, 1.06, 5), 2))),
        fixed_group or np.unique(np.maximum(1, group + np.arange(-1, 2))) * group_unit,
    )
    d, w_0, w_a, w_m, g = (array.ravel() for array in values)
    return RegNetParamsBatch(d, w_0, w_a, w_m, np.full(len(d), center.b), g)
