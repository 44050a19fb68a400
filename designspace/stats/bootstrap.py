"""What a search of a given size finds: the empirical bootstrap of the best, expected best of k.

Both rest on one fact. Draw m of n models with replacement and keep the best: with errors sorted
ascending the model of rank i is it with probability ((n - i + 1) / n)^m - ((n - i) / n)^m. So the
resampling of DDS §3.1 and NDS has a closed form, without noise, in O(n log n).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from designspace.errors import InputError
from designspace.stats.arrays import (
    FloatArray,
    IntArray,
    Numbers,
    as_float_array,
    check_probability,
)

# Fewer models than this behind 95 % of the weight: the interval says little.
FEW_CARRIERS = 11


@dataclass(frozen=True)
class BootstrapInterval:
    """Where the best models have a parameter (DDS §3.1).

    Attributes:
        low: Lower end of the interval.
        median: Its median: the likely best value.
        high: Upper end.
        best: The value of the single best model.
        level: Level of the interval.
        n: Number of models.
        draws: Models a redraw: the share of n, rounded down.
        carriers: The fewest models that carry 95 % of the weight.
    """

    low: float
    median: float
    high: float
    best: float
    level: float
    n: int
    draws: int
    carriers: int

    @property
    def few(self) -> bool:
        """Whether too few models carry the weight for the interval to be trusted."""
        return self.carriers < FEW_CARRIERS


@dataclass(frozen=True, eq=False)
class BestOfK:
    """Expected least error of k random models, for several k.

    Attributes:
        k: Sizes of the search, (m,), none above n.
        expected: Mean best error, drawn with replacement (Dodge et al. 2019 §3.1, mirrored), (m,).
        unbiased: Mean best error, drawn without replacement: the unbiased form, (m,).
        low: 2.5 % quantile of the best error when drawn with replacement, (m,).
        high: 97.5 % quantile, (m,).
        n: Number of models.
    """

    k: IntArray
    expected: FloatArray
    unbiased: FloatArray
    low: FloatArray
    high: FloatArray
    n: int


def best_weights(errors: Numbers, draws: int) -> FloatArray:
    """Return the probability of each model, (n,), to be the best of `draws` with replacement.

    Models of equal error share their mass equally.
    """
    values = as_float_array(errors, "errors")
    if draws < 1:
        raise InputError(f"draws is {draws}; it must be at least 1")
    n = len(values)
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    behind = n - np.cumsum(counts)  # models strictly worse than each group
    mass = ((behind + counts) / n) ** draws - (behind / n) ** draws
    return np.asarray((mass / counts)[group], dtype=np.float64)


def bootstrap(
    values: Numbers, errors: Numbers, share: float = 0.25, level: float = 0.95
) -> BootstrapInterval:
    """Return the empirical bootstrap of one parameter in closed form.

    Args:
        values: The parameter of each model, (n,).
        errors: Their errors, (n,).
        share: Share of the models a redraw; the paper takes a quarter.
        level: Level of the interval.

    Raises:
        InputError: Lengths differ, a value is not finite, or share or level is not in 0 to 1.
    """
    return bootstrap_all({"values": values}, errors, share, level)["values"]


def bootstrap_all(
    parameters: Mapping[str, Numbers], errors: Numbers, share: float = 0.25, level: float = 0.95
) -> dict[str, BootstrapInterval]:
    """Return the empirical bootstrap of several parameters of the same models; see `bootstrap`."""
    checked = as_float_array(errors, "errors")
    n = len(checked)
    if share != 1:
        check_probability(share, "share")
    draws = max(1, int(n * share))  # rounded down, as pycls' get_filters does
    weights = best_weights(checked, draws)
    heavy = np.sort(weights)[::-1]
    carriers = int(np.searchsorted(np.cumsum(heavy), 0.95 - 1e-12)) + 1
    best = int(np.argmin(checked))
    tail = (1 - check_probability(level)) / 2
    found: dict[str, BootstrapInterval] = {}
    for name, raw in parameters.items():
        values = as_float_array(raw, name)
        if len(values) != n:
            raise InputError(f"{name}: {len(values)} values for {n} errors")
        low, median, high = weighted_quantiles(values, weights, (tail, 0.5, 1 - tail))
        found[name] = BootstrapInterval(
            low, median, high, float(values[best]), level, n, draws, carriers
        )
    return found


def weighted_quantiles(
    values: FloatArray, weights: FloatArray, probabilities: tuple[float, ...]
) -> tuple[float, ...]:
    """Return the least values with at least these shares of the weight at or below them."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    place = np.searchsorted(cumulative, np.asarray(probabilities) * cumulative[-1] - 1e-12)
    return tuple(float(v) for v in values[order][np.minimum(place, len(values) - 1)])


def best_of_k(errors: Numbers, k: Numbers | None = None) -> BestOfK:
    """Return the expected best of k random models by both estimators.

    With replacement (the default to read, Dodge et al. 2021, arXiv 2110.00613: fewest wrong
    conclusions): sum of e_(i) [((n-i+1)/n)^k - ((n-i)/n)^k]. Unbiased: weights
    C(n-i, k-1) / C(n, k). Neither goes past k = n.

    Args:
        errors: One error a model, (n,).
        k: Sizes of the search; None takes about thirty from 1 to n.

    Raises:
        InputError: A k is below 1 or above n.
    """
    values = np.sort(as_float_array(errors, "errors"))
    n = len(values)
    if k is None:
        sizes = np.unique(np.rint(np.geomspace(1, n, 30)).astype(np.int64))
    else:
        sizes = as_float_array(k, "k").astype(np.int64)
        if sizes.min() < 1 or sizes.max() > n:
            raise InputError(f"k: must lie in 1 to {n}, the number of models; no extrapolation")
    rank = np.arange(1, n + 1)
    columns = []
    for size in sizes.tolist():
        remaining = ((n - rank) / n) ** size  # P(the best is worse than rank i)
        mass = np.diff(1 - remaining, prepend=0.0)
        low, high = np.searchsorted(1 - remaining, (0.025, 0.975))
        columns.append(
            (values @ mass, values @ _without_replacement(n, size), values[low], values[high])
        )
    expected, unbiased, low_, high_ = np.array(columns, dtype=np.float64).T
    return BestOfK(sizes, expected, unbiased, low_, high_, n)


def _without_replacement(n: int, k: int) -> FloatArray:
    """C(n - i, k - 1) / C(n, k) for ranks i = 1 to n, in logarithms; 0 where i > n - k + 1."""
    weights = np.zeros(n)
    rest = n - np.arange(1, n - k + 2)
    log_choose = gammaln(rest + 1) - gammaln(k) - gammaln(rest - k + 2)
    log_all = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    weights[: len(rest)] = np.exp(log_choose - log_all)
    return np.asarray(weights / weights.sum())
