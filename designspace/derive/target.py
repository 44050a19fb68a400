"""What a derived network should cost, and the factor of flops that comes nearest to it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from designspace.arch import Model, format_quantity
from designspace.derive.scaling import Scaled, scale
from designspace.derive.scaling_rules import RULES, Rule
from designspace.errors import InputError

Measure = Literal["flops", "params", "acts"]
NOUNS = {"flops": "multiply-adds", "params": "parameters", "acts": "activations"}

# A target that the nearest network misses by a larger factor is out of the rule's reach; a smaller
# miss is said. Narrow networks move in coarse steps, since widths are multiples of 8.
REACH = 2.0
NEAR = 0.1
_GRID = 2049
_OCTAVES = 40.0


@dataclass(frozen=True)
class Target:
    """A wished cost: multiply-adds, parameters or activations."""

    measure: Measure
    value: float

    def of(self, model: Model) -> int:
        """Return what a network costs in this measure."""
        return int(getattr(model, self.measure))

    def __str__(self) -> str:
        return f"{format_quantity(self.value)} {NOUNS[self.measure]}"


def solve(parent: Model, rule: Rule, target: Target) -> tuple[Scaled, int]:
    """Find the factor of flops whose network costs as near as possible to the target.

    Cost is a staircase of the factor (widths are multiples of 8), so a grid of factors is tried,
    from 2^-40 to 2^40, then a finer one about the nearest.

    Returns:
        The networks of the finer grid, and the number of the nearest.

    Raises:
        InputError: The nearest network misses the target by more than a factor of 2.
    """
    grid, best = _nearest(parent, rule, target)
    found = int(getattr(grid.cost, target.measure)[best])
    if not 1 / REACH <= found / target.value <= REACH:
        raise InputError(
            f"{target} is out of reach of {parent.name} by rule {rule.name!r}: the nearest network "
            f"has {format_quantity(found)}, {distance(found, target.value)}; "
            f"{better_rule(parent, rule, target) or 'start from another model'}"
        )
    return grid, best


def better_rule(parent: Model, rule: Rule, target: Target) -> str | None:
    """Name the rule whose nearest network comes within 10 % of the target, if another does."""
    misses = {}
    for other in RULES.values():
        if other != rule:
            grid, best = _nearest(parent, other, target)
            found = int(getattr(grid.cost, target.measure)[best])
            misses[other.name] = abs(found / target.value - 1)
    name = min(misses, key=misses.__getitem__)
    if misses[name] > NEAR:
        return None
    return f"--rule {name} comes within {max(misses[name], 1e-4):.1%}"


def distance(found: float, wished: float) -> str:
    """Say how far a cost is from the wished one, by ratio."""
    if found > wished:
        return f"{found / wished:.3g} times the target"
    return f"{found / wished:.3g} of the target"


def _nearest(parent: Model, rule: Rule, target: Target) -> tuple[Scaled, int]:
    low, high = -_OCTAVES, _OCTAVES
    for _ in range(3):
        grid = scale(parent, rule, 2.0 ** np.linspace(low, high, _GRID))
        if not len(grid):
            raise InputError(f"{parent.name} can't be scaled by rule {rule.name!r} at all")
        away = np.abs(getattr(grid.cost, target.measure) - target.value)
        ties = np.flatnonzero(away == away.min())
        best = int(ties[len(ties) // 2])
        step, middle = (high - low) / (_GRID - 1), float(np.log2(grid.factors[best]))
        low, high = middle - 2 * step, middle + 2 * step
    return grid, best
