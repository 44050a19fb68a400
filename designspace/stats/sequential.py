"""Sequential comparisons: they stay valid under optional stopping.

A confidence sequence covers the truth at *all* times simultaneously with probability 1 - alpha, so
a study may stop as soon as it excludes zero. This is the hedged-capital sequence of Waudby-Smith
and Ramdas (2024, "Estimating means of bounded random variables by betting", arXiv 2010.09686,
theorem 3) for means of variables in [0, 1]: two gamblers bet, based on past observations, that the
mean is higher or lower than m:

    K+_t(m) = prod_i (1 + l+_i(m) (x_i - m)),   K-_t(m) = prod_i (1 - l-_i(m) (x_i - m)).

At the true mean each is a martingale that starts at 1, so it ever reaches 2 / alpha with
probability at most alpha / 2 (Ville); an m at which one does is excluded for good.

For the difference of mean errors, bounds of 0 to 100 % are far too wide. There the sequence is that
of the t-test with a normal prior on the effect size (`mean_sequence`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np

from designspace.errors import InputError
from designspace.stats.arrays import BoolArray, FloatArray, IntArray, check_probability

_TRUNCATION = 0.75
# Variance of the prior on the effect size: half a standard deviation of the paired differences.
_PRIOR = 0.25
# With fewer pairs, the t-test relies on normal errors too much.
_MIN_PAIRS = 20
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class ConfidenceSequence:
    """Confidence intervals for a mean that hold at all times simultaneously.

    Attributes:
        times: Numbers of observations, (k,).
        low: Lower ends, non-decreasing, (k,).
        high: Upper ends, non-increasing, (k,).
        level: Probability that all intervals cover the mean.
    """

    times: IntArray
    low: FloatArray
    high: FloatArray
    level: float


@dataclass(frozen=True, eq=False)
class SequentialComparison:
    """An anytime-valid comparison of two populations, pair by pair in sampled order.

    Attributes:
        pairs: Number of pairs: the size of the smaller population.
        mean: Confidence sequence of the difference of mean errors, second minus first.
        superiority: Confidence sequence of the probability that a model of the second beats one of
            the first, ties counted half.
        level: Probability that all intervals of both sequences cover.
        decided_at: Number of pairs at which the means first differ, or None.
        better: Whether the mean error of the second is lower (True), higher (False) or it is
            undecided (None).
        wins_at: Number of pairs at which one first is shown to win more often, or None.
        wins: Whether the second wins more often (True), less often (False) or it is undecided
            (None). With some diverged models it may win more often and have the higher mean.
    """

    pairs: int
    mean: ConfidenceSequence
    superiority: ConfidenceSequence
    level: float
    decided_at: int | None
    better: bool | None
    wins_at: int | None
    wins: bool | None


def confidence_sequence(x: FloatArray, level: float = 0.95, grid: int = 2001) -> ConfidenceSequence:
    """Return the hedged-capital confidence sequence for the mean of values in [0, 1].

    Args:
        x: Independent observations in [0, 1], in the order in which they were made, (n,).
        level: Probability that the mean lies in every interval.
        grid: Number of candidate means; the ends are rounded outward to them.
    """
    alpha = 1 - check_probability(level)
    bets = _bets(x, alpha)
    means = np.linspace(0, 1, grid)
    with np.errstate(divide="ignore"):
        most_up, most_down = _TRUNCATION / means, _TRUNCATION / (1 - means)
    threshold = math.log(2 / alpha)
    up, down = np.zeros(grid), np.zeros(grid)
    too_low, too_high = np.zeros(grid, dtype=bool), np.zeros(grid, dtype=bool)
    low, high = np.empty(len(x)), np.empty(len(x))
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        gap, bet = x[part, None] - means, bets[part, None]
        ups = up + np.cumsum(np.log1p(np.minimum(bet, most_up) * gap), axis=0)
        downs = down + np.cumsum(np.log1p(-np.minimum(bet, most_down) * gap), axis=0)
        below = np.logical_or.accumulate(ups >= threshold, axis=0) | too_low
        above = np.logical_or.accumulate(downs >= threshold, axis=0) | too_high
        # The last candidate of the excluded run on each side: rounded outward.
        low[part] = means[np.maximum(below.argmin(axis=1) - 1, 0)]
        high[part] = means[::-1][np.maximum(above[:, ::-1].argmin(axis=1) - 1, 0)]
        up, down, too_low, too_high = ups[-1], downs[-1], below[-1], above[-1]
    return ConfidenceSequence(
        times=np.arange(1, len(x) + 1),
        low=np.maximum.accumulate(low),
        high=np.minimum.accumulate(high),
        level=level,
    )


def compare_sequentially(a: FloatArray, b: FloatArray, level: float = 0.95) -> SequentialComparison:
    """Compare two populations so that the result is valid at any time.

    Models are paired by their place in sampled order. The level is divided between two sequences,
    one for the difference of means, the quantity of interest, and one for the winner of a pair,
    which a few diverged models leave alone.

    Args:
        a: Errors of the first population in sampled order, percent, (n,).
        b: Errors of the second, (m,).
        level: Probability that no statement, at any time, is wrong.

    Raises:
        InputError: An error lies outside 0 to 100 percent.
    """
    pairs = min(len(a), len(b))
    a, b = a[:pairs], b[:pairs]
    if min(a.min(), b.min()) < 0 or max(a.max(), b.max()) > 100:
        raise InputError("errors must lie in 0 to 100 percent")
    each = 1 - (1 - check_probability(level)) / 2
    mean = mean_sequence(b - a, each)
    superiority = confidence_sequence(np.where(b < a, 1.0, np.where(b == a, 0.5, 0.0)), each, 501)
    decided_at, better = _first(mean.high < 0, mean.low > 0)
    wins_at, wins = _first(superiority.low > 0.5, superiority.high < 0.5)
    return SequentialComparison(
        pairs=pairs,
        mean=mean,
        superiority=superiority,
        level=level,
        decided_at=decided_at,
        better=better,
        wins_at=wins_at,
        wins=wins,
    )


def _first(better: BoolArray, worse: BoolArray) -> tuple[int | None, bool | None]:
    """Number of pairs at which either is first so, and whether it is the better."""
    decided = np.flatnonzero(better | worse)
    if not len(decided):
        return None, None
    return int(decided[0]) + 1, bool(better[decided[0]])


def mean_sequence(x: FloatArray, level: float = 0.95) -> ConfidenceSequence:
    """Return the confidence sequence of a mean by the t-test that is valid at any time.

    The Bayes factor of the t-test, with effect sizes from N(0, g) and the right Haar prior on the
    scale, is a test martingale under the null for normal observations (Pérez-Ortiz et al. 2024,
    "E-statistics, group invariance and anytime-valid testing"); with nu = n - 1, r = 1 + n g:

        B = r^(-1/2) [(1 + t^2 / nu) / (1 + t^2 / (nu r))]^((nu + 1) / 2).

    The sequence holds the means at which B stays below 1 / alpha. For other distributions its level
    is that of t intervals, approximate, so it begins at twenty observations. At a level of 95 % it
    misses the mean of exponential observations in 8 % of sequences (of 100, 500 and 2,000), that of
    exponential minus normal ones in 5 % (1,500 simulations each).

    Args:
        x: Independent observations, in the order in which they were made, (n,).
        level: Probability that the mean lies in every interval.
    """
    alpha, n = 1 - check_probability(level), np.arange(1, len(x) + 1)
    shifted = x - x[0]
    means = np.cumsum(shifted) / n
    squares = np.maximum(np.cumsum(shifted**2) - n * means**2, 0.0)
    df, ratio = np.maximum(n - 1, 1), 1 + n * _PRIOR
    bound = np.exp(2 * (0.5 * np.log(ratio) - math.log(alpha)) / (df + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(bound < ratio, np.sqrt(df * (bound - 1) / (1 - bound / ratio)), np.inf)
        half = t * np.sqrt(squares / df / n)
    half = np.where((n < _MIN_PAIRS) | np.isinf(t), np.inf, half)
    return ConfidenceSequence(
        times=n.astype(np.int64),
        low=np.maximum.accumulate(x[0] + means - half),
        high=np.minimum.accumulate(x[0] + means + half),
        level=level,
    )


def decision(errors: Mapping[str, Mapping[int, float | None]], level: float = 0.95) -> str | None:
    """Return why a study may stop: every other run is shown to differ from the first.

    Models are compared in sampled order, up to the first that lacks a trial in any run, because
    the order of completion is biased. Pairs with a failed trial are left out.

    Args:
        errors: Of each run, reference run first: error by index, None where the trial failed.
        level: Probability that no decision, however often this is called, is wrong.

    Returns:
        The decision as a sentence, or None where more trials are needed.
    """
    (name, first), *others = errors.items()
    each = 1 - (1 - level) / len(others)
    decisions = []
    for other, second in others:
        common = range(next(i for i in count() if i not in first or i not in second))
        pairs = [(first[i], second[i]) for i in common]
        complete = [pair for pair in pairs if None not in pair]
        if not complete:
            return None
        a, b = np.array(complete).T
        result = compare_sequentially(a, b, each)
        if result.better is None:
            return None
        decisions.append(
            f"the mean error of {other} is {'lower' if result.better else 'higher'} than that of "
            f"{name}, decided by {result.decided_at} pairs of models"
        )
    return f"may stop, at level {level:g}: {'; '.join(decisions)}"


def _bets(x: FloatArray, alpha: float) -> FloatArray:
    """Predictable plug-in bets (§4 of the paper): each depends on earlier observations only."""
    t = np.arange(1, len(x) + 1)
    means = (0.5 + np.cumsum(x)) / (t + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.asarray(np.sqrt(2 * math.log(2 / alpha) / (before * t * np.log(t + 1))))
