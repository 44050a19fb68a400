"""Trade-offs of error against one cost: fronts, the best error within a cost, hypervolumes.

Spaces are compared by what k random models of each reach, as the front of a larger sample is ahead
by its size alone; k follows from the smallest population. Measured costs of different machines or
settings are never mixed: each setting has a trade-off of its own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np

from designspace.analysis.image_noise import image_noise
from designspace.analysis.normalized_edf import NormalizedEdfs, normalized_edfs
from designspace.analysis.population_results import PopulationResults
from designspace.arch import format_measured, format_quantity
from designspace.errors import InputError, counted, nearest
from designspace.runs.measurements import MeasuredSetting
from designspace.stats.arrays import FloatArray, IntArray
from designspace.stats.best_within_cost import (
    BestWithinCost,
    best_difference,
    best_within_cost,
    search_size,
)
from designspace.stats.edf_bands import DominanceRegion
from designspace.stats.hypervolume import (
    Box,
    Hypervolume,
    expected_hypervolume,
    hypervolume_difference,
)
from designspace.stats.intervals import Estimate
from designspace.stats.multiple_testing import holm
from designspace.stats.pareto import front_frequency, pareto_front

COUNTED = ("flops", "params", "acts")
MEASURED = ("latency", "memory")
MEASURES = (*COUNTED, *MEASURED)
NAMES = {
    "flops": "multiply-adds",
    "params": "parameters",
    "acts": "activations",
    "latency": "latency",
    "memory": "peak memory",
}
LEVEL = 0.95
# Costs at which the best error within them is estimated.
_LIMITS = 48
# With fewer models whose cost is known, a population is left out where another has so many.
_FEW = 24
# This share of each population's models lies below the reference point, in cost and in error.
_WITHIN = 0.98


@dataclass(frozen=True, eq=False)
class PopulationTradeOff:
    """The trade-off of one population.

    Attributes:
        name: Its name.
        n: Counted models whose cost is known.
        unknown: Counted models whose cost is unknown, left out.
        rows: Indices in the population of the models on the sample's front, by cost, (m,).
        costs: Their costs, (m,).
        errors: Their errors, (m,).
        frequency: How often each is on the front of bootstrap samples that contain it, (m,), with
            the noise of the validation images where their number is known.
        best: The error that half of the searches over k random models reach within each cost.
        hypervolume: Expected hypervolume of k random models, in points of error.
    """

    name: str
    n: int
    unknown: int
    rows: IntArray
    costs: FloatArray
    errors: FloatArray
    frequency: FloatArray
    best: BestWithinCost
    hypervolume: Hypervolume


@dataclass(frozen=True)
class TradeOffPair:
    """Two populations' trade-offs compared.

    Attributes:
        first: Name of the first.
        second: Name of the second.
        hypervolume: Difference of expected hypervolumes, second minus first, points, with its 95 %
            interval. Above 0 the second is better.
        p: Of no difference, two-sided, corrected by Holm's method over the pairs.
        regions: Ranges of cost in which one is shown to reach lower errors; simultaneous.
    """

    first: str
    second: str
    hypervolume: Estimate
    p: float
    regions: tuple[DominanceRegion, ...]

    @property
    def better(self) -> str | None:
        """Which of the two has the larger hypervolume, or None where that is not shown."""
        if self.p >= 1 - LEVEL:
            return None
        return self.second if self.hypervolume.value > 0 else self.first


@dataclass(frozen=True, eq=False)
class TradeOff:
    """Error against one cost, for several populations.

    Attributes:
        measure: flops, params, acts, latency (seconds) or memory (bytes).
        setting: What a measured cost was measured on, and how, or None.
        box: Range of cost, and the reference point of hypervolumes.
        k: Number of models of a search, the same for all populations.
        populations: Those whose cost is known.
        pairs: Every two of them.
        edfs: Their error distributions at equal cost, or None where too few share a range.
        notes: What limits the results.
    """

    measure: str
    setting: MeasuredSetting | None
    box: Box
    k: int
    populations: tuple[PopulationTradeOff, ...]
    pairs: tuple[TradeOffPair, ...]
    edfs: NormalizedEdfs | None
    notes: tuple[str, ...]

    @property
    def cost(self) -> str:
        """The cost in words."""
        return NAMES[self.measure]

    def format(self, value: float) -> str:
        """Return a cost with its unit."""
        return format_cost(self.measure, value)


def format_cost(measure: str, value: float) -> str:
    """Return a cost with its unit: 400.1M, 2.31ms, 12.3MB."""
    return format_measured(value, measure) if measure in MEASURED else format_quantity(value)


def parse_measures(against: str | Sequence[str]) -> tuple[str, ...]:
    """Return the costs that are named, each once: one, several, or several with commas.

    Raises:
        InputError: One of them is unknown.
    """
    listed = [against] if isinstance(against, str) else against
    names = [name.strip() for one in listed for name in one.split(",")]
    for name in names:
        if name not in MEASURES:
            raise InputError(f"against is {name!r}; {nearest(name, list(MEASURES))}", "against")
    return tuple(dict.fromkeys(names))


def trade_offs(
    populations: Sequence[PopulationResults], against: str | Sequence[str]
) -> tuple[TradeOff, ...]:
    """Return the trade-offs of error against each cost: of a measured one, for each setting.

    Args:
        populations: The results of each.
        against: flops, params, acts, latency or memory; one or several.

    Raises:
        InputError: A cost is unknown of all populations, or does not vary.
    """
    result = []
    for measure in parse_measures(against):
        settings = _settings(populations, measure)
        parts = [_trade_off(populations, measure, setting) for setting in settings]
        possible = [part for part in parts if part is not None]
        if not possible:
            raise InputError(
                f"against is {measure!r}; {_why_none(populations, measure)}", "against"
            )
        result += possible
    return tuple(result)


def one_trade_off(
    results: PopulationResults, against: str, setting: Mapping[str, Any] | None = None
) -> TradeOff:
    """Return the trade-off of one population and one setting.

    Args:
        results: The population.
        against: One cost.
        setting: Fields of the setting that a cost was measured on, where there are several.

    Raises:
        InputError: The cost is unknown, or not exactly one setting matches; the message lists those
            there are.
    """
    names = [entry.name for entry in fields(MeasuredSetting)]
    for name in setting or ():
        if name not in names:
            raise InputError(f"setting has {name!r}; {nearest(name, names)}", "setting")
    every = trade_offs([results], against)
    matching = [
        one for one in every if one.setting is None or one.setting.matches(dict(setting or {}))
    ]
    if len(matching) != 1:
        listed = "; ".join(str(one.setting) for one in (matching or every))
        problem = "several settings match" if matching else "no setting matches"
        raise InputError(
            f"setting is {dict(setting or {})}; {problem}, and one is needed. Measured: {listed}",
            "setting",
        )
    return matching[0]


def _settings(
    populations: Sequence[PopulationResults], measure: str
) -> tuple[MeasuredSetting | None, ...]:
    """Return the settings of a cost, those of the most populations first; None for counted ones."""
    if measure in COUNTED:
        return (None,)
    counts = Counter(setting for results in populations for setting in results.measured)
    return tuple(setting for setting, _ in counts.most_common())


def _why_none(populations: Sequence[PopulationResults], measure: str) -> str:
    names = ", ".join(results.name for results in populations)
    if not any(results.counted.any() for results in populations):
        return f"no model of {names} has been trained yet"
    if measure in COUNTED:
        return f"it is unknown of two models of {names}, or all have the same"
    return f"two models of {names} must have been measured; `designspace measure RUN` measures them"


def _rows_with_cost(
    results: PopulationResults, measure: str, setting: MeasuredSetting | None
) -> IntArray:
    """Return the indices of the counted models whose cost is known."""
    costs = results.cost(measure, setting)
    return np.flatnonzero(results.counted & np.isfinite(costs) & (costs > 0)).astype(np.int64)


def _trade_off(
    populations: Sequence[PopulationResults], measure: str, setting: MeasuredSetting | None
) -> TradeOff | None:
    rows = [_rows_with_cost(results, measure, setting) for results in populations]
    least = _FEW if max(map(len, rows)) >= _FEW else 2
    pairs = zip(populations, rows, strict=True)
    included = [(results, with_cost) for results, with_cost in pairs if len(with_cost) >= least]
    if not included:
        return None
    costs = [results.cost(measure, setting)[with_cost] for results, with_cost in included]
    box = _box(included, costs)
    if not box.low < box.high:
        return None
    k = search_size(min(map(len, costs)))
    limits = np.geomspace(box.low, box.high, _LIMITS)
    parts = tuple(
        _population(results, with_cost, cost, box, k, limits)
        for (results, with_cost), cost in zip(included, costs, strict=True)
    )
    return TradeOff(
        measure,
        setting,
        box,
        k,
        parts,
        _pairs(parts),
        normalized_edfs([results for results, _ in included], measure, LEVEL, setting),
        _notes(populations, included, measure, setting),
    )


def _box(
    included: Sequence[tuple[PopulationResults, IntArray]], costs: Sequence[FloatArray]
) -> Box:
    """Return the range that holds 98 % of each population: outliers would stretch it."""
    errors = []
    for results, with_cost in included:
        complete = with_cost[results.states[with_cost] == "complete"]
        errors.append(results.errors[complete if len(complete) else with_cost])
    return Box(
        low=min(float(np.quantile(cost, 1 - _WITHIN)) for cost in costs),
        high=max(float(np.quantile(cost, _WITHIN)) for cost in costs),
        error=max(float(np.quantile(error, _WITHIN)) for error in errors),
    )


def _population(
    results: PopulationResults,
    with_cost: IntArray,
    costs: FloatArray,
    box: Box,
    k: int,
    limits: FloatArray,
) -> PopulationTradeOff:
    errors, rng = results.errors[with_cost], np.random.default_rng(0)
    noise = image_noise(results)
    frequency = front_frequency(costs, errors, 0.0 if noise is None else noise.std, rng=rng)
    front = np.flatnonzero(pareto_front(costs, errors))
    front = front[np.argsort(costs[front], kind="stable")]
    return PopulationTradeOff(
        name=results.name,
        n=len(with_cost),
        unknown=int(results.counted.sum()) - len(with_cost),
        rows=with_cost[front],
        costs=costs[front],
        errors=errors[front],
        frequency=frequency[front],
        best=best_within_cost(costs, errors, limits, k, LEVEL, rng=rng),
        hypervolume=expected_hypervolume(costs, errors, k, box),
    )


def _pairs(parts: Sequence[PopulationTradeOff]) -> tuple[TradeOffPair, ...]:
    pairs = list(combinations(parts, 2))
    compared = [hypervolume_difference(a.hypervolume, b.hypervolume, LEVEL) for a, b in pairs]
    p_values = holm([p for _, p in compared])
    return tuple(
        TradeOffPair(a.name, b.name, difference, p, best_difference(a.best, b.best).regions)
        for (a, b), (difference, _), p in zip(pairs, compared, p_values, strict=True)
    )


def _notes(
    populations: Sequence[PopulationResults],
    included: Sequence[tuple[PopulationResults, IntArray]],
    measure: str,
    setting: MeasuredSetting | None,
) -> tuple[str, ...]:
    """Say what was left out: populations, models, other settings; and what was noisy."""
    kept = {results.name for results, _ in included}
    notes = []
    for results in populations:
        if results.name not in kept:
            notes.append(f"{results.name} is left out: {_why_left_out(results, measure, setting)}")
    for results, with_cost in included:
        rows = results.rows
        if len(with_cost) < len(rows):
            notes.append(_partly(results, with_cost, measure))
        noisy = results.cost("noisy", setting)[with_cost] if setting else np.zeros(0)
        if noisy.any():
            notes.append(
                f"{results.name}: the times of {int(noisy.sum())} of {len(with_cost)} models are "
                "noisy, and less certain"
            )
    return tuple(f"{note}." for note in notes)


def _why_left_out(results: PopulationResults, measure: str, setting: MeasuredSetting | None) -> str:
    if count := len(_rows_with_cost(results, measure, setting)):
        few = counted(count, "model")
        return f"{measure} known of {few} only, and beside the others {_FEW} are needed"
    if measure in COUNTED:
        return f"its models' {NAMES[measure]} are unknown"
    if not results.measured:
        return "none of its models has been measured"
    settings = "; ".join(map(str, results.measured))
    return f"it was measured in another setting, which is not mixed with this one ({settings})"


def _partly(results: PopulationResults, with_cost: IntArray, measure: str) -> str:
    rows = results.rows
    text = f"{results.name}: {measure} known of {len(with_cost)} of {len(rows)} models"
    if not np.array_equal(with_cost, rows[: len(with_cost)]):
        text += (
            ", which are not the first ones sampled: were they chosen by error, its curve is too "
            "good"
        )
    return text
