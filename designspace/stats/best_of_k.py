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


def best_of_k(errors: Numbers, k: Numbers | None = None) -> BestOfK:
    """Return the expected best of k random models by two estimators.

    With replacement (Dodge et al. 2021, arXiv 2110.00613: fewest wrong conclusions): the sum of
    e_(i) [((n-i+1)/n)^k - ((n-i)/n)^k]. Unbiased: weights C(n-i, k-1) / C(n, k).

    Args:
        errors: One error per model, (n,).
        k: Sizes of the search; None takes about thirty from 1 to n.

    Raises:
        InputError: An error is not finite, or a k is below 1 or above n.
    """
    values = np.sort(as_float_array(errors, "errors"))
    n = len(values)
    if k is None:
        sizes = np.unique(np.rint(np.geomspace(1, n, 30)).astype(np.int64))
    else:
        sizes = np.asarray(k, dtype=np.int64)
        if sizes.min() < 1 or sizes.max() > n:
            raise InputError(f"k must lie in 1 to {n}, the number of models", "k")
    rank = np.arange(1, n + 1)
    columns = []
    for size in sizes.tolist():
        remaining = ((n - rank) / n) ** size  # P(the best is worse than rank i)
        mass = np.diff(1 - remaining, prepend=0.0)
        low, high = np.searchsorted(1 - remaining, (0.025, 0.975))
        unbiased = values @ _weights_without_replacement(n, size)
        columns.append((values @ mass, unbiased, values[low], values[high]))
    expected, unbiased, lows, highs = np.array(columns, dtype=np.float64).T
    return BestOfK(sizes, expected, unbiased, lows, highs, n)


def _weights_without_replacement(n: int, k: int) -> FloatArray:
    """C(n - i, k - 1) / C(n, k) for ranks i = 1 to n, in logarithms; 0 where i > n - k + 1."""
    weights = np.zeros(n)
    rest = n - np.arange(1, n - k + 2)
    log_choose = gammaln(rest + 1) - gammaln(k) - gammaln(rest - k + 2)
    log_all = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    weights[: len(rest)] = np.exp(log_choose - log_all)
    return np.asarray(weights / weights.sum())
