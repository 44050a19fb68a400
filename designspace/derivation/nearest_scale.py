"""Find the factor of flops whose scaled model comes nearest to a target cost."""

import math

import numpy as np

from designspace.arch import BOTTLENECK, Model, find_block, format_quantity
from designspace.arch.unit_suffix import missing_unit
from designspace.derivation.cost_target import Target
from designspace.derivation.scaled_models import ScaledModels, scale
from designspace.derivation.scaling_rules import RULES, ScalingRule
from designspace.errors import InputError

# A rule that misses the target by more than this factor is refused.
REACH = 2.0
# Another rule is recommended if it comes nearer than this share of the target.
NEAR = 0.1
# A number without its unit is one that would lie within this factor of the parent's cost.
_USUAL = 1000.0
_GRID = 2049
_OCTAVES = 40.0


def nearest_scaled(parent: Model, rule: ScalingRule, target: Target) -> tuple[ScaledModels, int]:
    """Scale a model to the factor whose cost is nearest to the target.

    Cost is a step function of the factor, so a grid from 2^-40 to 2^40 is searched, then twice a
    finer grid around its best point. Of a block without closed-form cost, whose networks are built
    to be counted, the grid ends near the factors that the target asks for.

    Returns:
        The models of the finest grid, and the index of the nearest.

    Raises:
        InputError: No factor gives a valid model.
    """
    low, high = -_OCTAVES, _OCTAVES
    if parent.body.block != BOTTLENECK and find_block(parent.body.block).cost is None:
        # Of activations or depth the factor of flops is at most the square.
        octaves = 2 * math.log2(target.value / target.of(parent))
        low, high = max(low, min(0, octaves) - 2), min(high, max(0, octaves) + 2)
    for _ in range(3):
        grid = scale(parent, rule, 2.0 ** np.linspace(low, high, _GRID))
        if not len(grid):
            raise InputError(f"{parent.name} can't be scaled by rule {rule.name!r}; try another")
        distance = np.abs(getattr(grid.cost, target.measure) - target.value)
        ties = np.flatnonzero(distance == distance.min())
        best = int(ties[len(ties) // 2])
        step, middle = (high - low) / (_GRID - 1), float(np.log2(grid.factors[best]))
        low, high = middle - 2 * step, middle + 2 * step
    return grid, best


def check_reach(parent: Model, rule: ScalingRule, target: Target, model: Model) -> None:
    """Raise if a model misses the target by more than a factor of 2.

    Raises:
        InputError: It does; the message recommends another rule.
    """
    reached, usual = target.of(model), target.of(parent)
    if not 1 / REACH <= reached / target.value <= REACH:
        unit = missing_unit(target.value, usual / _USUAL, usual * _USUAL)
        if unit is not None and unit > 1:
            remedy = f"did you mean {target.measure}={format_quantity(unit * target.value)!r}?"
        else:
            remedy = better_rule(parent, rule, target) or "start from another model"
        raise InputError(
            f"{target} is out of reach of {parent.name} by rule {rule.name!r}: the nearest model "
            f"has {format_quantity(reached)}, {ratio_text(reached, target.value)}; {remedy}"
        )


def better_rule(parent: Model, rule: ScalingRule, target: Target) -> str | None:
    """Recommend the rule that comes nearest to the target, if another comes within 10 %."""
    misses = {}
    for other in RULES.values():
        if other != rule:
            try:
                grid, best = nearest_scaled(parent, other, target)
            except InputError:
                continue
            reached = int(getattr(grid.cost, target.measure)[best])
            misses[other.name] = abs(reached / target.value - 1)
    name = min(misses, key=misses.__getitem__, default="")
    if not name or misses[name] > NEAR:
        return None
    return f"rule={name!r} comes within {max(misses[name], 1e-4):.1%}"


def ratio_text(reached: float, target: float) -> str:
    """Describe a cost relative to the target."""
    if reached > target:
        ratio = reached / target
        return f"{ratio:,.0f} times the target" if ratio >= 100 else f"{ratio:.3g} times the target"
    return f"{reached / target:.3g} of the target"
