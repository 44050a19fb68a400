"""Which parameters matter: trends of the error, importance, and correlations among the best."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from designspace.stats.arrays import FloatArray, IntArray
from designspace.stats.intervals import Estimate, spearman_interval
from designspace.stats.multiple_testing import holm
from designspace.stats.range_of_best import group_by_known

# With fewer models, a parameter has no trend.
MIN_MODELS = 8
# A parameter with more distinct values is divided into this many bins of equal count, or fewer, so
# that each has three models.
MAX_BINS = 8
_MODELS_PER_BIN = 3
_REPEATS = 400
_PERMUTATIONS = 999
_CHUNK = 1 << 21
_MAX_DRAWS = 1 << 23


@dataclass(frozen=True, eq=False)
class ParameterTrend:
    """How the error depends on one parameter.

    Attributes:
        name: The parameter.
        rank_correlation: Spearman's, of parameter and error, with its interval; above 0, larger
            values have higher error. NaN of a parameter without an order, such as the activation.
        p: p-value of no monotone trend, or of equal errors of all names by Kruskal and Wallis'
            test where there is no order, with Holm's correction over the parameters.
        importance: Fraction of the variance of the error's rank that the parameter alone explains,
            by means of bins, corrected for their number (epsilon squared, Kelley 1935), with its
            interval. Ranks, so that a few diverged models don't dominate.
        centers: Median parameter value in each bin, (k,). Without an order, each value is a bin.
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
    """Two parameters that are correlated among the best models: a description, not a finding.

    Where only one of the two matters, choosing the best restricts its range, which changes its
    correlation with the other as well.

    Attributes:
        first: One parameter.
        second: The other.
        best: Spearman correlation among the best models.
        all: The same among all models, which the budget alone may cause.
        p: p-value of "errors have nothing to do with the parameters", by permutation of the errors,
            corrected over all pairs (Westfall and Young's maximum).
    """

    first: str
    second: str
    best: float
    all: float
    p: float


def parameter_trends(
    parameters: Mapping[str, FloatArray],
    errors: FloatArray,
    level: float = 0.95,
    *,
    categories: Collection[str] = (),
    rng: np.random.Generator | None = None,
) -> tuple[ParameterTrend, ...]:
    """Return the trend of each parameter that varies, the most important first.

    Args:
        parameters: Named values, each (n,), NaN where unknown.
        errors: The errors, (n,).
        level: Level of the intervals.
        categories: Parameters without an order, whose values stand for names.
        rng: Generator of the bootstrap; None uses a fixed seed.
    """
    from scipy.stats import rankdata

    rng = np.random.default_rng(0) if rng is None else rng
    trends: list[ParameterTrend] = []
    for names, known in group_by_known(parameters):
        y = errors[known]
        columns = {name: parameters[name][known] for name in names}
        columns = {name: x for name, x in columns.items() if x.min() < x.max()}
        if len(y) < MIN_MODELS or y.min() == y.max():
            continue
        ordered = [name not in categories for name in columns]
        places = [
            bins_of(x) if order else _each_value(x)
            for order, x in zip(ordered, columns.values(), strict=True)
        ]
        explained = importances(places, rankdata(y), level, rng)
        for i, (name, x) in enumerate(columns.items()):
            correlation, p = _rank_test(x, y, level) if ordered[i] else _kruskal_test(places[i], y)
            trends.append(
                ParameterTrend(
                    name=name,
                    rank_correlation=correlation,
                    p=p,
                    importance=explained[i],
                    centers=_median_by_bin(x, places[i]),
                    medians=_median_by_bin(y, places[i]),
                    counts=np.bincount(places[i]).astype(np.int64),
                )
            )
    adjusted = holm([trend.p for trend in trends])
    trends = [replace(trend, p=p) for trend, p in zip(trends, adjusted, strict=True)]
    return tuple(sorted(trends, key=lambda trend: -trend.importance.value))


def bins_of(values: FloatArray) -> IntArray:
    """Return the bin of each value, (n,), numbered without gaps from the lowest.

    Few distinct values are a bin each; more are divided at quantiles, equal values together. With a
    bin for each of 8 models, any parameter would explain all: there are n / 3 bins at most.
    """
    distinct, place = np.unique(values, return_inverse=True)
    most = max(2, min(MAX_BINS, len(values) // _MODELS_PER_BIN))
    if len(distinct) > most:
        edges = np.unique(np.quantile(values, np.arange(1, most) / most))
        edges = edges[edges < distinct[-1]]
        edges = edges if len(edges) else distinct[-2:-1]
        place = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]
    return place.astype(np.int64)


def _each_value(values: FloatArray) -> IntArray:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _rank_test(values: FloatArray, errors: FloatArray, level: float) -> tuple[Estimate, float]:
    """Return Spearman's rank correlation and its p-value."""
    from scipy.stats import spearmanr

    test = spearmanr(values, errors)
    return spearman_interval(float(test.statistic), len(errors), level), float(test.pvalue)


def _kruskal_test(place: IntArray, errors: FloatArray) -> tuple[Estimate, float]:
    """Return no rank correlation, and the p-value of equal errors in all bins."""
    from scipy.stats import kruskal

    groups = [errors[place == k] for k in range(int(place.max()) + 1)]
    return Estimate(np.nan, np.nan, np.nan), float(kruskal(*groups).pvalue)


def importances(
    places: Sequence[IntArray], values: FloatArray, level: float, rng: np.random.Generator
) -> tuple[Estimate, ...]:
    """Return the fraction of the variance between bins, epsilon squared, of each binning.

    Intervals are by the bootstrap over models. Redrawing adds as much variance between bins by
    chance as there is already, so redrawn values are corrected twice. Ends are clipped to 0 and 1.
    """
    tails = ((1 - level) / 2, (1 + level) / 2)
    n = len(values)
    centered = values - values.mean()
    repeats = max(100, min(_REPEATS, _MAX_DRAWS // n))
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
    estimates = []
    for place, shares in zip(places, drawn, strict=True):
        bins = int(place.max()) + 1
        chance = (bins - 1) / max(1, n - bins)
        observed = float(_between(np.ones((1, n)), place, centered)[0])
        value = observed - chance * (1 - observed)
        low, high = np.quantile(shares - 2 * chance * (1 - shares), tails)
        ends = np.clip([value, min(low, value), max(high, value)], 0.0, 1.0)
        estimates.append(Estimate(*ends.tolist()))
    return tuple(estimates)


def correlated_parameters(
    parameters: Mapping[str, FloatArray],
    errors: FloatArray,
    share: float = 0.25,
    min_models: int = 10,
) -> tuple[ParameterCorrelation, ...]:
    """Return how parameters correlate among the best fraction of the models, strongest first.

    Parameters that are unknown of some models are left out.

    The correlation among the best is compared with that among the others (Fisher's z), as a budget
    causes correlations in all models. The test permutes the errors.
    """
    n = len(errors)
    size = int(n * share)
    if size < min_models or n - size < min_models:
        return ()
    order = np.argsort(errors, kind="stable")
    best, rest = order[:size], order[size:]
    columns = {
        name: values
        for name, values in parameters.items()
        if np.ptp(values[best]) > 0 and np.ptp(values[rest]) > 0
    }
    if len(columns) < 2:
        return ()
    names, matrix = list(columns), np.stack(list(columns.values()))
    in_best, in_all = (_rank_correlations(matrix[:, rows]) for rows in (best, order))
    pairs = list(combinations(range(len(names)), 2))
    p = _permutation_p(matrix, pairs, best)
    correlations = [
        ParameterCorrelation(
            names[i], names[j], float(in_best[i, j]), float(in_all[i, j]), float(p[k])
        )
        for k, (i, j) in enumerate(pairs)
    ]
    return tuple(sorted(correlations, key=lambda pair: (pair.p, -abs(pair.best - pair.all))))


def _permutation_p(
    matrix: FloatArray, pairs: Sequence[tuple[int, int]], best: IntArray
) -> FloatArray:
    """p-value of each pair's |difference of Fisher's z| between best and rest, (pairs,)."""
    from scipy.stats import rankdata

    n, size = matrix.shape[1], len(best)
    rng = np.random.default_rng(0)
    masks = np.zeros((_PERMUTATIONS + 1, n))
    masks[0, best] = 1
    for row in masks[1:]:
        row[rng.permutation(n)[:size]] = 1
    ranks = rankdata(matrix, axis=1)
    ranks = (ranks - ranks.mean(axis=1, keepdims=True)) / ranks.std(axis=1, keepdims=True)
    first, second = (ranks[[pair[side] for pair in pairs]] for side in (0, 1))
    z = []
    for chosen, count in ((masks, size), (1 - masks, n - size)):
        mean, square = chosen @ ranks.T / count, chosen @ (ranks**2).T / count
        std = np.sqrt(np.maximum(square - mean**2, 1e-12))
        i, j = ([pair[side] for pair in pairs] for side in (0, 1))
        covariance = chosen @ (first * second).T / count - mean[:, i] * mean[:, j]
        limit = 1 - 1e-9
        z.append(np.arctanh(np.clip(covariance / (std[:, i] * std[:, j]), -limit, limit)))
    distance = np.abs(z[0] - z[1])
    largest = np.sort(distance[1:].max(axis=1))
    at_least = _PERMUTATIONS - np.searchsorted(largest, distance[0] * (1 - 1e-9), side="left")
    return np.asarray((at_least + 1) / (_PERMUTATIONS + 1))


def _median_by_bin(values: FloatArray, place: IntArray) -> FloatArray:
    return np.array([np.median(values[place == k]) for k in range(int(place.max()) + 1)])


def _between(weights: FloatArray, place: IntArray, values: FloatArray) -> FloatArray:
    """Fraction of the weighted variance that lies between bins, one per row of weights."""
    rows, bins = len(weights), int(place.max()) + 1
    cells = (place + bins * np.arange(rows)[:, None]).ravel()
    counts = np.bincount(cells, weights.ravel(), minlength=rows * bins).reshape(rows, bins)
    weighted = (weights * values).ravel()
    sums = np.bincount(cells, weighted, minlength=rows * bins).reshape(rows, bins)
    total = counts.sum(axis=1)
    mean = sums.sum(axis=1) / total
    variance = weights @ values**2 / total - mean**2
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where(counts > 0, sums**2 / counts, 0.0).sum(axis=1) / total - mean**2
        shares = np.where(variance > 0, between / variance, 0.0)
    return np.asarray(np.clip(shares, 0.0, 1.0))


def _rank_correlations(matrix: FloatArray) -> FloatArray:
    """Spearman correlations between rows."""
    from scipy.stats import rankdata

    return np.asarray(np.corrcoef(rankdata(matrix, axis=1)))
