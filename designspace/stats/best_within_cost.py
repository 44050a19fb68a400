"""The best error within a cost: what a random search over k models reaches, with its interval.

The lowest error of n models within a cost says more about n than about their space, and the
bootstrap does not cover it. What k random models of the space reach, k well below n, is a property
of the space: with H(c, e) the fraction of its models with cost c or less and error e or less, half
of the searches over k models find an error of e or less within c where H(c, e) = 1 - 2^(-1/k).
H is an attainment function (Grunert da Fonseca, Fonseca and Hall 2001), and its level a quantile
of the error, a model beyond c counting as infinitely bad. So its interval is one of order
statistics, whatever the distribution.
"""

import math
from dataclasses import dataclass

import numpy as np

from designspace.stats.arrays import FloatArray, IntArray, check_probability
from designspace.stats.edf_bands import DominanceRegion, dominance_regions

_REPEATS = 1000


@dataclass(frozen=True, eq=False)
class BestWithinCost:
    """The lowest error that half of the searches over k random models reach within each cost.

    Attributes:
        costs: Ascending costs, (m,).
        errors: The error, (m,); inf where too few models lie within the cost.
        low: Lower edge of a band that holds the whole curve, (m,); -inf where it is open.
        high: Upper edge, (m,); inf where it is open.
        k: Number of models of a search.
        n: Number of models of the sample.
        level: Probability that the band holds the curve at all `costs`.
    """

    costs: FloatArray
    errors: FloatArray
    low: FloatArray
    high: FloatArray
    k: int
    n: int
    level: float


@dataclass(frozen=True, eq=False)
class BestDifference:
    """The difference of two curves of best errors, second minus first, with a simultaneous band.

    Attributes:
        costs: Ascending costs, (m,).
        value: The difference, (m,); NaN where one of them is unknown. Below 0 the second is better.
        low: Lower edge of the band, (m,); -inf where it is open.
        high: Upper edge, (m,); inf where it is open.
    """

    costs: FloatArray
    value: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def regions(self) -> tuple[DominanceRegion, ...]:
        """Ranges of cost in which the band excludes zero; statements hold simultaneously."""
        return dominance_regions(self.costs, self.costs, -self.high, -self.low)


def search_size(n: int) -> int:
    """Return the largest k of which n models tell what a search over k models reaches: n / 12."""
    return max(1, n // 12)


def best_within_cost(
    costs: FloatArray,
    errors: FloatArray,
    limits: FloatArray,
    k: int,
    level: float = 0.95,
    *,
    rng: np.random.Generator,
) -> BestWithinCost:
    """Return the error that half of the searches over k models reach within each limit of cost.

    The band's edges are order statistics of the errors within the limit, of the same two ranks at
    every limit. The ranks are those that hold the whole curve in bootstrap samples: what is redrawn
    is the number of models below the curve, a sum, not a minimum.

    Args:
        costs: Cost of each model, (n,).
        errors: Error of each, (n,).
        limits: Ascending limits of the cost, (m,).
        k: Number of models of a search, at most `search_size(n)` for a band that is not open.
        level: Probability that the band holds the whole curve.
        rng: Generator of the bootstrap samples.
    """
    n, tail = len(costs), (1 - check_probability(level)) / 2
    expected = n * (1 - 0.5 ** (1 / k))
    order = np.argsort(errors, kind="stable")
    within = costs[order][None, :] <= limits[:, None]  # (m, n), by ascending error
    count = np.cumsum(within, axis=1, dtype=np.int64)
    # The curve passes between two ranks: each stands for its share of the samples.
    redraws = rng.multinomial(n, np.full(n, 1 / n), size=_REPEATS).astype(np.float32)
    upper = round(_REPEATS * (expected % 1))
    reached = count[:, -1] >= expected
    reached[-1] = True
    below = [
        rows @ (within & (count <= rank))[reached].T.astype(np.float32)
        for rows, rank in (
            (redraws[:upper], math.ceil(expected)),
            (redraws[upper:], math.floor(expected)),
        )
    ]
    counts = np.concatenate(below)
    low_rank = int(np.quantile(counts.min(axis=1), tail, method="lower"))
    high_rank = int(np.quantile(counts.max(axis=1), 1 - tail, method="higher")) + 1
    padded = np.concatenate([errors[order], [np.inf]])
    return BestWithinCost(
        costs=limits,
        errors=_order_statistic(padded, count, math.ceil(expected)),
        low=_order_statistic(padded, count, low_rank),
        high=_order_statistic(padded, count, high_rank),
        k=k,
        n=n,
        level=level,
    )


def _order_statistic(padded: FloatArray, count: IntArray, rank: int) -> FloatArray:
    """Return the error of a rank among the models within each limit, inf beyond, -inf at 0."""
    if rank < 1:
        return np.full(len(count), -np.inf)
    place = (count < rank).sum(axis=1)
    return np.asarray(padded[np.minimum(place, len(padded) - 1)])


def best_difference(first: BestWithinCost, second: BestWithinCost) -> BestDifference:
    """Return the difference of two curves over the same costs and the same k.

    The bands, both of the level that the difference is to have, are combined by the method of
    variance estimates recovery (Zou and Donner 2008). In simulations at 95 %, the difference lay
    outside of its band somewhere in 0 to 3 % of pairs.
    """
    finite = np.isfinite(first.errors) & np.isfinite(second.errors)
    with np.errstate(invalid="ignore"):
        value = np.where(finite, second.errors - first.errors, np.nan)
        below = np.hypot(second.errors - second.low, first.high - first.errors)
        above = np.hypot(second.high - second.errors, first.errors - first.low)
        low, high = value - below, value + above
    return BestDifference(
        first.costs, value, np.where(finite, low, -np.inf), np.where(finite, high, np.inf)
    )
