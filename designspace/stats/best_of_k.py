"""Expected best error of a random search over k models."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from designspace.errors import InputError
from designspace.stats.arrays import FloatArray, IntArray, Numbers, as_float_array


@dataclass(frozen=True, eq=False)
class BestOfK:
    """Expected lowest error of k random models, for several k.

    Attributes:
        k: Sizes of the search, (m,), none above n.
        expected: Mean best error, drawn with replacement (Dodge et al. 2019 §3.1, mirrored), (m,).
        unbiased: Mean best error, drawn without replacement: the unbiased form, (m,).
        low: Lower end of the 95 % prediction interval of a new search, (m,); -inf where n models
            can't bound it, as beyond k = n / 39.
        high: Its upper end, (m,); inf where n models can't bound it.
        n: Number of models.
    """

    k: IntArray
    expected: FloatArray
    unbiased: FloatArray
    low: FloatArray
    high: FloatArray
    n: int


def best_of_k(errors: Numbers, k: Numbers | None = None) -> BestOfK:
    """Return the expected best of k random models by two estimators.

    With replacement (Dodge et al. 2021, arXiv 2110.00613: fewest wrong conclusions): the sum of
    e_(i) [((n-i+1)/n)^k - ((n-i)/n)^k]. Unbiased: weights C(n-i, k-1) / C(n, k).

    The interval is distribution-free: the best of k new models lies above the i-th lowest of n with
    probability C(n+k-i, k) / C(n+k, k) (David and Nagaraja, Order Statistics, §7.3).

    Args:
        errors: One error per model, (n,).
        k: Sizes of the search; None takes up to thirty from 1 to n / 8. Beyond, the best of the n
            models decides, and `expected` is too high by up to .2 standard deviations.

    Raises:
        InputError: An error is not finite, or a k is below 1 or above n.
    """
    values = np.sort(as_float_array(errors, "errors"))
    n = len(values)
    if k is None:
        sizes = np.unique(np.rint(np.geomspace(1, max(1, n // 8), 30)).astype(np.int64))
    else:
        sizes = np.asarray(k, dtype=np.int64)
        if sizes.min() < 1 or sizes.max() > n:
            raise InputError(f"k must lie in 1 to {n}, the number of models", "k")
    rank = np.arange(1, n + 1)
    columns = []
    for size in sizes.tolist():
        remaining = ((n - rank) / n) ** size  # P(the best is worse than rank i)
        mass = np.diff(1 - remaining, prepend=0.0)
        unbiased = values @ weights_without_replacement(n, size)
        columns.append((values @ mass, unbiased, *_prediction_interval(values, size)))
    expected, unbiased, lows, highs = np.array(columns, dtype=np.float64).T
    return BestOfK(sizes, expected, unbiased, lows, highs, n)


def _prediction_interval(values: FloatArray, k: int, tail: float = 0.025) -> tuple[float, float]:
    """Order statistics of n errors between which the best of k new ones lies."""
    n = len(values)
    rank = np.arange(n + 2)  # 0 stands for -inf, n + 1 for inf
    log_above = gammaln(n + k - rank[:-1] + 1) - gammaln(n - rank[:-1] + 1)
    above = np.append(np.exp(log_above - log_above[0]), 0.0)
    padded = np.concatenate([[-np.inf], values, [np.inf]])
    low = int(np.flatnonzero(1 - above <= tail)[-1])
    high = int(np.flatnonzero(above <= tail)[0])
    return float(padded[low]), float(padded[high])


def weights_without_replacement(n: int, k: int) -> FloatArray:
    """C(n - i, k - 1) / C(n, k) for ranks i = 1 to n, in logarithms; 0 where i > n - k + 1."""
    weights = np.zeros(n)
    rest = n - np.arange(1, n - k + 2)
    log_choose = gammaln(rest + 1) - gammaln(k) - gammaln(rest - k + 2)
    log_all = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    weights[: len(rest)] = np.exp(log_choose - log_all)
    return np.asarray(weights / weights.sum())
