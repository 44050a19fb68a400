"""An axis: the values of one parameter, with their probabilities.

Every distribution is a table, so that drawing is one look-up of a uniform number, sizes are exact
counts, and a monotone constraint can be sampled exactly instead of by rejection.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cached_property, lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from designspace.arch.body import FloatArray, IntArray

# Most values of a list, and the weight of one.
MAX_CHOICES = 1000
Weight = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
# Entries of the guide table, a power of 2 so that products are exact; with more steps than this,
# bisection is faster.
_GUIDE_SIZE, _MAX_STEPS = 4096, 3
# Digits that decide how a logarithm is rounded, and some more.
_DIGITS = Context(prec=28)
# Decimals beyond which a float of an axis is rounding noise.
_MAX_DECIMALS = 15
# The one exception to correct rounding: its logarithm lies within 0.0002 units in the last place of
# the middle between two doubles, and the kept populations were drawn where NumPy rounds it down.
_ROUNDED_DOWN = (40.4,)


@dataclass(frozen=True, eq=False)
class Axis:
    """A discrete distribution, or the fixed values of the stages.

    Attributes:
        values: Ascending values, (k,); of a fixed axis those of the stages, in their order.
        probabilities: Their probabilities, (k,), summing to 1; of a fixed axis (0,).
        counted_as: How many values the paper counts, where that differs from k.
    """

    values: FloatArray
    probabilities: FloatArray
    counted_as: int | None = None

    def __len__(self) -> int:
        """Return the number of alternatives: 1 for a fixed axis."""
        return 1 if self.fixed else len(self.values)

    def __str__(self) -> str:
        """Return the range, or the values of a fixed axis."""
        if self.fixed:
            return f"[{', '.join(f'{value:g}' for value in self.values)}]"
        return f"{self.values[0]:g} to {self.values[-1]:g}"

    @property
    def fixed(self) -> bool:
        """Whether each stage has a value of its own that nothing is drawn for."""
        return not len(self.probabilities)

    def draw(self, uniforms: FloatArray) -> FloatArray:
        """Map uniform numbers in [0, 1), any shape, to values by the inverse distribution."""
        cumulated, starts, steps = self._guide
        if steps > _MAX_STEPS:
            return self.values[_invert(cumulated[:-1], uniforms)]
        index = starts[(uniforms * _GUIDE_SIZE).astype(np.int32)]
        for _ in range(steps):
            index += cumulated[index] <= uniforms
        return self.values[np.minimum(index, len(self) - 1)]

    @cached_property
    def _guide(self) -> tuple[FloatArray, NDArray[np.int32], int]:
        """Cumulative probabilities, the first index to try for each of equal parts of [0, 1), and
        the largest number of steps from there: bisection's result in half the time (Chen and Asau
        1974).
        """
        cumulated = np.cumsum(self.probabilities)
        edges = np.arange(_GUIDE_SIZE + 1) / _GUIDE_SIZE
        starts = np.searchsorted(cumulated, edges, side="right").astype(np.int32)
        return np.append(cumulated, np.inf), starts[:-1], int(np.diff(starts).max())

    def draw_monotone(
        self, uniforms: FloatArray, decreasing: bool = False, strict: bool = False
    ) -> FloatArray:
        """Map uniforms (n, s) to sequences of s independent draws, given that they are monotone.

        This is exactly the parent distribution conditioned on v_1 <= ... <= v_s (or <, if strict),
        one uniform a stage: the weight of the sequences that can follow value k is found backwards,
        S_1(k) = 1, S_m(k) = sum over k' >= k (or >) of p(k') S_{m-1}(k').
        """
        n, stages = uniforms.shape
        p = self.probabilities
        tails = [np.ones(len(p))]
        for _ in range(stages - 1):
            tail = np.cumsum((p * tails[-1])[::-1])[::-1]
            tails.append(np.append(tail[1:], 0.0) if strict else tail)
        indices = np.zeros((n, stages), dtype=np.int64)
        least = np.zeros(n, dtype=np.int64)
        for i in range(stages):
            # Weight of choosing k now; cumulated, and restricted to k >= the value before.
            mass = np.concatenate([[0.0], np.cumsum(p * tails[stages - 1 - i])])
            target = mass[least] + uniforms[:, i] * (mass[-1] - mass[least])
            least = np.maximum(least, _invert(mass[1:], target))
            indices[:, i] = least
            least = np.minimum(least + strict, len(p) - 1)
        return self.values[indices[:, ::-1] if decreasing else indices]


def fixed(values: Sequence[float]) -> Axis:
    """One value for each stage."""
    return Axis(np.array(values, dtype=np.float64), np.empty(0))


@lru_cache(maxsize=64)
def log_uniform(low: float, high: float, step: float) -> Axis:
    """Log-uniform over low, low + step, …, high, as pycls draws it.

    A value v stands for the interval (v - step, v] of a continuous log-uniform variable; the lowest
    for (low - min(step, low / 2), low] (pycls `sweep/random.py`), so that the distribution function
    is log-linear.
    """
    values = _grid(low, high, step)
    edges = np.array([_log(edge) for edge in (low - min(step, low / 2), *values.tolist())])
    return Axis(values, np.diff(edges) / (edges[-1] - edges[0]))


def uniform(low: float, high: float, step: float) -> Axis:
    """Uniform over low, low + step, …, high."""
    return choice(_grid(low, high, step).tolist())


def choice(values: list[float], weights: list[float] | None = None) -> Axis:
    """Some values, equally likely or in proportion to their weights.

    Raises:
        ValueError: There are more or fewer weights than values.
    """
    if weights is None:
        ordered = np.array(sorted(set(values)), dtype=np.float64)
        return Axis(ordered, np.full(len(ordered), 1 / len(ordered)))
    check_weights(values, weights)
    order = np.argsort(values)
    share = np.array(weights, dtype=np.float64)[order]
    return Axis(np.array(values, dtype=np.float64)[order], share / share.sum())


def check_weights(values: Sequence[float], weights: Sequence[float] | None) -> None:
    """Raise ValueError unless each value has a weight, or none has."""
    if weights is not None and len(weights) != len(values):
        raise ValueError(f"{len(weights)} weights for {len(values)} values; give each value one")


def monotone_count(values: int, stages: int, strict: bool = False) -> int:
    """Number of monotone sequences: combinations, with repetition unless strict."""
    return math.comb(values if strict else values + stages - 1, stages)


def _log(value: float) -> float:
    """Return the correctly rounded logarithm.

    A space's hash, and with it the population, rests on its last digit. That of `np.log` differs
    between processors with and without AVX-512.
    """
    logarithm = float(Decimal(value).ln(_DIGITS))
    return math.nextafter(logarithm, 0) if value in _ROUNDED_DOWN else logarithm


def _grid(low: float, high: float, step: float) -> FloatArray:
    count = math.floor((high - low) / step + 1e-9) + 1
    # Rounded to the decimals of step and low, so that 1.5 + 740 * 0.001 is 2.24 in files. Spaces
    # that were sampled before have two more than the step has zeros.
    written = max(-int(Decimal(repr(float(x))).as_tuple().exponent) for x in (low, step))
    decimals = max(0, -math.floor(math.log10(step)) + 2, min(written, _MAX_DECIMALS))
    return np.round(low + step * np.arange(count, dtype=np.float64), decimals)


def _invert(cumulated: FloatArray, targets: NDArray[np.float64]) -> IntArray:
    index = np.searchsorted(cumulated, targets, side="right")
    return np.minimum(index, len(cumulated) - 1).astype(np.int64)
