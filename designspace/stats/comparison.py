"""Two populations of errors: differences with intervals, tests of difference, tests of equivalence.

Differences are always second minus first, in percent of error: negative means that the second
population is better. Every test says what it tests; a large p-value is never evidence of equality,
for which there is `equivalent`.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from designspace.errors import InputError
from designspace.stats.arrays import FloatArray, Numbers, as_float_array, check_probability

# About this many random numbers are drawn at a time.
_CHUNK = 1 << 22
_MOST_DRAWS = 1 << 28


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Comparison:
    """What is known of the difference of two populations, second minus first.

    Attributes:
        n: Number of models of the first and the second.
        level: Level of the intervals.
        mean: Difference of means, with Welch's interval.
        median: Difference of medians, with a bootstrap interval.
        minimum: Difference of minima; no interval, there is none without assumptions.
        p_mean: Permutation test of equal means (studentized: Chung and Romano 2013), two-sided.
        p_median: Permutation test on the difference of medians: of equal distributions, two-sided.
        p_minimum: Permutation test on the difference of minima, exact in closed form, two-sided.
        ks: Kolmogorov-Smirnov distance, the largest vertical distance of the two EDFs.
        p_ks: Its p-value.
        superiority: Probability that a random model of the second has less error than one of the
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


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests: are two means within a margin of each other? (Schuirmann 1987.)

    Attributes:
        margin: The largest difference that counts as none, percent of error, stated beforehand.
        difference: Difference of means, second minus first.
        low: Lower end of the 1 - 2 alpha interval of the difference.
        high: Its upper end: the means are equivalent where both ends lie within the margin.
        p_lower: p-value against "the second is better by the margin or more".
        p_upper: p-value against "the second is worse by the margin or more": alone, it is the test
            of non-inferiority.
        alpha: Level of the test.
    """

    margin: float
    difference: float
    low: float
    high: float
    p_lower: float
    p_upper: float
    alpha: float

    @property
    def p(self) -> float:
        """p-value of equivalence: the larger of the two."""
        return max(self.p_lower, self.p_upper)

    @property
    def equivalent(self) -> bool:
        """Whether the means are shown to be within the margin of each other."""
        return self.p < self.alpha

    @property
    def p_different(self) -> float:
        """p-value against "the means lie within the margin", two-sided: the opposite claim."""
        return min(1.0, 2 * min(1 - self.p_lower, 1 - self.p_upper))


def compare(
    first: Numbers,
    second: Numbers,
    level: float = 0.95,
    *,
    rng: np.random.Generator | None = None,
    permutations: int = 4999,
) -> Comparison:
    """Compare two populations of errors.

    Args:
        first: Errors of the first population, (n,), at least 2.
        second: Errors of the second, (m,), at least 2.
        level: Level of the intervals.
        rng: Generator of permutations and bootstrap; None is a fixed one, so that the same data
            give the same numbers.
        permutations: Most permutations; fewer are taken for very large populations.

    Raises:
        InputError: A population has fewer than two errors, or one that is not finite.
    """
    from scipy.stats import ks_2samp

    a, b = as_float_array(first, "first", 2), as_float_array(second, "second", 2)
    rng = np.random.default_rng(0) if rng is None else rng
    repeats = max(199, min(permutations, _MOST_DRAWS // (len(a) + len(b))))
    p_mean, p_median = _permutation_tests(a, b, rng, repeats)
    with warnings.catch_warnings():
        # Where its exact p-value fails, scipy takes the asymptotic one, and warns.
        warnings.simplefilter("ignore", RuntimeWarning)
        ks = ks_2samp(a, b, method="auto" if len(a) * len(b) < 10**6 else "asymp")
    return Comparison(
        n=(len(a), len(b)),
        level=check_probability(level),
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


def equivalent(first: Numbers, second: Numbers, margin: float, alpha: float = 0.05) -> Equivalence:
    """Test whether two means lie within a margin of each other (Welch's t, two one-sided tests).

    Raises:
        InputError: The margin is not above 0, or a population has fewer than two errors.
    """
    from scipy.stats import t

    a, b = as_float_array(first, "first", 2), as_float_array(second, "second", 2)
    if not 0 < margin < math.inf:
        raise InputError(f"margin is {margin}; it must be above 0, in percent of error")
    check_probability(alpha, "alpha")
    difference, error, freedom = _welch(a, b)
    reach = error * float(t.ppf(1 - alpha, freedom))
    tiny = np.finfo(np.float64).tiny
    return Equivalence(
        margin=margin,
        difference=difference,
        low=difference - reach,
        high=difference + reach,
        p_lower=float(t.sf((difference + margin) / max(error, tiny), freedom)),
        p_upper=float(t.cdf((difference - margin) / max(error, tiny), freedom)),
        alpha=alpha,
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's adjusted p-values, in the order given (Holm 1979): each valid for its claim
    while the chance of any false rejection among all stays at the level.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(order))
    running = 0.0
    for rank, place in enumerate(order):
        running = max(running, (len(order) - rank) * p_values[place])
        adjusted[place] = min(1.0, running)
    return tuple(float(p) for p in adjusted)


def minimum_test(first: Numbers, second: Numbers) -> float:
    """Return the permutation p-value of the difference of minima, exact and two-sided.

    The minima differ by at least the observed d exactly when all pooled models with an error less
    than d above the overall least belong to one population; under random labels that has a
    hypergeometric probability. It tests that the populations are one; it sees only their best ends.
    """
    a, b = as_float_array(first, "first"), as_float_array(second, "second")
    pooled = np.concatenate([a, b])
    distance = abs(float(b.min() - a.min()))
    if distance == 0:
        return 1.0
    # An error that equals the other minimum up to rounding is not below it.
    ahead = int((pooled - pooled.min() < distance * (1 - 1e-9)).sum())
    steps = np.arange(ahead)
    total = len(pooled)
    return float(
        min(1.0, sum(np.prod(np.maximum(n - steps, 0) / (total - steps)) for n in (len(a), len(b))))
    )


def superiority(first: Numbers, second: Numbers, level: float = 0.95) -> Estimate:
    """Return the probability that a random model of the second beats one of the first.

    Interval: placements' variance (DeLong et al. 1988) on the logit scale. Where one population
    beats the other throughout, the free end is that of n of n successes, n the smaller size.
    """
    from scipy.stats import norm, rankdata

    a, b = as_float_array(first, "first"), as_float_array(second, "second")
    n, m = len(a), len(b)
    ranks = rankdata(np.concatenate([a, b]))
    beaten_by = (ranks[:n] - rankdata(a)) / m  # share of b better than each a
    beats = 1 - (ranks[n:] - rankdata(b)) / n  # share of a worse than each b
    value = float(beats.mean())
    tail = (1 - check_probability(level)) / 2
    if not 0 < value < 1:
        free = tail ** (1 / min(n, m))
        return Estimate(value, free if value else 0.0, 1.0 if value else 1 - free)
    variance = sum(x.var(ddof=1) / len(x) for x in (beaten_by, beats) if len(x) > 1)
    reach = float(norm.isf(tail)) * math.sqrt(variance) / (value * (1 - value))
    center = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-edge)) for edge in (center - reach, center + reach))
    return Estimate(value, low, high)


def _welch(a: FloatArray, b: FloatArray) -> tuple[float, float, float]:
    """Difference of means, its standard error, and Welch's degrees of freedom."""
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    total = parts[0] + parts[1]
    if total == 0:
        return float(b.mean() - a.mean()), 0.0, float(len(a) + len(b) - 2)
    freedom = total**2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    return float(b.mean() - a.mean()), math.sqrt(total), float(freedom)


def _mean_difference(a: FloatArray, b: FloatArray, level: float) -> Estimate:
    from scipy.stats import t

    difference, error, freedom = _welch(a, b)
    reach = error * float(t.ppf((1 + level) / 2, freedom))
    return Estimate(difference, difference - reach, difference + reach)


def _median_difference(
    a: FloatArray, b: FloatArray, level: float, rng: np.random.Generator
) -> Estimate:
    value = float(np.median(b) - np.median(a))
    drawn = _redrawn_medians(b, rng) - _redrawn_medians(a, rng)
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def _redrawn_medians(
    values: FloatArray, rng: np.random.Generator, repeats: int = 1999
) -> FloatArray:
    """Medians of samples redrawn from values.

    The k-th least of n uniform numbers is beta(k, n + 1 - k), so no sample need be drawn.
    """
    n = len(values)
    middle = rng.beta((n + 1) / 2, (n + 1) / 2, size=repeats)
    return np.sort(values)[np.minimum((middle * n).astype(np.int64), n - 1)]


def _hedges_g(a: FloatArray, b: FloatArray, level: float) -> Estimate:
    """Hedges' g with the large-sample interval (Hedges and Olkin 1985, eq. 5.E.3 and 6.B.2)."""
    from scipy.stats import norm

    n, m = len(a), len(b)
    freedom = n + m - 2
    pooled = math.sqrt((a.var(ddof=1) * (n - 1) + b.var(ddof=1) * (m - 1)) / freedom)
    difference = float(b.mean() - a.mean())
    if pooled == 0:
        value = 0.0 if difference == 0 else math.copysign(math.inf, difference)
        return Estimate(value, value, value)
    value = (1 - 3 / (4 * freedom - 1)) * difference / pooled
    reach = float(norm.ppf((1 + level) / 2)) * math.sqrt(
        (n + m) / (n * m) + value**2 / (2 * (n + m))
    )
    return Estimate(value, value - reach, value + reach)


def _permutation_tests(
    a: FloatArray, b: FloatArray, rng: np.random.Generator, repeats: int
) -> tuple[float, float]:
    """p-values of studentized difference of means and of difference of medians, two-sided."""
    pooled = np.concatenate([a, b])
    pooled = pooled - pooled.mean()
    n = len(a)
    observed = _statistics(pooled[None, :], n)
    hits = np.zeros(2)
    rows = max(1, _CHUNK // len(pooled))
    for start in range(0, repeats, rows):
        count = min(rows, repeats - start)
        shuffled = rng.permuted(np.broadcast_to(pooled, (count, len(pooled))), axis=1)
        drawn = _statistics(shuffled, n)
        # A tie that rounding has parted still counts as one.
        hits += (drawn >= observed * (1 - 1e-12)).sum(axis=1)
    p_mean, p_median = (hits + 1) / (repeats + 1)
    return float(p_mean), float(p_median)


def _statistics(rows: FloatArray, n: int) -> FloatArray:
    """|studentized difference of means| and |difference of medians| of each row, (2, rows)."""
    first, second = rows[:, :n], rows[:, n:]
    spread = first.var(axis=1, ddof=1) / n + second.var(axis=1, ddof=1) / second.shape[1]
    difference = np.abs(first.mean(axis=1) - second.mean(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        studentized = np.where(difference > 0, difference / np.sqrt(spread), 0.0)
    medians = np.abs(np.median(first, axis=1) - np.median(second, axis=1))
    return np.stack([studentized, medians])
