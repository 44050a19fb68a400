"""Complexity-normalized EDFs: populations compared at equal complexity (NDS §3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from designspace.analysis.population_results import PopulationResults
from designspace.runs.measurements import MeasuredSetting
from designspace.stats.arrays import FloatArray
from designspace.stats.edf import Band, Edf, bin_of, normalized_band, normalized_weights

_BINS = (10, 8, 6, 5, 4, 3, 2)
# With fewer models in a bin, the bootstrap band covers less than its level.
_MIN_PER_BIN = 5


@dataclass(frozen=True, eq=False)
class NormalizedEdfs:
    """EDFs of several populations, each weighted so that complexity is uniform over one range.

    Attributes:
        complexity: The measure of complexity: flops, params, acts, latency or memory.
        low: Lower end of the range that all populations reach.
        high: Upper end.
        bins: Number of equal bins, the most of 10, 8, 6, 5, 4, 3, 2 with five models in each.
        edfs: One per population.
        bands: Bootstrap band of each.
        left_out: Counted models of each that lie outside the range.
    """

    complexity: str
    low: float
    high: float
    bins: int
    edfs: tuple[Edf, ...]
    bands: tuple[Band, ...]
    left_out: tuple[int, ...]


def normalized_edfs(
    populations: Sequence[PopulationResults],
    complexity: str = "flops",
    level: float = 0.95,
    setting: MeasuredSetting | None = None,
) -> NormalizedEdfs | None:
    """Compare populations at equal complexity; a measured one is that of a setting.

    Returns:
        The EDFs, or None where a cost is unknown, the populations share no range, or two bins would
        leave one with few models.
    """
    costs = [results.cost(complexity, setting)[results.counted] for results in populations]
    if not all(np.isfinite(cost).any() for cost in costs):
        return None
    low, high = max(np.nanmin(c) for c in costs), min(np.nanmax(c) for c in costs)
    if not low < high:
        return None
    inside = [(cost >= low) & (cost <= high) for cost in costs]
    pairs = [
        (results.counted_errors[within], cost[within])
        for results, cost, within in zip(populations, costs, inside, strict=True)
    ]
    bins = next((k for k in _BINS if all(_fills(c, k, low, high) for _, c in pairs)), None)
    if bins is None:
        return None
    rng = np.random.default_rng(0)
    return NormalizedEdfs(
        complexity=complexity,
        low=float(low),
        high=float(high),
        bins=bins,
        edfs=tuple(Edf.from_errors(e, normalized_weights(c, bins, low, high)) for e, c in pairs),
        bands=tuple(normalized_band(e, c, bins, low, high, level, rng=rng) for e, c in pairs),
        left_out=tuple(int((~within).sum()) for within in inside),
    )


def _fills(costs: FloatArray, bins: int, low: float, high: float) -> bool:
    if len(costs) < bins * _MIN_PER_BIN:
        return False
    counts = np.bincount(bin_of(costs, bins, low, high), minlength=bins)
    return int(counts.min()) >= _MIN_PER_BIN
