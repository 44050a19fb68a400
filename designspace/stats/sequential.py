"""Comparisons that may be looked at after every trial, and stopped, without cheating.

A confidence sequence covers the truth at *all* times at once with probability 1 - alpha, so a study
may stop the moment it excludes zero. The one here is the hedged-capital sequence of Waudby-Smith
and Ramdas (2024, "Estimating means of bounded random variables by betting", arXiv 2010.09686,
theorem 3) for means of variables in [0, 1]: two gamblers bet, by what they have seen before, that
the mean is higher or lower than m:

    K+_t(m) = prod_i (1 + l+_i(m) (x_i - m)),   K-_t(m) = prod_i (1 - l-_i(m) (x_i - m)).

At the true mean each is a martingale from 1, so neither ever reaches 2 / alpha but with probability
alpha / 2 (Ville); an m at which one does is excluded for good.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np

from designspace.errors import InputError
from designspace.stats.arrays import (
    FloatArray,
    IntArray,
    Numbers,
    as_float_array,
    check_probability,
)

_TRUNCATION = 0.75
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class ConfidenceSequence:
    """Intervals for a mean that hold at all times at once.

    Attributes:
        times: Numbers of observations at which the interval is given, (k,).
        low: Lower ends, never falling, (k,).
        high: Upper ends, never rising, (k,).
        level: Probability that all of them cover the mean.
    """

    times: IntArray
    low: FloatArray
    high: FloatArray
    level: float


@dataclass(frozen=True, eq=False)
class SequentialComparison:
    """An always-valid comparison of two populations, pair by pair in sampled order.

    Attributes:
        pairs: Number of pairs: of the shorter population's size.
        mean: Confidence sequence of the difference of mean errors, second minus first.
        superiority: Confidence sequence of the probability that a model of the second beats one of
            the first, ties counted half.
        level: Probability that all intervals of both sequences cover.
        decided_at: Least number of pairs at which either sequence excludes no difference, or None.
        better: Whether the second is better (True), worse (False) or it is undecided (None).
    """

    pairs: int
    mean: ConfidenceSequence
    superiority: ConfidenceSequence
    level: float
    decided_at: int | None
    better: bool | None


def confidence_sequence(
    values: Numbers, level: float = 0.95, grid: int = 2001
) -> ConfidenceSequence:
    """Return the hedged-capital confidence sequence for the mean of values in [0, 1].

    Args:
        values: Independent observations in the order in which they were made, (n,).
        level: Probability that the mean lies in every interval.
        grid: Number of candidate means, to which the ends are rounded outward.

    Raises:
        InputError: A value lies outside 0 to 1.
    """
    x = as_float_array(values, "values")
    if x.min() < 0 or x.max() > 1:
        raise InputError("values: must lie in 0 to 1")
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
        # The last candidate of the run that is excluded from below, and from above: outward.
        low[part] = means[np.maximum(below.argmin(axis=1) - 1, 0)]
        high[part] = means[::-1][np.maximum(above[:, ::-1].argmin(axis=1) - 1, 0)]
        up, down, too_low, too_high = ups[-1], downs[-1], below[-1], above[-1]
    return ConfidenceSequence(
        times=np.arange(1, len(x) + 1),
        low=np.maximum.accumulate(low),
        high=np.minimum.accumulate(high),
        level=level,
    )


def compare_sequentially(
    first: Numbers, second: Numbers, level: float = 0.95, most: float = 100.0
) -> SequentialComparison:
    """Compare two populations so that the answer holds whenever one looks.

    Models are paired by their place in sampled order. The level is shared out over two sequences,
    one for means and one for who wins a pair: means are what is asked for, winners need no bound on
    the errors and so decide sooner.

    Args:
        first: Errors of the first population in sampled order, percent, 0 to `most`.
        second: Errors of the second.
        level: Probability that nothing said here, at any time, is wrong.
        most: Largest possible error, percent.

    Raises:
        InputError: An error lies outside 0 to `most`.
    """
    a, b = as_float_array(first, "first"), as_float_array(second, "second")
    pairs = min(len(a), len(b))
    a, b = a[:pairs], b[:pairs]
    if min(a.min(), b.min()) < 0 or max(a.max(), b.max()) > most:
        raise InputError(f"errors: must lie in 0 to {most:g} percent")
    each = 1 - (1 - check_probability(level)) / 2
    scaled = confidence_sequence((b - a + most) / (2 * most), each)
    mean = ConfidenceSequence(
        scaled.times, (2 * scaled.low - 1) * most, (2 * scaled.high - 1) * most, each
    )
    wins = confidence_sequence(np.where(b < a, 1.0, np.where(b == a, 0.5, 0.0)), each, 501)
    better = (mean.high < 0) | (wins.low > 0.5)
    worse = (mean.low > 0) | (wins.high < 0.5)
    decided = np.flatnonzero(better | worse)
    first_time = int(decided[0]) if len(decided) else None
    return SequentialComparison(
        pairs=pairs,
        mean=mean,
        superiority=wins,
        level=level,
        decided_at=None if first_time is None else first_time + 1,
        better=None if first_time is None else bool(better[first_time]),
    )


def decision(errors: Mapping[str, Mapping[int, float | None]], level: float = 0.95) -> str | None:
    """Say that a study may stop, since every other run is told from the first one.

    Models are taken in sampled order, as far as all runs have a trial: who is finished first is not
    the same as who comes first. Pairs of which one failed are left out.

    Args:
        errors: Of each run, the first one first: error by index, None where the trial failed.
        level: Probability that nothing said here, however often it is asked for, is wrong.

    Returns:
        What was decided, in words, or None where more trials are needed.
    """
    (name, first), *others = errors.items()
    each = 1 - (1 - level) / len(others)
    words = []
    for other, second in others:
        common = range(next(i for i in count() if i not in first or i not in second))
        pairs = [(first[i], second[i]) for i in common]
        whole = [pair for pair in pairs if None not in pair]
        if not whole:
            return None
        a, b = np.array(whole).T
        found = compare_sequentially(a, b, each)
        if found.better is None:
            return None
        words.append(
            f"{other} is {'better' if found.better else 'worse'} than {name}, decided by "
            f"{found.decided_at} pairs of models"
        )
    return f"may stop, at level {level:g}: {'; '.join(words)}"


def _bets(x: FloatArray, alpha: float) -> FloatArray:
    """Predictable plug-in bets (§4 there): each depends on the observations before it only."""
    t = np.arange(1, len(x) + 1)
    means = (0.5 + np.cumsum(x)) / (t + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.asarray(np.sqrt(2 * math.log(2 / alpha) / (before * t * np.log(t + 1))))
