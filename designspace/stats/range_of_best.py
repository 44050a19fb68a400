"""The empirical bootstrap of the best models (DDS §3.1), in closed form.

Draw m of n models with replacement and keep the best: with errors sorted ascending, the model of
rank i is the best with probability ((n - i + 1) / n)^m - ((n - i) / n)^m. So the resampling of DDS
and NDS has a closed form, without noise, in O(n log n).

Its range is no confidence interval of the best value: it is where the best dozen models lie,
however many there are, and does not shrink as n grows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from designspace.errors import InputError, check_types
from designspace.stats.arrays import (
    BoolArray,
    FloatArray,
    Numbers,
    as_float_array,
    check_probability,
)

# With fewer models than this, the best dozen are most of them, and the range says little.
MIN_MODELS = 24


@dataclass(frozen=True)
class BootstrapInterval:
    """The range of the best: where the best models have a parameter (DDS §3.1).

    It is no confidence interval, as it does not narrow with more models.

    Attributes:
        low: Lower end of the range.
        median: Median: the likely best value.
        high: Upper end.
        best: Value of the single best model.
        level: Fraction of the redraws' best models within the range.
        n: Number of models.
        draws: Models per redraw: the fraction of n, rounded down.
        carriers: Number of models that carry 95 % of the weight.
    """

    low: float
    median: float
    high: float
    best: float
    level: float
    n: int
    draws: int
    carriers: int

    @property
    def few(self) -> bool:
        """Whether there are too few models for the range to say anything."""
        return self.n < MIN_MODELS


@check_types
def bootstrap(
    values: Numbers, errors: Numbers, share: float = 0.25, level: float = 0.95
) -> BootstrapInterval:
    """Return the range of the best: where the best models have one parameter.

    Args:
        values: The parameter of each model, (n,).
        errors: Their errors, (n,).
        share: Fraction of the models per redraw; the paper takes a quarter.
        level: Fraction of the redraws' best models within the range.

    Raises:
        InputError: Lengths differ, a value is not finite, or share or level is not in 0 to 1.

    Example:
        >>> import designspace as ds
        >>> depths, errors = [4, 6, 8, 10, 12], [35.0, 32.0, 30.0, 31.0, 34.0]
        >>> ds.bootstrap(depths, errors).best
        8.0
    """
    checked, targets = as_float_array(values, "values"), as_float_array(errors, "errors")
    if len(checked) != len(targets):
        raise InputError(f"values has {len(checked)} values for {len(targets)} errors", "values")
    if share != 1:
        check_probability(share, "share")
    return bootstrap_intervals({"values": checked}, targets, share, level)["values"]


def bootstrap_intervals(
    parameters: Mapping[str, FloatArray],
    errors: FloatArray,
    share: float = 0.25,
    level: float = 0.95,
) -> dict[str, BootstrapInterval]:
    """Return the range of the best of several parameters, NaN where unknown; see `bootstrap`."""
    tail = (1 - check_probability(level)) / 2
    intervals: dict[str, BootstrapInterval] = {}
    for names, known in group_by_known(parameters):
        subset = errors[known]
        draws = max(1, int(len(subset) * share))  # rounded down, as in pycls' get_filters
        weights = best_weights(subset, draws)
        carriers = int(np.searchsorted(np.cumsum(np.sort(weights)[::-1]), 0.95 - 1e-12)) + 1
        best = int(np.argmin(subset))
        for name in names:
            values = parameters[name][known]
            ends = weighted_quantiles(values, weights, (tail, 0.5, 1 - tail))
            intervals[name] = BootstrapInterval(
                *ends, float(values[best]), level, len(subset), draws, carriers
            )
    return {name: intervals[name] for name in parameters if name in intervals}


def group_by_known(
    parameters: Mapping[str, FloatArray],
) -> list[tuple[list[str], BoolArray]]:
    """Group parameters that are known of the same models; return names and mask (n,) of each."""
    groups: dict[bytes, tuple[list[str], BoolArray]] = {}
    for name, values in parameters.items():
        known = np.isfinite(values)
        if known.any():
            groups.setdefault(known.tobytes(), ([], known))[0].append(name)
    return list(groups.values())


def best_weights(errors: FloatArray, draws: int) -> FloatArray:
    """Return the probability that each model, (n,), is the best of `draws` with replacement.

    Models of equal error share their probability equally.
    """
    n = len(errors)
    _, group, counts = np.unique(errors, return_inverse=True, return_counts=True)
    behind = n - np.cumsum(counts)  # models strictly worse than each group
    mass = ((behind + counts) / n) ** draws - (behind / n) ** draws
    return np.asarray((mass / counts)[group], dtype=np.float64)


def weighted_quantiles(
    values: FloatArray, weights: FloatArray, probabilities: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return the lowest values with at least these fractions of the weight at or below them."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    place = np.searchsorted(cumulative, np.asarray(probabilities) * cumulative[-1] - 1e-12)
    low, middle, high = values[order][np.minimum(place, len(values) - 1)].tolist()
    return low, middle, high
