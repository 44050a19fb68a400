"""How many models a claim needs, and what a study of a given size can see."""

import math
from collections.abc import Callable

from scipy.special import ndtr, stdtrit
from scipy.stats import nct

from designspace.errors import InputError
from designspace.stats.arrays import check_probability

_MOST_MODELS = 10**7
# Standard errors beyond which a difference is as good as infinite.
_FAR = 1000.0


def power_to_see(difference: float, sd: tuple[float, float], n: int, alpha: float = 0.05) -> float:
    """Return the chance that Welch's two-sided test of n models each sees a difference of means.

    Args:
        difference: True difference of the mean errors, percent.
        sd: Standard deviation of the errors in the first and the second population.
        n: Models in each.
        alpha: Level of the test.
    """
    error, freedom = _error(sd, n)
    bound = stdtrit(freedom, 1 - check_probability(alpha, "alpha") / 2)
    shift = min(abs(difference) / error, _FAR)
    other = nct.cdf(-bound, freedom, shift)  # scipy has no number for it where it is next to 0
    return min(1.0, float(nct.sf(bound, freedom, shift)) + (0.0 if math.isnan(other) else other))


def power_to_equate(margin: float, sd: tuple[float, float], n: int, alpha: float = 0.05) -> float:
    """Return the chance that two one-sided tests show equivalence when the means are equal.

    Both statistics share one standard error, whose own randomness is left out: exact as n grows,
    and a little low below some twenty models.
    """
    error, freedom = _error(sd, n)
    bound = stdtrit(freedom, 1 - check_probability(alpha, "alpha"))
    return max(0.0, 2 * float(ndtr(margin / error - bound)) - 1)


def models_to_see(
    difference: float, sd: tuple[float, float], power: float = 0.8, alpha: float = 0.05
) -> int:
    """Return how many models of each population see a difference of means with this power.

    Raises:
        InputError: The difference is 0, or more than ten million models would be needed.
    """
    return _least(lambda n: power_to_see(difference, sd, n, alpha), abs(difference), power)


def models_to_equate(
    margin: float, sd: tuple[float, float], power: float = 0.8, alpha: float = 0.05
) -> int:
    """Return how many models of each show equivalence within a margin when the means are equal.

    Raises:
        InputError: The margin is not above 0, or more than ten million models would be needed.
    """
    return _least(lambda n: power_to_equate(margin, sd, n, alpha), margin, power)


def difference_seen(
    sd: tuple[float, float], n: int, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Return the least difference of means that n models of each see with this power."""
    low, high = 0.0, 20 * _error(sd, n)[0]
    if high == 0:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if power_to_see(middle, sd, n, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def _error(sd: tuple[float, float], n: int) -> tuple[float, float]:
    """Standard error of the difference and Welch's degrees of freedom, n models each."""
    if n < 2 or min(sd) < 0:
        raise InputError(f"power: needs at least 2 models and spreads of 0 or more; got {n}, {sd}")
    parts = sd[0] ** 2 / n, sd[1] ** 2 / n
    total = parts[0] + parts[1]
    if total == 0:
        return math.ulp(0.0), 2.0 * (n - 1)
    return math.sqrt(total), total**2 / (parts[0] ** 2 + parts[1] ** 2) * (n - 1)


def _least(chance: Callable[[int], float], effect: float, power: float) -> int:
    if not effect > 0:
        raise InputError(f"power: the difference or margin is {effect}; it must be above 0")
    check_probability(power, "power")
    high = 2
    while chance(high) < power:
        high *= 2
        if high > _MOST_MODELS:
            raise InputError(f"power: more than {_MOST_MODELS} models would be needed")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if middle >= 2 and chance(middle) >= power:
            high = middle
        else:
            low = middle
    return max(2, high)
