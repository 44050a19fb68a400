"""Sample models within a measured budget: of latency, of memory, or of both.

The models come in the order in which `space.sample` draws them without such a budget. A model of
costs, fitted to about 30 measured ones, predicts the others; those predicted to fit are measured,
and those that miss are dropped. So every model of the population was measured. Unlike any other
population it depends on the machine: the same space, budget and seed give others elsewhere.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from designspace.arch import BOTTLENECK, Population, find_block
from designspace.errors import InputError, counted
from designspace.measurement.latency_model import COSTS, LEAST_MODELS, LatencyModel, fit_costs
from designspace.measurement.measure_journal import Progress, measure_into
from designspace.measurement.measure_models import GROUP, Target
from designspace.measurement.measure_options import MeasureOptions
from designspace.runs.measurements import MeasuredSetting, Measurement
from designspace.space import Budget, Sample, SamplingStats, Space, sample_prefix
from designspace.space.sampler import SearchObserver
from designspace.stats.arrays import FloatArray

# Models of the pool that candidates come from; the next is taken if the last one doesn't suffice.
_POOLS = (2_000, 8_000, 32_000)
# Where no closed form counts costs and each model is built.
_BUILT_POOLS = (100, 400)
# Measured models of the whole range of costs, and near the budget.
_WIDE, _NEAR = 12, 20
# Factors of the budget: where to stop with larger models, and what lies near it.
_TOO_LARGE, _NEARBY = 4.0, 2.0


@dataclass(frozen=True, eq=False)
class MeasuredSample:
    """A population within a measured budget.

    Attributes:
        sample: The models and the statistics of their sampling.
        measurements: All that were taken: of the models, and of those that missed.
        record: Budget, setting and latency model as plain data, as in space.yaml.
    """

    sample: Sample
    measurements: tuple[Measurement, ...]
    record: dict[str, Any]


def measured_identity(
    budgets: Sequence[Budget], space: Space, options: MeasureOptions
) -> dict[str, Any]:
    """Return the measured budgets and the setting as plain data: what defines the population."""
    setting = Target.of(options).setting(space.skeleton.resolution, options)
    return {"budget": [budget.to_dict() for budget in budgets], "setting": asdict(setting)}


def sample_measured(
    space: Space,
    n: int,
    budgets: tuple[Budget, ...],
    measured: tuple[Budget, ...],
    options: MeasureOptions,
    seed: int,
    max_candidates: int,
    journal: Path | None = None,
    progress: Progress = lambda done, total, last: None,
    searched: SearchObserver | None = None,
) -> MeasuredSample:
    """Draw the first n models whose measured latency and memory lie within budgets.

    Args:
        space: The space.
        n: Number of models.
        budgets: Of flops, params and acts.
        measured: Of latency (seconds) and memory (bytes).
        options: How to measure.
        seed: Seed of the sample.
        max_candidates: Stop after so many candidates.
        journal: File of measurements, which are kept there as they come, and not repeated.
        progress: Called after each new measurement.
        searched: Called as candidates within the other budgets are searched.

    Raises:
        InputError: Nothing, or too little, fits; the message has the nearest that was measured.
    """
    search = _Search(space, n, measured, options, journal, progress)
    built = space.block != BOTTLENECK and find_block(space.block).cost is None
    for size in _BUILT_POOLS if built else _POOLS:
        search.pool = sample_prefix(space, size, budgets, seed, max_candidates, searched)
        pool = search.pool.population
        if not search.models:
            search.calibrate()
        if search.scan() or len(pool) < size:
            break
    if len(search.kept) < n:
        raise InputError(search.failure(), measured[0].measure)
    last = search.kept[n - 1]
    drawn = sample_prefix(space, last + 1, budgets, seed, max_candidates)
    return search.result(drawn, measured_identity(measured, space, options))


class _Search:
    """Measured models of a pool, what they predict, and which of the pool fit."""

    def __init__(
        self,
        space: Space,
        n: int,
        budgets: tuple[Budget, ...],
        options: MeasureOptions,
        journal: Path | None,
        progress: Progress,
    ) -> None:
        self.space, self.n, self.budgets = space, n, budgets
        self.options, self.journal, self.progress = options, journal, progress
        self.pool: Sample
        self.models: dict[str, LatencyModel] = {}
        self.measured: dict[int, Measurement] = {}
        self.kept: list[int] = []
        self.predicted: list[int] = []

    def measure(self, indices: Sequence[int]) -> None:
        """Measure those models of the pool that have not been measured."""
        new = [i for i in dict.fromkeys(indices) if i not in self.measured]
        models = [self.pool.population.model(i, f"candidate-{i}") for i in new]
        if new:
            # New times of noisy models could lead to another population than that in the folder.
            results = measure_into(
                self.journal, models, self.options, self.progress, repeat_noisy=False
            )
            self.measured.update(zip(new, results, strict=True))

    def value(self, i: int, budget: Budget) -> float:
        """Return what a model was measured to take; infinite if it could not be run."""
        value = getattr(self.measured[i], budget.measure)
        return float("inf") if value is None else float(value)

    def calibrate(self) -> None:
        """Fit a model of costs to models of all sizes, then to those near the budget."""
        acts = self.pool.population.cost.acts
        order = np.argsort(acts, kind="stable")
        if len(order) < LEAST_MODELS:
            raise InputError(
                f"{self.space.name}: only {counted(len(order), 'model lies', 'models lie')} within "
                "the other budgets, too "
                f"few to predict latency or memory from; widen those budgets",
                self.budgets[0].measure,
            )
        wide = order[np.linspace(0, len(order) - 1, min(_WIDE, len(order))).astype(int)].tolist()
        for first in range(0, len(wide), 4):
            self.measure(wide[first : first + 4])
            if any(self.value(wide[first], b) > _TOO_LARGE * b.high for b in self.budgets):
                break
        self.measure(order[:LEAST_MODELS].tolist() if len(self.usable()) < LEAST_MODELS else [])
        self.fit(list(self.usable()))
        self.measure(self._near())
        near = [
            i
            for i in self.usable()
            if all(b.low / 3 <= self.value(i, b) <= 3 * b.high for b in self.budgets)
        ]
        self.fit(near if len(near) >= LEAST_MODELS else list(self.usable()))

    def usable(self) -> list[int]:
        """Return the measured models that could be run, in sampled order."""
        return sorted(i for i, m in self.measured.items() if not m.failure)

    def fit(self, indices: list[int]) -> None:
        """Fit latency, and memory, to the costs of measured models."""
        costs = {name: values[indices] for name, values in _costs(self.pool.population).items()}
        for budget in self.budgets:
            values = np.array([self.value(i, budget) for i in indices])
            self.models[budget.measure] = fit_costs(costs, values)

    def _near(self) -> list[int]:
        """Return models predicted near the budgets, or nearest to them, in sampled order."""
        away = np.zeros(len(self.pool.population))
        for budget in self.budgets:
            predicted = np.maximum(self.predict(budget), 1e-12)
            middle = max((budget.low + budget.high) / 2, 1e-12)
            away = np.maximum(away, np.abs(np.log(predicted / middle)))
        near = np.nonzero(away <= np.log(_NEARBY))[0][:_NEAR].tolist()
        if len(near) < _NEAR:
            near = np.argsort(away, kind="stable")[:_NEAR].tolist()
        return [int(i) for i in near]

    def predict(self, budget: Budget) -> FloatArray:
        """Return the prediction for every model of the pool."""
        return self.models[budget.measure].predict(_costs(self.pool.population))

    def scan(self) -> bool:
        """Measure what is predicted to fit, in sampled order; return whether there is enough."""
        fits = np.ones(len(self.pool.population), dtype=bool)
        for budget in self.budgets:
            error, predicted = min(0.5, self.models[budget.measure].error), self.predict(budget)
            fits &= (predicted >= budget.low * (1 - error)) & (
                predicted <= budget.high * (1 + error)
            )
        candidates = np.nonzero(fits)[0].tolist()
        self.kept, self.predicted = [], []
        for first in range(0, len(candidates), GROUP):
            group = candidates[first : first + GROUP]
            if len(self.predicted) > 50 and len(self.kept) < 0.02 * len(self.predicted):
                return True  # the predictions miss: more of them would take hours
            self.measure(group)
            for i in group:
                self.predicted.append(i)
                if all(b.low <= self.value(i, b) <= b.high for b in self.budgets):
                    self.kept.append(i)
                if len(self.kept) == self.n:
                    return True
        return False

    def result(self, drawn: Sample, identity: dict[str, Any]) -> MeasuredSample:
        """Return the population; `drawn` is the pool up to its last model."""
        before, keep = drawn.population, np.array(self.kept)
        population = Population(
            skeleton=before.skeleton,
            bodies=before.bodies.take(keep),
            cost=before.cost.take(keep),
            regnets=None if before.regnets is None else before.regnets.take(keep),
        )
        names = " and ".join(budget.measure for budget in self.budgets)
        refused = {
            **drawn.stats.refused,
            f"predicted {names}": len(before) - len(self.predicted),
            f"measured {names}": len(self.predicted) - len(keep),
        }
        return MeasuredSample(
            Sample(population, SamplingStats(drawn.stats.tried, len(keep), refused)),
            tuple(self.measured[i] for i in sorted(self.measured)),
            {**identity, "models": {name: asdict(fit) for name, fit in self.models.items()}},
        )

    def failure(self) -> str:
        """Explain why too few models were found, with the nearest that was measured."""
        budgets = " and ".join(map(str, self.budgets))
        nearest = []
        for budget in self.budgets:
            values = [self.value(i, budget) for i in self.usable()]
            value = min(values, key=lambda v: max(budget.low - v, v - budget.high, 0.0))
            nearest.append(f"{budget.measure} {budget.format(value)}")
        setting: MeasuredSetting = next(iter(self.measured.values())).setting
        tried = len(self.pool.population)
        return (
            f"{self.budgets[0].measure}: {self.space.name} with {budgets} on {setting}: only "
            f"{len(self.kept)} of {self.n} models found among {tried:,}; nearest measured: "
            f"{', '.join(nearest)}. Widen the budget, ask for fewer, or change the other budgets"
        )


def _costs(population: Population) -> dict[str, FloatArray]:
    cost, depth = population.cost, population.bodies.depths.sum(axis=1)
    columns = (cost.flops, cost.acts, cost.params, depth)
    return {
        name: np.asarray(values, np.float64) for name, values in zip(COSTS, columns, strict=True)
    }
