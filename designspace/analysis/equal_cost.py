"""What size alone explains: pairs compared at equal cost or depth, importance at equal cost.

A design space that only draws larger networks is not a better one. For each pair of populations the
difference of means is estimated again with one control held fixed: multiply-adds, parameters,
activations, depth, last width, or latency where it was measured. Where enough models have a partner
of nearly the same value, they are matched; where the populations at least overlap, error is
regressed on the control's logarithm; where they don't, no comparison at equal cost exists, and that
is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from designspace.analysis.importance import bins_of, importances
from designspace.analysis.population_results import PopulationResults
from designspace.stats.arrays import FloatArray, IntArray
from designspace.stats.intervals import Estimate, mean_interval
from designspace.stats.regression import adjusted_difference

# Partners differ by at most this ratio.
CALIPER = 1.1
# Widths of 80 and 88 are partners, whichever way a processor rounds their logarithms.
_ROUNDING = 1e-9
# Pairs that matching needs, and models of each in the common range that regression needs.
MIN_PAIRS = 16
MIN_COMMON = 10
# Populations whose median costs differ by more are of unequal cost.
UNEQUAL = 1.25
COSTS = ("flops", "params", "acts")
NAMES = {"flops": "multiply-adds", "params": "parameters", "acts": "activations"}
Method = Literal["matching", "regression"]


@dataclass(frozen=True)
class ControlledDifference:
    """The difference of two populations' mean errors with one control held fixed.

    Attributes:
        control: What is held fixed: multiply-adds, parameters, activations, depth, last width.
        ratio: Median of the second over that of the first.
        method: `matching` of models within 10 %, `regression` on the logarithm within the common
            range, or None where the populations can't be compared at equal values.
        difference: Second minus first, percent, with its 95 % interval; None without a method.
        n: Pairs that were matched, or models of each in the common range.
        explains: Whether the control explains the difference: without it zero is excluded, with it
            not, and the estimate at most half as large.
    """

    control: str
    ratio: float
    method: Method | None
    difference: Estimate | None
    n: tuple[int, ...]
    explains: bool


@dataclass(frozen=True)
class ControlImportance:
    """Fraction of the variance of the error's rank that one control alone explains.

    Attributes:
        control: multiply-adds, parameters, activations, depth, last width.
        importance: The fraction with its 95 % interval.
    """

    control: str
    importance: Estimate


def controls_of(results: PopulationResults) -> dict[str, FloatArray]:
    """Return the controls of the counted models, each (n,), as far as they are known and above 0.

    Ratios and logarithms are taken of them.
    """
    columns = {NAMES[cost]: results.costs[cost] for cost in COSTS if cost in results.costs}
    if results.bodies is not None:
        described = results.has_body
        depth = results.bodies.depths.sum(axis=1)
        last = results.bodies.widths[:, -1]
        columns["depth"] = np.where(described, depth, np.nan)
        columns["last width"] = np.where(described, last, np.nan)
    counted = {name: values[results.counted] for name, values in columns.items()}
    return {name: v for name, v in counted.items() if len(v) and _above_zero(v)}


def _above_zero(values: FloatArray) -> bool:
    return bool((np.isfinite(values) & (values > 0)).all())


def unequal_costs(first: PopulationResults, second: PopulationResults) -> tuple[str, ...]:
    """Return the costs whose medians differ by more than a quarter, if no cost is equal.

    One budget holds one cost equal; how the others differ is part of what a space is like.
    """
    a, b = controls_of(first), controls_of(second)
    names = [NAMES[cost] for cost in ("flops", "params") if NAMES[cost] in a.keys() & b.keys()]
    ratios = {name: float(np.median(b[name]) / np.median(a[name])) for name in names}
    unequal = tuple(name for name, r in ratios.items() if max(r, 1 / r) > UNEQUAL)
    return unequal if len(unequal) == len(ratios) else ()


def controlled_differences(
    first: PopulationResults, second: PopulationResults, raw: Estimate
) -> tuple[ControlledDifference, ...]:
    """Return the difference of mean errors with each control held fixed."""
    a, b = controls_of(first), controls_of(second)
    for setting in first.measured:
        times = [r.cost("latency", setting)[r.counted] for r in (first, second)]
        if "latency" not in a and all(map(_above_zero, times)):
            a["latency"], b["latency"] = times
    return tuple(
        _controlled(name, (first.counted_errors, second.counted_errors), (a[name], b[name]), raw)
        for name in a
        if name in b
    )


def _controlled(
    control: str,
    errors: tuple[FloatArray, FloatArray],
    values: tuple[FloatArray, FloatArray],
    raw: Estimate,
) -> ControlledDifference:
    logs = np.log(values[0]), np.log(values[1])
    method: Method | None = None
    difference: Estimate | None = None
    low, high = max(v.min() for v in logs), min(v.max() for v in logs)
    common = tuple((v >= low) & (v <= high) for v in logs)
    n: tuple[int, ...] = tuple(int(mask.sum()) for mask in common)
    pairs = match(logs[0], logs[1], float(np.log(CALIPER)) + _ROUNDING)
    if len(pairs) >= MIN_PAIRS:
        method, n = "matching", (len(pairs),)
        paired = errors[1][pairs[:, 1]] - errors[0][pairs[:, 0]]
        difference = mean_interval(paired)
    elif min(n) >= MIN_COMMON:
        method = "regression"
        a, b = (e[mask] for e, mask in zip(errors, common, strict=True))
        difference = adjusted_difference(a, b, logs[0][common[0]], logs[1][common[1]])
    explains = (
        difference is not None
        and raw.low * raw.high > 0
        and difference.low * difference.high <= 0
        and abs(difference.value) <= abs(raw.value) / 2
    )
    ratio = float(np.median(values[1]) / np.median(values[0]))
    return ControlledDifference(control, ratio, method, difference, n, explains)


def match(first: FloatArray, second: FloatArray, caliper: float) -> IntArray:
    """Pair values that differ by at most the caliper, each used once: rows and columns, (k, 2).

    Both are walked through in ascending order, which pairs as many as possible.
    """
    order = np.argsort(first, kind="stable"), np.argsort(second, kind="stable")
    pairs, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        gap = second[order[1][j]] - first[order[0][i]]
        if abs(gap) <= caliper:
            pairs.append((order[0][i], order[1][j]))
            i, j = i + 1, j + 1
        elif gap > 0:
            i += 1
        else:
            j += 1
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def control_importances(results: PopulationResults) -> tuple[ControlImportance, ...]:
    """Return how much of the variation of the error each control alone explains."""
    from scipy.stats import rankdata

    errors = results.counted_errors
    columns = {name: v for name, v in controls_of(results).items() if v.min() < v.max()}
    if len(errors) < 8 or errors.min() == errors.max():
        return ()
    places = [bins_of(values) for values in columns.values()]
    shares = importances(places, rankdata(errors), 0.95, np.random.default_rng(0))
    return tuple(ControlImportance(*pair) for pair in zip(columns, shares, strict=True))


def importance_at_equal_cost(
    results: PopulationResults, parameters: Mapping[str, FloatArray]
) -> dict[str, Estimate]:
    """Return each parameter's importance once multiply-adds and parameters are held fixed.

    The error's rank is regressed on the ranks of both and their squares; the importance is that of
    what is left. It is too low where a parameter and the cost are nearly the same thing.
    """
    from scipy.stats import rankdata

    errors = results.counted_errors
    controls = controls_of(results)
    costs = [controls[NAMES[cost]] for cost in ("flops", "params") if NAMES[cost] in controls]
    costs = [values for values in costs if values.min() < values.max()]
    varying = {
        name: values
        for name, values in parameters.items()
        if np.isfinite(values).all() and values.min() < values.max()
    }
    if not costs or not varying or len(errors) < 8 or errors.min() == errors.max():
        return {}
    ranks = np.stack([rankdata(values) / len(errors) for values in costs], axis=1)
    basis = np.column_stack([np.ones(len(errors)), ranks, ranks**2])
    target = rankdata(errors)
    left = target - basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
    places = [bins_of(values) for values in varying.values()]
    share = float(left.var() / target.var())
    shares = importances(places, left, 0.95, np.random.default_rng(0))
    return {
        name: Estimate(one.value * share, one.low * share, one.high * share)
        for name, one in zip(varying, shares, strict=True)
    }
