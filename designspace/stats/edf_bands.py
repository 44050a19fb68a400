"""Simultaneous bands with equal local levels: around an EDF, and around the difference of two.

A band of constant width (DKW) is far too wide near 0 and 1, where the best models are.
Here every order statistic has the same probability of leaving the band. With F continuous, F of the
i-th lowest of n errors is beta(i, n + 1 - i), so the edges are beta quantiles at one local level,
chosen so that all order statistics stay inside with probability `level` (Aldor-Noiman et al. 2013,
"The power to see"; Weine, McPeek and Abney 2023). At n = 500 and height 0.02 the band reaches from
0.006 to 0.049, that of Dvoretzky, Kiefer and Wolfowitz from 0 to 0.081.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.special import betaincinv, gammaln

from designspace.stats.arrays import FloatArray, IntArray, check_probability
from designspace.stats.edf import Band, Edf

# Up to this n the local level is computed exactly; it changes slowly, so beyond it is extrapolated.
_MAX_EXACT = 1024


def equal_levels_band(function: Edf, level: float = 0.95) -> Band:
    """Return the band with equal local levels around an unweighted EDF.

    Just above an error, c of n models lie at or below it, and F lies between F at the c-th and at
    the next order statistic. With ties it is valid too (and conservative).
    """
    lower, upper = _edges(function.n, level)
    count = _counts(function)
    low, high = lower[count], upper[count]
    return Band(
        errors=function.errors,
        low=low,
        high=high,
        half_width=float((high - low).max()) / 2,
        level=level,
        method="equal local levels",
        start=float(upper[0]),
    )


@dataclass(frozen=True)
class DominanceRegion:
    """A range in which one population is shown to be better than the other.

    Attributes:
        low: Lowest error of the range, percent; or its lowest cost.
        high: Its highest.
        better: Whose EDF is higher there: more of its models have a lower error. Or which reaches
            lower errors within that cost.
    """

    low: float
    high: float
    better: Literal["first", "second"]


@dataclass(frozen=True, eq=False)
class EdfDifference:
    """The difference of two EDFs, second minus first, with a simultaneous band.

    Attributes:
        errors: The distinct errors of both, ascending, (k,).
        value: Difference of the step above each error, in -1 to 1, (k,): above 0 the second
            population has more models below the error.
        low: Lower edge of the band, (k,).
        high: Upper edge, (k,).
        level: Probability that the band contains the whole true difference.
    """

    errors: FloatArray
    value: FloatArray
    low: FloatArray
    high: FloatArray
    level: float

    @property
    def regions(self) -> tuple[DominanceRegion, ...]:
        """Where the band excludes zero, in ascending order; statements hold simultaneously."""
        ends = np.append(self.errors, self.errors[-1])[1:]
        return dominance_regions(self.errors, ends, self.low, self.high)


def dominance_regions(
    starts: FloatArray, ends: FloatArray, low: FloatArray, high: FloatArray
) -> tuple[DominanceRegion, ...]:
    """Return the ranges over which a band excludes zero: above it the second is better.

    Args:
        starts: Where each value of the band holds from, (k,).
        ends: Where it holds to, (k,).
        low: Lower edge of the band, (k,).
        high: Upper edge, (k,).
    """
    sign = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    firsts = np.flatnonzero(np.diff(sign, prepend=0))
    lasts = np.append(firsts, len(sign))[1:] - 1
    return tuple(
        DominanceRegion(
            float(starts[first]), float(ends[last]), "second" if sign[first] > 0 else "first"
        )
        for first, last in zip(firsts, lasts, strict=True)
        if sign[first]
    )


def edf_difference(first: Edf, second: Edf, level: float = 0.95) -> EdfDifference:
    """Return the difference of two unweighted EDFs with a simultaneous band.

    Each EDF has its band with equal local levels at sqrt(level); at each error the two intervals
    are combined by the method of variance estimates recovery (Zou and Donner 2008), with a
    correction for the steps. The band covers with probability `level` where the populations do not
    overlap, and more where they do.
    """
    errors = np.union1d(first.errors, second.errors)
    a, b = _heights(first, errors, level), _heights(second, errors, level)
    value = b[0] - a[0]
    return EdfDifference(
        errors=errors,
        value=value,
        low=np.maximum(-1.0, value - _combined(b[0] - b[1], second.n, a[2] - a[0], first.n)),
        high=np.minimum(1.0, value + _combined(b[2] - b[0], second.n, a[0] - a[1], first.n)),
        level=level,
    )


def _combined(first: FloatArray, n: int, second: FloatArray, m: int) -> FloatArray:
    """Root of the sum of squared distances, (k,), but for the height of one step, which adds up."""
    steps = np.minimum(first, 1 / n), np.minimum(second, 1 / m)
    return np.asarray(np.hypot(first - steps[0], second - steps[1]) + steps[0] + steps[1])


def _heights(
    function: Edf, errors: FloatArray, level: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Height, lower and upper edge of the step above each error, (k,)."""
    lower, upper = _edges(function.n, math.sqrt(check_probability(level)))
    place = np.searchsorted(function.errors, errors, side="right")
    count = np.concatenate([[0], _counts(function)])[place]
    return count / function.n, lower[count], upper[count]


def _counts(function: Edf) -> IntArray:
    """Number of models at or below each error, (k,)."""
    return np.rint(function.cumulative * function.n).astype(np.int64)


def _edges(n: int, level: float) -> tuple[FloatArray, FloatArray]:
    """Edges of the step above 0 to n models, (n + 1,)."""
    low, high = _quantiles(n, local_level(n, check_probability(level)))
    return np.concatenate([[0.0], low]), np.concatenate([high, [1.0]])


def _quantiles(n: int, tail: float) -> tuple[FloatArray, FloatArray]:
    """The `tail` and 1 - `tail` quantiles of the order statistics of n uniform numbers, (n,)."""
    rank = np.arange(1, n + 1)
    low = np.asarray(betaincinv(rank, n + 1 - rank, tail), dtype=np.float64)
    return low, 1 - low[::-1]


@lru_cache(maxsize=256)
def local_level(n: int, level: float) -> float:
    """Return the probability with which each order statistic may leave the band on either side."""
    from scipy.optimize import brentq

    if n > _MAX_EXACT:
        sizes = np.array([_MAX_EXACT // 4, _MAX_EXACT, n])
        slow = np.log(np.log(sizes) * np.log(np.log(sizes)))
        start, end = (math.log(local_level(int(size), level)) for size in sizes[:2])
        slope = (end - start) / (slow[1] - slow[0])
        return math.exp(round(end + slope * float(slow[2] - slow[1]), 4))
    # Bonferroni below, a single order statistic above.
    low, high = math.log((1 - level) / (2 * n)), math.log((1 - level) / 2)
    if n == 1:
        return math.exp(high)

    def excess(log_tail: float) -> float:
        return coverage(*_quantiles(n, math.exp(log_tail))) - level

    # Rounded, so that the last digits of a CPU's exponentials do not show in published numbers.
    return math.exp(round(float(brentq(excess, low, high, xtol=1e-5)), 4))


def coverage(low: FloatArray, high: FloatArray) -> float:
    """Return the probability that the order statistics of n uniform numbers all lie in [low, high].

    The number of points up to t is followed from edge to edge as a Poisson process of rate n, given
    that it ends at n (Moscovich and Nadler 2017, "Fast calculation of boundary crossing
    probabilities for Poisson processes").
    """
    n = len(low)
    times = np.sort(np.concatenate([low, high, [1.0]]))
    least = np.searchsorted(high, times, side="right")
    most = np.searchsorted(low, times, side="left")
    least[-1] = most[-1] = n
    steps = n * np.diff(times, prepend=0.0)
    log_factorial = gammaln(np.arange(n + 1) + 1.0)
    state, first = np.ones(1), 0
    for step, lower, upper in zip(steps.tolist(), least.tolist(), most.tolist(), strict=True):
        if step > 0:
            jumps = np.arange(upper - first + 1)
            chance = np.exp(jumps * math.log(step) - step - log_factorial[: len(jumps)])
            state = np.convolve(state, chance)
        state = state[lower - first : upper - first + 1]
        first = lower
    log_given = n * math.log(n) - n - float(log_factorial[n])
    return float(state[0]) / math.exp(log_given)
