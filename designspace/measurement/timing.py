"""Time several models in interleaved rounds until the interval of each median is narrow.

In a round every model has one turn, so that a machine that becomes slower slows all of them. The
interval comes from the differences between a model's rounds, not from those between the steps of a
turn, which follow each other too closely to be independent. As a model is finished once its
interval is narrow, intervals cover the median in 92 to 94 % of simulated measurements
(tests/measurement/test_timing.py).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import t as student_t

# Relative width of the 95 % interval of the median at which a model is finished.
TARGET_WIDTH = 0.02
# Rounds that differ by more, or other processes that use more of the machine, are reported.
MAX_NOISE, MAX_LOAD = 0.1, 0.1
_MIN_ROUNDS, _MAX_ROUNDS = 5, 60
# Turns that a model's time limit is divided into, and the longest of them, in seconds.
_TURNS, _LONGEST_TURN = 10, 0.5

# Runs a model's step again and again for so many seconds, at least once, and returns the seconds
# of each sample.
Turn = Callable[[float], Sequence[float]]


@dataclass(frozen=True)
class Timing:
    """The time of a step.

    Attributes:
        median: Seconds.
        low: Lower end of the 95 % interval of the median.
        high: Upper end.
        n: Samples.
        rounds: Rounds that they were taken in.
        noise: Relative difference between the slowest and the fastest round.
    """

    median: float
    low: float
    high: float
    n: int
    rounds: int
    noise: float

    @property
    def width(self) -> float:
        """Relative width of the interval."""
        return (self.high - self.low) / self.median

    @property
    def noisy(self) -> bool:
        """Whether the rounds differ too much, or the interval stayed too wide."""
        return bool(self.noise > MAX_NOISE or self.width > TARGET_WIDTH)

    @staticmethod
    def of(rounds: Sequence[Sequence[float]]) -> "Timing":
        """Summarize the samples of each round, in seconds.

        The interval is the median of all samples plus and minus t(rounds - 1) standard errors of
        the rounds' medians.
        """
        samples = np.concatenate([np.asarray(samples, dtype=np.float64) for samples in rounds])
        medians = np.array([np.median(samples) for samples in rounds])
        middle, count = float(np.median(samples)), len(medians)
        half = middle
        if count > 1:
            error = float(medians.std(ddof=1)) / count**0.5
            half = min(middle, float(student_t.ppf(0.975, count - 1)) * error)
        noise = float((medians.max() - medians.min()) / middle)
        # A lower end of 0 would be no time at all.
        low = max(middle - half, float(samples.min()) * 0.5)
        return Timing(middle, low, middle + half, len(samples), count, noise)


@dataclass
class _Series:
    """The samples of one model so far."""

    turn: Turn
    rounds: list[Sequence[float]] = field(default_factory=list)
    seconds: float = 0.0

    def finished(self, time_limit: float) -> bool:
        count = len(self.rounds)
        if count >= _MAX_ROUNDS or (count >= 2 and self.seconds >= time_limit):
            return True
        return count >= _MIN_ROUNDS and Timing.of(self.rounds).width <= TARGET_WIDTH


def time_interleaved(
    turns: Sequence[Turn],
    time_limit: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Time models in rounds until each interval is below 2 % or its time limit is reached.

    Args:
        turns: One for each model.
        time_limit: Seconds for each model; two rounds are taken whatever they cost.
        clock: Returns seconds.
    """
    series = [_Series(turn) for turn in turns]
    slice_ = min(time_limit / _TURNS, _LONGEST_TURN)
    while left := [one for one in series if not one.finished(time_limit)]:
        for one in left:
            began = clock()
            one.rounds.append(one.turn(slice_))
            one.seconds += clock() - began
    return [Timing.of(one.rounds) for one in series]
