"""Tests of one difference of means, between two populations or over pairs, against any bound.

Welch's (or the paired) t has its level for normal errors. One-sided at .05, it rejects in .09, .08
and .07 for exponential errors of 24, 64 and 96 models against as many normal ones of half the
standard deviation, where the bootstrap-t (Efron and Tibshirani 1993, §12.5), which draws the
statistic's own distribution from the data, rejects in .07, .06 and .05. For two populations of 24
errors that are skewed alike it is the two-sided bootstrap-t that rejects too often, in .07, where
permutations do in .05. So a verdict needs both. It shows equivalence in .84 to .91 of the cases
where t alone does in .92 to .93, of normal errors in as many, and differences in as many as
permutations alone, but for .03 (600 simulations each; tests/stats/test_verdict_levels.py).
"""

import math
from dataclasses import dataclass

import numpy as np

from designspace.stats.arrays import FloatArray
from designspace.stats.intervals import Estimate
from designspace.stats.two_sample import ROUNDING, welch

_REPEATS = 4999
# With more models there are no redraws, as skewness then hardly moves the level of t.
_VERY_MANY = 1000
_MAX_DRAWS = 1 << 26


@dataclass(frozen=True, eq=False)
class MeanDifference:
    """A difference of means, second minus first, and the distribution of its statistic.

    Attributes:
        value: The difference, percent of error.
        error: Its standard error.
        df: Degrees of freedom of t.
        n: Models of the first and of the second, or the number of pairs.
        redrawn: Statistics of bootstrap samples, ascending, (repeats,); of more than 1,000 models
            quantiles of t.
    """

    value: float
    error: float
    df: float
    n: tuple[int, ...]
    redrawn: FloatArray

    def estimate(self, level: float = 0.95) -> Estimate:
        """Return the difference with its t interval."""
        from scipy.stats import t

        half = self.error * float(t.ppf((1 + level) / 2, self.df))
        return Estimate(self.value, self.value - half, self.value + half)

    def p_below(self, bound: float) -> float:
        """Return the p-value against "the difference is `bound` or more", by t."""
        from scipy.stats import t

        return float(t.cdf(self._statistic(bound), self.df))

    def p_above(self, bound: float) -> float:
        """Return the p-value against "the difference is `bound` or less", by t."""
        return 1 - self.p_below(bound)

    def p_below_bootstrap(self, bound: float) -> float:
        """Return the p-value against "the difference is `bound` or more", by the bootstrap-t."""
        hits = np.searchsorted(self.redrawn, self._statistic(bound), side="right")
        return float(hits + 1) / (len(self.redrawn) + 1)

    def p_above_bootstrap(self, bound: float) -> float:
        """Return the p-value against "the difference is `bound` or less", by the bootstrap-t."""
        below = np.searchsorted(self.redrawn, self._statistic(bound), side="left")
        return float(len(self.redrawn) - below + 1) / (len(self.redrawn) + 1)

    def p_zero_bootstrap(self) -> float:
        """Return the two-sided p-value against "the difference is zero", by the bootstrap-t."""
        return two_sided(self.p_below_bootstrap(0), self.p_above_bootstrap(0))

    def p_within(self, margin: float) -> float:
        """Return the p-value of "the difference is within the margin", by t and bootstrap-t."""
        below = max(self.p_below(margin), self.p_below_bootstrap(margin))
        return max(below, self.p_above(-margin), self.p_above_bootstrap(-margin))

    def p_beyond(self, margin: float) -> float:
        """Return the p-value of "the difference is beyond the margin", by t and bootstrap-t."""
        above = max(self.p_above(margin), self.p_above_bootstrap(margin))
        return two_sided(above, max(self.p_below(-margin), self.p_below_bootstrap(-margin)))

    def _statistic(self, bound: float) -> float:
        distance = self.value - bound
        if abs(distance) < ROUNDING:
            return 0.0
        return distance / max(self.error, float(np.finfo(np.float64).tiny))


def two_sided(p: float, other: float) -> float:
    """Return the two-sided p-value of two one-sided ones."""
    return min(1.0, 2 * min(p, other))


def difference_of_means(a: FloatArray, b: FloatArray) -> MeanDifference:
    """Return the difference of the means of two populations, (n,) and (m,), at least 2 each."""
    value, error, df = welch(a, b)
    if min(len(a), len(b)) > _VERY_MANY:
        return MeanDifference(value, error, df, (len(a), len(b)), _quantiles_of_t(df))
    rng = np.random.default_rng(0)
    first, second = _redraw(a, rng), _redraw(b, rng)
    errors = np.sqrt(first[1] + second[1])
    return MeanDifference(
        value, error, df, (len(a), len(b)), _studentized(second[0] - first[0] - value, errors)
    )


def mean_of_pairs(differences: FloatArray) -> MeanDifference:
    """Return the mean of paired differences, (n,), at least 2."""
    n, value = len(differences), float(differences.mean())
    value = 0.0 if abs(value) < ROUNDING else value
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    if n > _VERY_MANY:
        return MeanDifference(value, error, float(n - 1), (n,), _quantiles_of_t(n - 1))
    means, variances = _redraw(differences, np.random.default_rng(0))
    redrawn = _studentized(means - value, np.sqrt(variances))
    return MeanDifference(value, error, float(n - 1), (n,), redrawn)


def sign_flip_test(differences: FloatArray, repeats: int = 1999) -> float:
    """Return the two-sided p-value of "the mean of paired differences is zero", by flipping signs.

    Studentized, so that it holds its level also where the differences are skewed and n is large.
    """
    n, rng = len(differences), np.random.default_rng(0)
    repeats = max(199, min(repeats, _MAX_DRAWS // n))
    signs = rng.integers(0, 2, (repeats, n)) * 2.0 - 1
    drawn = np.vstack([np.ones(n), signs]) * differences
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(n)
    statistics = np.abs(_unsorted(drawn.mean(axis=1), errors))
    hits = int((statistics[1:] >= statistics[0] * (1 - 1e-12)).sum())
    return (hits + 1) / (repeats + 1)


def _redraw(values: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Means of bootstrap samples and their squared standard errors, (repeats,) each."""
    n = len(values)
    means, variances = np.empty(_REPEATS), np.empty(_REPEATS)
    rows = max(1, (1 << 22) // n)
    for start in range(0, _REPEATS, rows):
        part = slice(start, min(start + rows, _REPEATS))
        drawn = values[rng.integers(0, n, (part.stop - part.start, n))]
        means[part] = drawn.mean(axis=1)
        variances[part] = drawn.var(axis=1, ddof=1) / n
    return means, variances


def _quantiles_of_t(df: float) -> FloatArray:
    from scipy.stats import t

    return np.asarray(t.ppf((np.arange(_REPEATS) + 0.5) / _REPEATS, df))


def _studentized(distances: FloatArray, errors: FloatArray) -> FloatArray:
    return np.sort(_unsorted(distances, errors))


def _unsorted(distances: FloatArray, errors: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(np.abs(distances) < ROUNDING, 0.0, distances / errors))
