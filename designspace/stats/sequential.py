"""Sequential comparisons: they stay valid under optional stopping.

A confidence sequence covers the truth at *all* times simultaneously with probability 1 - alpha, so
a study may stop as soon as it excludes zero. This is the hedged-capital sequence of Waudby-Smith
and Ramdas (2024, "Estimating means of bounded random variables by betting", arXiv 2010.09686,
theorem 3) for means of variables in [0, 1]: two gamblers bet, based on past observations, that the
mean is higher or lower than m:

    K+_t(m) = prod_i (1 + l+_i(m) (x_i - m)),   K-_t(m) = prod_i (1 - l-_i(m) (x_i - m)).

At the true mean each is a martingale that starts at 1, so it ever reaches 2 / alpha with
probability at most alpha / 2 (Ville); an m at which one does is excluded for good.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np

from designspace.errors import InputError
from designspace.stats.arrays import FloatArray, IntArray, check_probability

_TRUNCATION = 0.75
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
        decided_at: Number of pairs at which a sequence first excludes zero difference, or None.
        better: Whether the second is better (True), worse (False) or it is undecided (None).
    """

    pairs: int
    mean: ConfidenceSequence
    superiority: ConfidenceSequence
    level: float
    decided_at: int | None
    better: bool | None


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
    one for the difference of means and one for the winner of a pair: the former is the quantity of
    interest, the latter needs no bound on the errors and so decides earlier.

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
    scaled = confidence_sequence((b - a + 100) / 200, each)
    mean = ConfidenceSequence(
        scaled.times, (2 * scaled.low - 1) * 100, (2 * scaled.high - 1) * 100, each
    )
    wins = confidence_sequence(np.where(b < a, 1.0, np.where(b == a, 0.5, 0.0)), each, 501)
    better = (mean.high < 0) | (wins.low > 0.5)
    worse = (mean.low > 0) | (wins.high < 0.5)
    decided = np.flatnonzero(better | worse)
    first = int(decided[0]) if len(decided) else None
    return SequentialComparison(
        pairs=pairs,
        mean=mean,
        superiority=wins,
        level=level,
        decided_at=None if first is None else first + 1,
        better=None if first is None else bool(better[first]),
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
            f"{other} is {'better' if result.better else 'worse'} than {name}, decided by "
            f"{result.decided_at} pairs of models"
        )
    return f"may stop, at level {level:g}: {'; '.join(decisions)}"


def _bets(x: FloatArray, alpha: float) -> FloatArray:
    """Predictable plug-in bets (§4 of the paper): each depends on earlier observations only."""
    t = np.arange(1, len(x) + 1)
    means = (0.5 + np.cumsum(x)) / (t + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.asarray(np.sqrt(2 * math.log(2 / alpha) / (before * t * np.log(t + 1))))
