"""Sample size and power: how many models a claim needs, and what n models can detect."""

import math
from bisect import bisect_left
from collections.abc import Callable

from scipy.special import ndtr, stdtrit

from designspace.errors import InputError
from designspace.stats.arrays import check_probability

_MAX_MODELS = 10**7
# Standard errors beyond which a difference counts as infinite.
_MAX_SHIFT = 1000.0


def difference_power(
    difference: float, sd: tuple[float, float], n: int, alpha: float = 0.05
) -> float:
    """Return the power of Welch's two-sided test of a difference of means.

    Args:
        difference: True difference of the mean errors, percent.
        sd: Standard deviation of the errors in the first and the second population.
        n: Models in each.
        alpha: Level of the test.
    """
    from scipy.stats import nct

    error, df = _standard_error(sd, n)
    bound = stdtrit(df, 1 - check_probability(alpha, "alpha") / 2)
    shift = min(abs(difference) / error, _MAX_SHIFT)
    other = nct.cdf(-bound, df, shift)  # nan where it is next to 0
    return min(1.0, float(nct.sf(bound, df, shift)) + (0.0 if math.isnan(other) else other))


def equivalence_power(margin: float, sd: tuple[float, float], n: int, alpha: float = 0.05) -> float:
    """Return the probability that two one-sided tests show equivalence of equal means.

    Both statistics share one standard error, whose randomness is neglected: exact as n grows, and
    slightly low below some twenty models.
    """
    error, df = _standard_error(sd, n)
    bound = stdtrit(df, 1 - check_probability(alpha, "alpha"))
    return max(0.0, 2 * float(ndtr(margin / error - bound)) - 1)


def models_for_difference(
    difference: float, sd: tuple[float, float], power: float = 0.8, alpha: float = 0.05
) -> int:
    """Return how many models of each population detect a difference of means with this power.

    Raises:
        InputError: The difference is 0, or more than ten million models would be needed.
    """
    return _sample_size(
        lambda n: difference_power(difference, sd, n, alpha), abs(difference), power
    )


def detectable_difference(
    sd: tuple[float, float], n: int, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Return the smallest difference of means that n models of each detect with this power."""
    from scipy.optimize import brentq

    high = 20 * _standard_error(sd, n)[0]
    if high < 1e-300:
        return 0.0
    while difference_power(high, sd, n, alpha) < power:
        high *= 2
    return float(brentq(lambda d: difference_power(d, sd, n, alpha) - power, 0.0, high))


def _standard_error(sd: tuple[float, float], n: int) -> tuple[float, float]:
    """Standard error of the difference and Welch's degrees of freedom, n models each."""
    if n < 2 or min(sd) < 0:
        raise InputError(f"power needs at least 2 models and sd of 0 or more; got {n}, {sd}")
    parts = sd[0] ** 2 / n, sd[1] ** 2 / n
    total = parts[0] + parts[1]
    if total == 0:
        return math.ulp(0.0), 2.0 * (n - 1)
    return math.sqrt(total), total**2 / (parts[0] ** 2 + parts[1] ** 2) * (n - 1)


def _sample_size(power_of: Callable[[int], float], effect: float, power: float) -> int:
    if not effect > 0:
        raise InputError(f"power: the difference or margin is {effect}; it must be above 0")
    check_probability(power, "power")
    high = 2
    while power_of(high) < power:
        high *= 2
        if high > _MAX_MODELS:
            raise InputError(f"power: more than {_MAX_MODELS} models would be needed")
    return bisect_left(range(high), power, lo=max(2, high // 2), key=power_of)
