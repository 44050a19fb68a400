"""Error distribution functions (EDFs): exact or weighted, with confidence bands.

F(e) is the fraction of models with error *strictly* below e (DDS eq. 1), an exact step function at
the observed errors.
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
        cumulative: Fraction (of weight) of models with error up to and including each, (k,): the
            height of the step that begins just above it.
        n: Number of models.
        minimum: Lowest error.
        mean: Mean error, weighted if the EDF is.
        median: Median error; of a weighted EDF, the lowest error that has at least half of the
            weight at or below it.
    """

    errors: FloatArray
    cumulative: FloatArray
    n: int
    minimum: float
    mean: float
    median: float

    @staticmethod
    def from_errors(errors: FloatArray, weights: FloatArray | None = None) -> "Edf":
        """Return the EDF of checked errors, (n,), and weights that sum to 1."""
        n = len(errors)
        mass = np.full(n, 1 / n) if weights is None else weights
        order = np.argsort(errors, kind="stable")
        distinct, first = np.unique(errors[order], return_index=True)
        cumulative = np.minimum(np.cumsum(np.add.reduceat(mass[order], first)), 1.0)
        cumulative[-1] = 1.0
        median = distinct[np.searchsorted(cumulative, 0.5 - 1e-12)]
        return Edf(
            errors=distinct,
            cumulative=cumulative,
            n=n,
            minimum=float(distinct[0]),
            mean=float(errors @ mass),
            median=float(np.median(errors) if weights is None else median),
        )

    def at(self, error: Numbers | float) -> FloatArray:
        """Return F at each error: the fraction of models strictly below it."""
        place = np.searchsorted(self.errors, np.asarray(error, dtype=np.float64), side="left")
        padded = np.concatenate([[0.0], self.cumulative])
        return np.asarray(padded[place], dtype=np.float64)

    def area(self, low: float, high: float) -> float:
        """Return the mean height between two errors: 1 where all models lie below `low`."""
        mass = np.diff(self.cumulative, prepend=0.0)
        return float(mass @ (high - np.clip(self.errors, low, high)) / (high - low))

    @property
    def legend(self) -> str:
        """The papers' legend, [minimum | mean]."""
        return f"[{self.minimum:.1f} | {self.mean:.1f}]"


@dataclass(frozen=True, eq=False)
class Band:
    """A simultaneous band: it contains all of F with probability `level`.

    Attributes:
        errors: Where the band is defined: the EDF's distinct errors, (k,).
        low: Lower edge of the step above each error, in 0 to 1, (k,).
        high: Upper edge, (k,).
        half_width: Half of the largest distance of the edges, before clipping to 0 and 1.
        level: Confidence level.
        method: How it was computed.
        start: Upper edge below the lowest error, where the EDF and the lower edge are 0.
    """

    errors: FloatArray
    low: FloatArray
    high: FloatArray
    half_width: float
    level: float
    method: str
    start: float


def edf(errors: Numbers, weights: Numbers | None = None) -> Edf:
    """Return the exact EDF of errors, in percent.

    Args:
        errors: One error per model, (n,); diverged models with chance error.
        weights: Weights (n,) that sum to 1, such as those of `normalized_weights`; None weighs
            every model 1 / n.

    Raises:
        InputError: Errors are missing or not finite, or weights are not a distribution over them.

    Example:
        >>> import designspace as ds
        >>> function = ds.edf([31.2, 30.1, 35.8])
        >>> function.minimum, function.n
        (30.1, 3)
    """
    values = as_float_array(errors, "errors")
    if weights is None:
        return Edf.from_errors(values)
    mass = as_float_array(weights, "weights")
    if len(mass) != len(values) or mass.min() < 0 or not math.isclose(mass.sum(), 1, abs_tol=1e-6):
        raise InputError(
            f"weights must be {len(values)} numbers, none negative, that sum to 1", "weights"
        )
    return Edf.from_errors(values, mass)


def normalized_weights(complexity: FloatArray, bins: int, low: float, high: float) -> FloatArray:
    """Weigh models so that complexity is uniform (NDS §3.3).

    The range is divided into equal bins; a model weighs 1 / (bins * models in its bin).

    Args:
        complexity: Flops, params or acts of each model, (n,), all within the range.
        bins: Number of bins.
        low: Lower end of the range.
        high: Upper end, which belongs to the last bin.

    Raises:
        InputError: A model lies outside the range, or a bin is empty.
    """
    place = bin_of(complexity, bins, low, high)
    counts = np.bincount(place, minlength=bins)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        width = (high - low) / bins
        start = low + width * int(empty[0])
        raise InputError(
            f"complexity: bin {int(empty[0]) + 1} of {bins} ({start:.4g} to {start + width:.4g}) "
            "contains no model; use fewer bins or a narrower range"
        )
    return 1.0 / (bins * counts[place])


def bin_of(values: FloatArray, bins: int, low: float, high: float) -> IntArray:
    """Return the equal-width bin of each value, (n,); the upper end is in the last bin.

    Raises:
        InputError: The range is empty, or a value lies outside it.
    """
    if bins < 1 or not low < high:
        raise InputError(f"complexity: low must be below high, bins above 0; {low}, {high}, {bins}")
    if values.min() < low or values.max() > high:
        raise InputError(f"complexity: a model lies outside {low:.6g} to {high:.6g}")
    place = np.floor((values - low) / (high - low) * bins).astype(np.int64)
    return np.minimum(place, bins - 1)


def normalized_band(
    errors: FloatArray,
    complexity: FloatArray,
    bins: int,
    low: float,
    high: float,
    level: float = 0.95,
    *,
    rng: np.random.Generator,
    repeats: int = 1000,
    points: int = 128,
) -> Band:
    """Bootstrap a simultaneous band for the complexity-normalized EDF.

    Models are redrawn within their bins; the half width is the `level` quantile of the largest
    distance between redrawn and observed EDF. The counts in each cell between `points` errors are
    redrawn, which has the same distribution and does not grow with n.

    Args:
        errors: One error per model, (n,).
        complexity: Their complexity, (n,).
        bins: As in `normalized_weights`.
        low: As in `normalized_weights`.
        high: As in `normalized_weights`.
        level: Confidence level.
        rng: Generator of the redraws.
        repeats: Number of redraws.
        points: Number of errors at which the distance is measured.
    """
    function = Edf.from_errors(errors, normalized_weights(complexity, bins, low, high))
    place = bin_of(complexity, bins, low, high)
    edges = np.unique(np.quantile(errors, np.linspace(0, 1, points)))
    cell = np.searchsorted(edges, errors, side="left")
    distance = np.zeros((repeats, len(edges)))
    for index in range(bins):
        counts = np.bincount(cell[place == index], minlength=len(edges))
        total = int(counts.sum())
        drawn = rng.multinomial(total, counts / total, size=repeats) - counts
        # Redrawn from few models the variance is too small by (total - 1) / total.
        correction = math.sqrt(total / max(1, total - 1))
        distance += np.cumsum(drawn, axis=1) * correction / (bins * total)
    half = float(np.quantile(np.abs(distance).max(axis=1), check_probability(level)))
    return _band(function, half, level, f"bootstrap within {bins} complexity bins")


def _band(function: Edf, half: float, level: float, method: str) -> Band:
    return Band(
        errors=function.errors,
        low=np.maximum(0.0, function.cumulative - half),
        high=np.minimum(1.0, function.cumulative + half),
        half_width=half,
        level=level,
        method=method,
        start=min(1.0, half),
    )
