"""The hypervolume of a Pareto front: of a sample, and as expected of k random models.

Hypervolume (Zitzler and Thiele 1998) is the area between a front and a reference point. The axis of
cost is logarithmic, as doubling a cost is the same step everywhere, and the area is divided by the
width of the range of cost. So it is in points of error: how far below the reference error the best
error within a cost lies, on average over the range.

A larger sample has a larger hypervolume. The expected hypervolume of k models, drawn from the n
without replacement, is a U-statistic: unbiased for the space, and comparable between samples of any
size. Its variance is the jackknife's, which errs toward too large (Efron and Stein 1981).
"""

import math
from dataclasses import dataclass

import numpy as np

from designspace.stats.arrays import FloatArray, check_probability
from designspace.stats.best_of_k import weights_without_replacement
from designspace.stats.intervals import Estimate


@dataclass(frozen=True)
class Box:
    """The range of cost and the reference error of a hypervolume.

    Attributes:
        low: Lowest cost; cheaper models count from here on.
        high: Highest cost, that of the reference point; models beyond do not count.
        error: Reference error, percent; models above do not count.
    """

    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Hypervolume:
    """Expected hypervolume of k random models, in points of error.

    Attributes:
        value: The estimate: mean distance of the best error within a cost below the reference.
        error: Its standard error.
        df: Degrees of freedom of t.
        k: Number of models of a search.
    """

    value: float
    error: float
    df: float
    k: int

    def estimate(self, level: float = 0.95) -> Estimate:
        """Return it with its t interval, which ends at 0."""
        low, high = _t_interval(self.value, self.error, self.df, level)
        return Estimate(self.value, max(0.0, low), high)


def hypervolume(costs: FloatArray, errors: FloatArray, box: Box) -> float:
    """Return the hypervolume of the front of a sample, in points of error."""
    order = np.argsort(costs, kind="stable")
    gains = np.maximum(box.error - np.minimum.accumulate(errors[order]), 0.0)
    return float(gains @ _lengths(costs[order], box))


def expected_hypervolume(costs: FloatArray, errors: FloatArray, k: int, box: Box) -> Hypervolume:
    """Return the expected hypervolume of the front of k random models.

    Within a cost, the best of k of n models has rank i by error with the weights of `best_of_k`;
    with weight left over, none of the k lies within. The jackknife leaves out each model in turn.

    Args:
        costs: Cost of each model, above 0, (n,).
        errors: Error of each, (n,), more than k of them.
        k: Number of models.
        box: Range of cost and reference error.
    """
    n = len(costs)
    order = np.argsort(errors, kind="stable")
    gains = np.maximum(box.error - errors[order], 0.0)
    by_error = costs[order]
    limits = np.sort(costs)
    weights, fewer = weights_without_replacement(n, k), weights_without_replacement(n - 1, k)
    total, left_out = 0.0, np.zeros(n)
    for limit, length in zip(limits.tolist(), _lengths(limits, box).tolist(), strict=True):
        if length == 0:
            continue
        within = np.flatnonzero(by_error <= limit)
        gain, m = gains[within], len(within)
        total += length * float(weights[:m] @ gain)
        # Without the model of rank t, those behind it move up by one.
        before = np.append(0.0, np.cumsum(fewer[: m - 1] * gain[:-1]))
        moved = np.append(np.cumsum((fewer[: m - 1] * gain[1:])[::-1])[::-1], 0.0)
        last = float(fewer[m - 1] * gain[-1]) if m < n else 0.0
        left_out += length * (before[-1] + last)
        left_out[within] += length * (before + moved - before[-1] - last)
    variance = (n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum())
    return Hypervolume(total, math.sqrt(variance), float(n - 1), k)


def hypervolume_difference(
    first: Hypervolume, second: Hypervolume, level: float = 0.95
) -> tuple[Estimate, float]:
    """Return the difference, second minus first, with its interval, and the two-sided p-value.

    Welch's t of the two jackknife variances. Above 0 the second is better.
    """
    from scipy.stats import t

    value = second.value - first.value
    parts = first.error**2, second.error**2
    error = math.sqrt(sum(parts))
    if error == 0:
        return Estimate(value, value, value), 1.0 if value == 0 else 0.0
    df = sum(parts) ** 2 / (parts[0] ** 2 / first.df + parts[1] ** 2 / second.df)
    p = 2 * float(t.sf(abs(value) / error, df))
    return Estimate(value, *_t_interval(value, error, df, level)), p


def _t_interval(value: float, error: float, df: float, level: float) -> tuple[float, float]:
    from scipy.stats import t

    half = error * float(t.ppf((1 + check_probability(level)) / 2, df))
    return value - half, value + half


def _lengths(costs: FloatArray, box: Box) -> FloatArray:
    """Return the share of the range of log cost from each of ascending costs to the next, (n,)."""
    ends = np.log(np.clip(np.append(costs, box.high), box.low, box.high))
    return np.asarray(np.diff(ends) / math.log(box.high / box.low))
