"""Which parameters matter: trends of the error, importance of each axis, pairs among the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from designspace.stats.arrays import (
    FloatArray,
    IntArray,
    Numbers,
    as_float_array,
    check_probability,
)
from designspace.stats.comparison import Estimate, holm

# A parameter with more distinct values than this is cut into as many bins of equal count.
MOST_BINS = 8
_REPEATS = 400
_CHUNK = 1 << 21
_MOST_DRAWS = 1 << 23


@dataclass(frozen=True, eq=False)
class ParameterTrend:
    """How the error goes with one parameter.

    Attributes:
        name: The parameter.
        rank_correlation: Spearman's, of parameter and error, with its interval; above 0, larger
            values go with more error.
        p: p-value of no monotone trend, corrected by Holm's method over the parameters.
        importance: Share of the variance of the error's rank that the parameter alone explains, by
            means of bins, corrected for their number (epsilon squared, Kelley 1935), with its
            interval. Ranks, so that a few diverged models don't decide it.
        centers: Median parameter value in each bin, (k,).
        medians: Median error in each bin, (k,).
        counts: Models in each bin, (k,).
    """

    name: str
    rank_correlation: Estimate
    p: float
    importance: Estimate
    centers: FloatArray
    medians: FloatArray
    counts: IntArray


@dataclass(frozen=True)
class ParameterCorrelation:
    """Two parameters that go together among the best models.

    Attributes:
        first: One parameter.
        second: The other.
        best: Spearman correlation among the best models.
        all: The same among all models, which the budget alone may bring about.
        p: p-value of no difference between the two, corrected by Holm's method over all pairs.
    """

    first: str
    second: str
    best: float
    all: float
    p: float


def parameter_trends(
    parameters: Mapping[str, Numbers],
    errors: Numbers,
    level: float = 0.95,
    *,
    rng: np.random.Generator | None = None,
) -> tuple[ParameterTrend, ...]:
    """Return the trend of each parameter that varies, the most important first.

    Args:
        parameters: Named values, each (n,), n at least 4.
        errors: The errors, (n,).
        level: Level of the intervals.
        rng: Generator of the bootstrap; None is a fixed one.
    """
    from scipy.stats import rankdata, spearmanr

    checked = as_float_array(errors, "errors", 4)
    rng = np.random.default_rng(0) if rng is None else rng
    columns = {name: as_float_array(values, name, 4) for name, values in parameters.items()}
    columns = {name: v for name, v in columns.items() if v.min() < v.max()}
    if not columns or checked.min() == checked.max():
        return ()
    tests = [spearmanr(values, checked) for values in columns.values()]
    adjusted = holm([float(test.pvalue) for test in tests])
    places = [bins_of(values) for values in columns.values()]
    explained = importances(places, rankdata(checked), level, rng)
    found = []
    for i, (name, values) in enumerate(columns.items()):
        counts = np.bincount(places[i])
        found.append(
            ParameterTrend(
                name=name,
                rank_correlation=_fisher(float(tests[i].statistic), len(checked), level),
                p=adjusted[i],
                importance=explained[i],
                centers=_by_bin(values, places[i]),
                medians=_by_bin(checked, places[i]),
                counts=counts.astype(np.int64),
            )
        )
    return tuple(sorted(found, key=lambda trend: -trend.importance.value))


def bins_of(values: FloatArray) -> IntArray:
    """Return the bin of each value, (n,), numbered without gaps from the lowest.

    Few distinct values are a bin each; more are cut at quantiles, equal values together.
    """
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) > MOST_BINS:
        edges = np.unique(np.quantile(values, np.arange(1, MOST_BINS) / MOST_BINS))
        place = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]
    return place.astype(np.int64)


def importances(
    places: Sequence[IntArray], values: FloatArray, level: float, rng: np.random.Generator
) -> tuple[Estimate, ...]:
    """Return the share of the values' variance between bins, epsilon squared, of each binning.

    The intervals are of the bootstrap over models. Redrawing adds as much between bins by chance as
    is there already, so redrawn values are corrected twice. Ends are cut at 0 and 1.
    """
    tails = ((1 - check_probability(level)) / 2, (1 + level) / 2)
    n = len(values)
    centered = values - values.mean()
    repeats = max(100, min(_REPEATS, _MOST_DRAWS // n))
    rows = max(1, _CHUNK // n)
    drawn = np.empty((len(places), repeats))
    for start in range(0, repeats, rows):
        part = slice(start, min(start + rows, repeats))
        weights = np.stack(
            [
                np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
                for _ in range(part.start, part.stop)
            ]
        )
        for i, place in enumerate(places):
            drawn[i, part] = _between(weights, place, centered)
    found = []
    for place, shares in zip(places, drawn, strict=True):
        bins = int(place.max()) + 1
        chance = (bins - 1) / max(1, n - bins)
        observed = float(_between(np.ones((1, n)), place, centered)[0])
        value = observed - chance * (1 - observed)
        low, high = np.quantile(shares - 2 * chance * (1 - shares), tails)
        ends = np.clip([value, min(low, value), max(high, value)], 0.0, 1.0)
        found.append(Estimate(*(float(end) for end in ends)))
    return tuple(found)


def correlated_parameters(
    parameters: Mapping[str, Numbers], errors: Numbers, share: float = 0.25, least: int = 10
) -> tuple[ParameterCorrelation, ...]:
    """Return how parameters go together among the best share of the models, strongest first.

    The correlation among the best is tested against that among the others (Fisher's z): what a
    budget brings about in all models is no finding about the best.
    """
    checked = as_float_array(errors, "errors")
    n = len(checked)
    size = int(n * check_probability(share, "share"))
    if size < least or n - size < least:
        return ()
    order = np.argsort(checked, kind="stable")
    best, rest = order[:size], order[size:]
    columns = {name: as_float_array(values, name) for name, values in parameters.items()}
    names = [
        name
        for name, values in columns.items()
        if np.ptp(values[best]) > 0 and np.ptp(values[rest]) > 0
    ]
    if len(names) < 2:
        return ()
    matrix = np.stack([columns[name] for name in names])
    among = [_rank_correlations(matrix[:, rows]) for rows in (best, rest, order)]
    spread = math.sqrt(1.06 / (size - 3) + 1.06 / (n - size - 3))
    chosen = list(combinations(range(len(names)), 2))
    gaps = [_z(among[0][i, j]) - _z(among[1][i, j]) for i, j in chosen]
    p = holm([math.erfc(abs(gap) / spread / math.sqrt(2)) for gap in gaps])
    found = [
        ParameterCorrelation(names[i], names[j], float(among[0][i, j]), float(among[2][i, j]), p[k])
        for k, (i, j) in enumerate(chosen)
    ]
    return tuple(sorted(found, key=lambda pair: (pair.p, -abs(pair.best - pair.all))))


def _by_bin(values: FloatArray, place: IntArray) -> FloatArray:
    """Median of the values in each bin."""
    return np.array([np.median(values[place == k]) for k in range(int(place.max()) + 1)])


def _between(weights: FloatArray, place: IntArray, values: FloatArray) -> FloatArray:
    """Share of the weighted variance that lies between bins, a row of weights each."""
    rows, bins = len(weights), int(place.max()) + 1
    cells = (place + bins * np.arange(rows)[:, None]).ravel()
    counts = np.bincount(cells, weights.ravel(), minlength=rows * bins).reshape(rows, bins)
    weighted = (weights * values).ravel()
    sums = np.bincount(cells, weighted, minlength=rows * bins).reshape(rows, bins)
    total = counts.sum(axis=1)
    mean = sums.sum(axis=1) / total
    square = weights @ values**2 / total - mean**2
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where(counts > 0, sums**2 / counts, 0.0).sum(axis=1) / total - mean**2
        shares = np.where(square > 0, between / square, 0.0)
    return np.asarray(np.clip(shares, 0.0, 1.0))


def _fisher(correlation: float, n: int, level: float) -> Estimate:
    """Interval of a rank correlation by Fisher's z; variance 1.06 / (n - 3) (Fieller 1957)."""
    from scipy.stats import norm

    reach = float(norm.ppf((1 + level) / 2)) * math.sqrt(1.06 / max(1, n - 3))
    low, high = (math.tanh(_z(correlation) + sign * reach) for sign in (-1, 1))
    return Estimate(correlation, low, high)


def _z(correlation: float) -> float:
    return math.atanh(min(max(correlation, -1 + 1e-12), 1 - 1e-12))


def _rank_correlations(matrix: FloatArray) -> FloatArray:
    """Spearman correlations between rows."""
    from scipy.stats import rankdata

    return np.asarray(np.corrcoef(rankdata(matrix, axis=1)))
