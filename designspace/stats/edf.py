"""Error distribution functions: exact, weighted, with bands, area and quantile intervals.

F(e) is the share of models with error *strictly* below e (DDS eq. 1), an exact step function at the
observed errors.
"""

import math
from dataclasses import dataclass

import numpy as np

from designspace.errors import InputError
from designspace.stats.arrays import (
    FloatArray,
    IntArray,
    Numbers,
    as_float_array,
    check_probability,
)


@dataclass(frozen=True, eq=False)
class Edf:
    """An error distribution function.

    Attributes:
        errors: The distinct observed errors, ascending, (k,).
        cumulative: Share (of weight) of models with error up to and including each of them, (k,):
            the height of the step that begins just above it.
        n: Number of models.
        minimum: Least error.
        mean: Mean error, weighted where the function is.
        median: Least error with at least half of the models at or below it.
    """

    errors: FloatArray
    cumulative: FloatArray
    n: int
    minimum: float
    mean: float
    median: float

    def at(self, error: Numbers | float) -> FloatArray:
        """Return F at each error: the share of models strictly below it."""
        place = np.searchsorted(self.errors, np.asarray(error, dtype=np.float64), side="left")
        padded = np.concatenate([[0.0], self.cumulative])
        return np.asarray(padded[place], dtype=np.float64)

    @property
    def legend(self) -> str:
        """The papers' legend, [minimum | mean]."""
        return f"[{self.minimum:.1f} | {self.mean:.1f}]"


@dataclass(frozen=True, eq=False)
class Band:
    """A simultaneous band around an EDF: with probability `level` all of F lies in it.

    Attributes:
        errors: Where the band is given, the EDF's distinct errors, (k,).
        low: Lower edge of the step above each error, in 0 to 1, (k,).
        high: Upper edge, (k,).
        half_width: Distance of the edges from the EDF before they are cut at 0 and 1.
        level: Confidence level.
        method: Where it comes from.
    """

    errors: FloatArray
    low: FloatArray
    high: FloatArray
    half_width: float
    level: float
    method: str


@dataclass(frozen=True)
class QuantileInterval:
    """A quantile of the error with a distribution-free interval.

    Attributes:
        probability: Which quantile, 0.5 is the median.
        value: Its estimate.
        low: Lower end, -inf where n is too small for one.
        high: Upper end, inf where n is too small for one.
        coverage: Exact coverage of the interval for continuous errors, at least what was asked for
            where both ends are finite.
    """

    probability: float
    value: float
    low: float
    high: float
    coverage: float


def edf(errors: Numbers, weights: Numbers | None = None) -> Edf:
    """Return the exact EDF of errors, in percent.

    Args:
        errors: One error a model, (n,); diverged models with chance error.
        weights: Weights that sum to 1, such as `normalized_weights` gives; None is 1 / n each.

    Raises:
        InputError: Errors are missing or not finite, or weights are not a distribution over them.
    """
    values = as_float_array(errors, "errors")
    n = len(values)
    if weights is None:
        shares = np.full(n, 1 / n)
    else:
        shares = as_float_array(weights, "weights")
        if len(shares) != n or shares.min() < 0 or not math.isclose(shares.sum(), 1, abs_tol=1e-6):
            raise InputError(f"weights: must be {n} numbers, none negative, that sum to 1")
    order = np.argsort(values, kind="stable")
    distinct, first = np.unique(values[order], return_index=True)
    mass = np.add.reduceat(shares[order], first)
    cumulative = np.minimum(np.cumsum(mass), 1.0)
    cumulative[-1] = 1.0
    median = distinct[np.searchsorted(cumulative, 0.5 - 1e-12)]
    if weights is None:
        median = np.median(values)
    return Edf(
        errors=distinct,
        cumulative=cumulative,
        n=n,
        minimum=float(distinct[0]),
        mean=float(values @ shares),
        median=float(median),
    )


def area_under(function: Edf, low: float, high: float) -> float:
    """Return the mean height of an EDF between two errors: 1 where all models lie below `low`.

    Raises:
        InputError: `high` is not above `low`.
    """
    if not low < high:
        raise InputError(f"area: the range must rise; it is {low} to {high}")
    mass = np.diff(function.cumulative, prepend=0.0)
    return float(mass @ (high - np.clip(function.errors, low, high)) / (high - low))


def dkw_band(function: Edf, level: float = 0.95) -> Band:
    """Return the Dvoretzky-Kiefer-Wolfowitz band with Massart's constant (1990).

    Half width sqrt(ln(2 / alpha) / (2 n)): 0.061 at n = 500, 0.136 at n = 100. For EDFs whose
    models weigh the same.
    """
    half = math.sqrt(math.log(2 / (1 - check_probability(level))) / (2 * function.n))
    return _band(function, half, level, "DKW-Massart")


def normalized_weights(complexity: Numbers, bins: int, low: float, high: float) -> FloatArray:
    """Weigh models so that complexity is uniform (NDS §3.3).

    The range is cut into equal bins; a model weighs 1 / (bins * models in its bin).

    Args:
        complexity: Flops, params or acts of each model, (n,), all within the range.
        bins: Number of bins.
        low: Lower end of the range.
        high: Upper end, which belongs to the last bin.

    Raises:
        InputError: A model lies outside the range, or a bin is empty.
    """
    values = as_float_array(complexity, "complexity")
    place = bin_of(values, bins, low, high)
    counts = np.bincount(place, minlength=bins)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        width = (high - low) / bins
        start = low + width * int(empty[0])
        raise InputError(
            f"complexity: bin {int(empty[0]) + 1} of {bins} ({start:.4g} to {start + width:.4g}) "
            "holds no model; use fewer bins or a narrower range"
        )
    return 1.0 / (bins * counts[place])


def bin_of(values: FloatArray, bins: int, low: float, high: float) -> IntArray:
    """Return the equal-width bin of each value, (n,), the upper end in the last bin.

    Raises:
        InputError: There is no such range, or a value lies outside it.
    """
    if bins < 1 or not low < high:
        raise InputError(f"complexity: needs a rising range and a bin; got {low} to {high}, {bins}")
    if values.min() < low or values.max() > high:
        raise InputError(f"complexity: a model lies outside {low:.6g} to {high:.6g}")
    place = np.floor((values - low) / (high - low) * bins).astype(np.int64)
    return np.minimum(place, bins - 1)


def normalized_band(
    errors: Numbers,
    complexity: Numbers,
    bins: int,
    low: float,
    high: float,
    level: float = 0.95,
    *,
    rng: np.random.Generator,
    repeats: int = 1000,
    points: int = 128,
) -> Band:
    """Bootstrap a simultaneous band for the complexity-normalised EDF.

    Models are redrawn within their bins; the half width is the `level` quantile of the largest
    distance between redrawn and observed EDF. Redrawing is done on the counts in each cell between
    `points` errors, which is the same in distribution and does not grow with n.

    Args:
        errors: One error a model, (n,).
        complexity: Their complexity, (n,).
        bins: As in `normalized_weights`.
        low: As in `normalized_weights`.
        high: As in `normalized_weights`.
        level: Confidence level.
        rng: The generator of the redraws.
        repeats: Number of redraws.
        points: Number of errors at which the distance is looked at.
    """
    values = as_float_array(errors, "errors")
    function = edf(values, normalized_weights(complexity, bins, low, high))
    place = bin_of(as_float_array(complexity, "complexity"), bins, low, high)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, points)))
    cell = np.searchsorted(edges, values, side="left")
    distance = np.zeros((repeats, len(edges)))
    for index in range(bins):
        counts = np.bincount(cell[place == index], minlength=len(edges))
        total = int(counts.sum())
        drawn = rng.multinomial(total, counts / total, size=repeats) - counts
        # Redrawn from few models the spread is too small by (total - 1) / total.
        few = math.sqrt(total / max(1, total - 1))
        distance += np.cumsum(drawn, axis=1) * few / (bins * total)
    half = float(np.quantile(np.abs(distance).max(axis=1), check_probability(level)))
    return _band(function, half, level, f"bootstrap within {bins} complexity bins")


def quantile_interval(errors: Numbers, probability: float, level: float = 0.95) -> QuantileInterval:
    """Return a quantile with its exact order-statistic interval.

    The number of models below the true quantile is binomial(n, probability), so a pair of order
    statistics covers it with a known probability, whatever the distribution (David and Nagaraja,
    Order Statistics, §7.1). Each side is left at most (1 - level) / 2.
    """
    from scipy.stats import binom

    values = np.sort(as_float_array(errors, "errors"))
    n, tail = len(values), (1 - check_probability(level)) / 2
    check_probability(probability, "probability")
    # x_(r) is at most the quantile unless fewer than r models lie below: P(B < r) <= tail.
    lower = int(binom.ppf(tail, n, probability))
    if binom.cdf(lower, n, probability) <= tail:
        lower += 1
    upper = int(binom.ppf(1 - tail, n, probability)) + 1
    low = values[lower - 1] if lower >= 1 else -math.inf
    high = values[upper - 1] if upper <= n else math.inf
    below = binom.cdf(lower - 1, n, probability) if lower >= 1 else 0.0
    covered = binom.cdf(upper - 1, n, probability) if upper <= n else 1.0
    return QuantileInterval(
        probability=probability,
        value=float(np.quantile(values, probability)),
        low=float(low),
        high=float(high),
        coverage=float(covered - below),
    )


def _band(function: Edf, half: float, level: float, method: str) -> Band:
    return Band(
        errors=function.errors,
        low=np.maximum(0.0, function.cumulative - half),
        high=np.minimum(1.0, function.cumulative + half),
        half_width=half,
        level=level,
        method=method,
    )
