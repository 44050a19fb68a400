"""Two-sample comparison of errors: differences with intervals, and tests of difference.

Differences are always second minus first, in percent of error: negative means that the second
population is better. A large p-value is never evidence of equality; for that see `equivalence`.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np

from designspace.errors import InputError, check_types
from designspace.stats.arrays import FloatArray, Numbers, as_float_array, check_probability
from designspace.stats.intervals import Estimate

# Differences below this many points are rounding.
ROUNDING = 1e-9
# About this many random numbers are drawn at a time.
_CHUNK = 1 << 22
_MAX_DRAWS = 1 << 28


@dataclass(frozen=True)
class Comparison:
    """The difference of two populations, second minus first.

    Attributes:
        n: Number of models of the first and the second.
        level: Level of the intervals.
        mean: Difference of means, with Welch's interval.
        median: Difference of medians, with a bootstrap interval.
        minimum: Difference of minima; there is no interval without assumptions.
        p_mean: Permutation test of equal means (studentized: Chung and Romano 2013), two-sided.
        p_median: Permutation test on the difference of medians: of equal distributions, two-sided.
        p_minimum: Permutation test on the difference of minima, exact in closed form, two-sided.
        ks: Kolmogorov-Smirnov statistic, the largest vertical distance of the two EDFs.
        p_ks: Its p-value.
        superiority: Probability that a random model of the second has lower error than one of the
            first, ties counted half, with its interval; 0.5 is no difference.
        hedges_g: Difference of means over the pooled standard deviation (Hedges' g), with interval.
        permutations: Number of permutations behind `p_mean` and `p_median`.
    """

    n: tuple[int, int]
    level: float
    mean: Estimate
    median: Estimate
    minimum: float
    p_mean: float
    p_median: float
    p_minimum: float
    ks: float
    p_ks: float
    superiority: Estimate
    hedges_g: Estimate
    permutations: int


@check_types
def compare(
    first: Numbers,
    second: Numbers,
    level: float = 0.95,
    *,
    rng: np.random.Generator | int | None = None,
    permutations: int = 4999,
) -> Comparison:
    """Compare two populations of errors.

    Args:
        first: Errors of the first population, (n,), at least 2.
        second: Errors of the second, (m,), at least 2.
        level: Level of the intervals.
        rng: Generator of permutations and bootstrap, or its seed; None is seed 0, so that the same
            data give the same numbers.
        permutations: Maximum number of permutations; very large populations get fewer.

    Raises:
        InputError: A population has fewer than two errors, or one that is not finite; or there are
            no permutations, or the seed is negative.

    Example:
        >>> import designspace as ds
        >>> comparison = ds.compare([35.0, 34.0, 36.0, 35.5], [31.0, 30.0, 32.0, 31.5])
        >>> comparison.mean.value  # second minus first
        -4.0
    """
    a, b = as_float_array(first, "first", 2), as_float_array(second, "second", 2)
    if permutations < 1:
        raise InputError(f"permutations is {permutations}; it must be at least 1", "permutations")
    if isinstance(rng, int) and rng < 0:
        raise InputError(f"rng is {rng}; a seed must be at least 0", "rng")
    generator = np.random.default_rng(0 if rng is None else rng)
    return compare_arrays(a, b, check_probability(level), generator, permutations)


def compare_arrays(
    a: FloatArray,
    b: FloatArray,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    permutations: int = 4999,
) -> Comparison:
    """Compare checked errors; see `compare`."""
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0) if rng is None else rng
    a, b = np.round(a, 9), np.round(b, 9)  # equal up to rounding is equal
    repeats = min(permutations, max(199, _MAX_DRAWS // (len(a) + len(b))))
    p_mean, p_median = _permutation_tests(a, b, rng, repeats)
    with warnings.catch_warnings():
        # Where its exact p-value fails, scipy falls back to the asymptotic one, and warns.
        warnings.simplefilter("ignore", RuntimeWarning)
        ks = ks_2samp(a, b, method="auto" if len(a) * len(b) < 10**6 else "asymp")
    return Comparison(
        n=(len(a), len(b)),
        level=level,
        mean=_mean_difference(a, b, level),
        median=_median_difference(a, b, level, rng),
        minimum=float(b.min() - a.min()),
        p_mean=p_mean,
        p_median=p_median,
        p_minimum=minimum_test(a, b),
        ks=float(ks.statistic),
        p_ks=float(ks.pvalue),
        superiority=superiority(a, b, level),
        hedges_g=_hedges_g(a, b, level),
        permutations=repeats,
    )


def welch(a: FloatArray, b: FloatArray) -> tuple[float, float, float]:
    """Return the difference of means, its standard error, and Welch's degrees of freedom."""
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    total = parts[0] + parts[1]
    difference = _difference_of_means(a, b)
    if total == 0:
        return difference, 0.0, float(len(a) + len(b) - 2)
    df = total**2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    return difference, math.sqrt(total), float(df)


def _difference_of_means(a: FloatArray, b: FloatArray) -> float:
    difference = float(b.mean() - a.mean())
    return 0.0 if abs(difference) < ROUNDING else difference


def minimum_test(a: FloatArray, b: FloatArray) -> float:
    """Return the permutation p-value of the difference of minima, exact and two-sided.

    The minima differ by at least the observed d exactly when all pooled models with an error less
    than d above the overall minimum belong to one population; under random labels that has a
    hypergeometric probability. It tests that the populations are equal, by their best ends only.
    """
    pooled = np.concatenate([a, b])
    distance = abs(float(b.min() - a.min()))
    if distance < ROUNDING:
        return 1.0
    # An error that equals the other minimum up to rounding is not below it.
    ahead = int((pooled - pooled.min() < distance * (1 - 1e-9)).sum())
    steps = np.arange(ahead)
    chances = [np.prod(np.maximum(n - steps, 0) / (len(pooled) - steps)) for n in (len(a), len(b))]
    return float(min(1.0, sum(chances)))


def superiority(a: FloatArray, b: FloatArray, level: float = 0.95) -> Estimate:
    """Return the probability that a random model of the second beats one of the first.

    Interval: variance of the placements (DeLong et al. 1988) on the logit scale. Where one
    population beats the other throughout, the open end is that of n of n successes, n the smaller
    size. Where all errors are equal, it is Wilson's interval (1927) of one half of n.
    """
    from scipy.stats import norm, rankdata

    n, m = len(a), len(b)
    ranks = rankdata(np.concatenate([a, b]))
    beaten_by = (ranks[:n] - rankdata(a)) / m  # fraction of b better than each a
    beats = 1 - (ranks[n:] - rankdata(b)) / n  # fraction of a worse than each b
    value = float(beats.mean())
    tail = (1 - level) / 2
    if not 0 < value < 1:
        end = tail ** (1 / min(n, m))
        return Estimate(value, end if value else 0.0, 1.0 if value else 1 - end)
    variance = sum(x.var(ddof=1) / len(x) for x in (beaten_by, beats) if len(x) > 1)
    z = float(norm.isf(tail))
    if variance == 0:
        half = z / (2 * math.sqrt(min(n, m) + z**2))
        return Estimate(value, value - half, value + half)
    half = z * math.sqrt(variance) / (value * (1 - value))
    center = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-edge)) for edge in (center - half, center + half))
    return Estimate(value, low, high)


def _mean_difference(a: FloatArray, b: FloatArray, level: float) -> Estimate:
    from scipy.stats import t

    difference, error, df = welch(a, b)
    half = error * float(t.ppf((1 + level) / 2, df))
    return Estimate(difference, difference - half, difference + half)


def _median_difference(
    a: FloatArray, b: FloatArray, level: float, rng: np.random.Generator
) -> Estimate:
    value = float(np.median(b) - np.median(a))
    drawn = _bootstrap_medians(b, rng) - _bootstrap_medians(a, rng)
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def _bootstrap_medians(
    values: FloatArray, rng: np.random.Generator, repeats: int = 1999
) -> FloatArray:
    """Medians of bootstrap samples.

    The k-th smallest of n uniform numbers is beta(k, n + 1 - k), so no sample need be drawn.
    """
    n = len(values)
    middle = rng.beta((n + 1) / 2, (n + 1) / 2, size=repeats)
    return np.sort(values)[np.minimum((middle * n).astype(np.int64), n - 1)]


def _hedges_g(a: FloatArray, b: FloatArray, level: float) -> Estimate:
    """Hedges' g with the large-sample interval (Hedges and Olkin 1985, eq. 5.E.3 and 6.B.2)."""
    from scipy.stats import norm

    n, m = len(a), len(b)
    df = n + m - 2
    pooled = math.sqrt((a.var(ddof=1) * (n - 1) + b.var(ddof=1) * (m - 1)) / df)
    difference = _difference_of_means(a, b)
    if pooled < ROUNDING:
        value = 0.0 if difference == 0 else math.copysign(math.inf, difference)
        return Estimate(value, value, value)
    value = (1 - 3 / (4 * df - 1)) * difference / pooled
    half = float(norm.ppf((1 + level) / 2)) * math.sqrt(
        (n + m) / (n * m) + value**2 / (2 * (n + m))
    )
    return Estimate(value, value - half, value + half)


def _permutation_tests(
    a: FloatArray, b: FloatArray, rng: np.random.Generator, repeats: int
) -> tuple[float, float]:
    """p-values of the studentized difference of means and the difference of medians, two-sided."""
    pooled = np.concatenate([a, b])
    pooled = pooled - pooled.mean()
    n = len(a)
    observed = _permutation_statistics(pooled[None, :], n)
    hits = np.zeros(2)
    rows = max(1, _CHUNK // len(pooled))
    for start in range(0, repeats, rows):
        count = min(rows, repeats - start)
        shuffled = rng.permuted(np.broadcast_to(pooled, (count, len(pooled))), axis=1)
        drawn = _permutation_statistics(shuffled, n)
        # A tie broken by rounding still counts as one.
        hits += (drawn >= observed * (1 - 1e-12)).sum(axis=1)
    p_mean, p_median = (hits + 1) / (repeats + 1)
    return float(p_mean), float(p_median)


def _permutation_statistics(rows: FloatArray, n: int) -> FloatArray:
    """|studentized difference of means| and |difference of medians| of each row, (2, rows)."""
    first, second = rows[:, :n], rows[:, n:]
    variance = first.var(axis=1, ddof=1) / n + second.var(axis=1, ddof=1) / second.shape[1]
    difference = np.abs(first.mean(axis=1) - second.mean(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        studentized = np.where(difference > ROUNDING, difference / np.sqrt(variance), 0.0)
    medians = np.abs(np.median(first, axis=1) - np.median(second, axis=1))
    return np.stack([studentized, medians])
