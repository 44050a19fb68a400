"""All results about one or several populations, computed once; reports only draw them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from designspace.analysis.claims import Claims, ClaimsFile, judge_claims
from designspace.analysis.compare_pairs import (
    DEFAULT_MARGIN,
    MIN_COMPARED,
    PairComparison,
    compare_pairs,
)
from designspace.analysis.equal_cost import (
    ControlImportance,
    control_importances,
    importance_at_equal_cost,
)
from designspace.analysis.image_noise import ImageNoise, image_noise
from designspace.analysis.importance import (
    ParameterCorrelation,
    ParameterTrend,
    correlated_parameters,
    parameter_trends,
)
from designspace.analysis.normalized_edf import NormalizedEdfs, normalized_edfs
from designspace.analysis.pool_seeds import Seeds, pool_seeds
from designspace.analysis.population_results import PopulationResults
from designspace.analysis.quantized_linear_fit import (
    LinearFits,
    WidthTrend,
    fit_quantized_linear,
    width_trend,
)
from designspace.analysis.shared_constraints import SharedConstraint, shared_constraints
from designspace.analysis.trade_off import TradeOff, trade_offs
from designspace.analysis.trial_accounting import Accounting, account
from designspace.arch.parameter_columns import category_names, with_names
from designspace.errors import counted
from designspace.runs import TrialState
from designspace.stats.arrays import IntArray
from designspace.stats.best_of_k import BestOfK, best_of_k
from designspace.stats.edf import Band, Edf
from designspace.stats.edf_bands import equal_levels_band
from designspace.stats.equivalence import check_margin
from designspace.stats.intervals import Estimate, QuantileInterval, quantile_interval
from designspace.stats.range_of_best import BootstrapInterval, bootstrap_intervals

if TYPE_CHECKING:
    import pandas as pd

NUM_BEST = 20
# With more networks than this, only those at evenly spaced ranks of error are fitted.
MAX_FITS = 600
_QUANTILES = (0.05, 0.25, 0.5, 0.75)


@dataclass(frozen=True, eq=False)
class WidthFits:
    """Quantized-linear fits of a population's networks, in order of error.

    Attributes:
        rows: Index of each fitted model in the population, (m,).
        ranks: Its rank by error, from 1, (m,).
        fits: The fits, (m,).
        trend: The line through the best models' block widths.
        best_rows: Indices of those models.
    """

    rows: IntArray
    ranks: IntArray
    fits: LinearFits
    trend: WidthTrend
    best_rows: IntArray


@dataclass(frozen=True, eq=False, repr=False)
class PopulationFindings:
    """The results about one population on its own.

    Attributes:
        results: Its models and trials.
        accounting: How its trials ended.
        edf: Its error distribution.
        band: The simultaneous band around it, with equal local levels.
        quantiles: The 5, 25, 50 and 75 % quantiles of the error, with their intervals.
        area: Mean height of the EDF over the range of errors of all populations of the report.
        best_of_k: Expected best error of a random search.
        bootstrap: Where the best models have each parameter whose values are numbers.
        widths: Quantized-linear fits, or None where block widths are unknown.
        trends: How the error depends on each parameter, the most important first.
        correlated: Parameters that are correlated among the best models.
        constraints: Constraints that the best models share.
        controls: How much of the variation of the error size and depth alone explain.
        at_equal_cost: Importance of each parameter with multiply-adds and parameters held fixed.
        noise: Noise of the validation images beside the spread of the models, or None.
        seeds: The runs that it is merged of, where it was trained with several seeds, or None.
    """

    results: PopulationResults
    accounting: Accounting
    edf: Edf
    band: Band
    quantiles: tuple[QuantileInterval, ...]
    area: float
    best_of_k: BestOfK
    bootstrap: Mapping[str, BootstrapInterval]
    widths: WidthFits | None
    trends: tuple[ParameterTrend, ...]
    correlated: tuple[ParameterCorrelation, ...]
    constraints: tuple[SharedConstraint, ...]
    controls: tuple[ControlImportance, ...]
    at_equal_cost: Mapping[str, Estimate]
    noise: ImageNoise | None
    seeds: Seeds | None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.results.name

    @property
    def std(self) -> float:
        """Standard deviation of the counted errors, percent; NaN for a single model."""
        errors = self.results.counted_errors
        return float(errors.std(ddof=1)) if len(errors) > 1 else math.nan

    def __repr__(self) -> str:
        trials = self.accounting
        left = {
            "failed": trials.failed,
            "without a trial": trials.missing,
            "set aside": trials.set_aside,
        }
        others = ", ".join(f"{number} {state}" for state, number in left.items() if number)
        return (
            f"{self.name}: n = {trials.counted}{f' of {trials.n} ({others})' if others else ''}, "
            f"mean {self.edf.mean:.2f} %, best {self.edf.minimum:.2f} %"
        )

    @property
    def flops_range(self) -> tuple[int, int] | None:
        """Fewest and most multiply-adds of its models, or None where they are unknown."""
        flops = self.results.costs.get("flops")
        if flops is None or not np.isfinite(flops).any():
            return None
        return int(np.nanmin(flops)), int(np.nanmax(flops))

    @property
    def best_rows(self) -> IntArray:
        """Indices of the best models, by error."""
        return self.results.ranked()[:NUM_BEST]


@dataclass(frozen=True, eq=False, repr=False)
class Findings:
    """The results about all populations of a report, and about pairs of them.

    Attributes:
        populations: Each on its own, in the order in which they were passed.
        comparisons: Pairwise comparisons.
        normalized: EDFs at equal complexity, or None where there are none.
        claims: Claims made beforehand with their verdicts, or None without a claims file.
        area_range: Errors between which the areas under the EDFs are taken.
        without_errors: Populations of which every trial failed: there is nothing to analyze.
        trade_offs: Error against the costs chosen by `against`.
    """

    populations: tuple[PopulationFindings, ...]
    comparisons: tuple[PairComparison, ...]
    normalized: NormalizedEdfs | None
    claims: Claims | None
    area_range: tuple[float, float]
    without_errors: tuple[PopulationResults, ...] = ()
    trade_offs: tuple[TradeOff, ...] = ()

    def __repr__(self) -> str:
        lines = [f"  {population!r}" for population in self.populations]
        lines += [f"  {results.name}: every trial failed" for results in self.without_errors]
        return "\n".join([f"Findings of {counted(len(lines), 'population')}:", *lines])

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per population, indexed by its name.

        Columns: its space, size, states of its trials, errors and range of multiply-adds.
        """
        import pandas as pd

        rows = [
            {
                "name": p.name,
                "space": p.results.space,
                "n": p.accounting.n,
                "counted": p.accounting.counted,
                "complete": p.accounting.complete,
                "diverged": p.accounting.diverged,
                "failed": p.accounting.failed,
                "missing": p.accounting.missing,
                "min": p.edf.minimum,
                "mean": p.edf.mean,
                "median": p.edf.median,
                "std": p.std,
                "area": p.area,
                "flops_min": p.flops_range and p.flops_range[0],
                "flops_max": p.flops_range and p.flops_range[1],
            }
            for p in self.populations
        ]
        frame = pd.DataFrame(rows)
        flops = {name: "Int64" for name in ("flops_min", "flops_max") if name in frame}
        return frame.astype(flops).set_index("name") if rows else frame

    def models_frame(self) -> "pd.DataFrame":
        """Return one row per sampled model of all populations, with costs and parameters."""
        import pandas as pd

        everything = [*(p.results for p in self.populations), *self.without_errors]
        frames = [
            pd.DataFrame(
                {
                    "population": r.name,
                    "id": r.ids,
                    "index": range(len(r)),
                    "state": r.states,
                    "counted": r.counted,
                    "error": r.errors,
                    **r.costs,
                    **with_names(r.parameters, r.bodies),
                }
            )
            for r in everything
        ]
        errors = pd.concat(frames, ignore_index=True)
        whole = errors.columns.difference(
            ["population", "id", "index", "state", "counted", "error"]
        )
        # Whole numbers as integers, also where some are missing.
        return errors.astype(errors[whole].convert_dtypes().dtypes.to_dict())


def compared(findings: Findings) -> list[PopulationFindings]:
    """Return the populations that are compared: those of two or more counted models."""
    return [p for p in findings.populations if p.accounting.counted >= MIN_COMPARED]


def lowest_mean(findings: Findings) -> PopulationFindings | None:
    """Return the population of lowest mean error, a single model only where there is no other."""
    populations = compared(findings) or findings.populations
    return min(populations, key=lambda p: p.edf.mean, default=None)


def neighbors(findings: Findings) -> list[PairComparison]:
    """Return the pairs of populations that follow each other; of three populations all pairs."""
    names = [p.name for p in compared(findings)]
    following = set(pairwise(names))
    few = len(names) <= 3
    return [pair for pair in findings.comparisons if few or (pair.first, pair.second) in following]


def error_range(populations: Sequence[PopulationFindings]) -> tuple[float, float]:
    """Return the errors that a figure should show: from the best to where 98 % of each lie."""
    if not populations:
        return 0.0, 100.0
    low = min(p.edf.minimum for p in populations)
    high = max(_upper_error(p.results) for p in populations)
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _upper_error(results: PopulationResults) -> float:
    complete = results.errors[results.counted & (results.states == TrialState.COMPLETE.value)]
    return float(np.quantile(complete if len(complete) else results.counted_errors, 0.98))


def analyze(
    populations: Sequence[PopulationResults],
    margin: float = DEFAULT_MARGIN,
    claims: ClaimsFile | None = None,
    claims_source: str = "claims",
    against: str | Sequence[str] = (),
) -> Findings:
    """Analyze populations.

    Args:
        populations: The results of each. Those without a counted model are only listed.
        margin: Percent of error that counts as no difference between two of them.
        claims: Claims to judge; see `designspace.analysis.claims`.
        claims_source: The file that they come from, for messages.
        against: Costs whose trade-offs with error to analyze; see `trade_off.trade_offs`.

    Raises:
        InputError: The margin is not above 0, a claim is about an unknown population, or a cost is
            unknown.
    """
    check_margin(margin)
    pooled = pool_seeds([results for results in populations if results.counted.any()])
    empty = tuple(results for results in populations if not results.counted.any())
    populations = [results for results, _ in pooled]
    counts_as = {run: r.name for r, seeds in pooled if seeds for run in seeds.names}
    low = min((float(results.counted_errors.min()) for results in populations), default=0.0)
    high = max((float(results.counted_errors.max()) for results in populations), default=100.0)
    area_range = (low, high if high > low else low + 1.0)
    return Findings(
        populations=tuple(_analyze_one(*one, area_range) for one in pooled),
        comparisons=compare_pairs(populations, margin),
        normalized=normalized_edfs(populations) if populations else None,
        claims=(
            None
            if claims is None
            else judge_claims(claims, [*populations, *empty], claims_source, counts_as)
        ),
        area_range=area_range,
        without_errors=empty,
        trade_offs=trade_offs(populations, against) if populations else (),
    )


def _analyze_one(
    results: PopulationResults, seeds: Seeds | None, area_range: tuple[float, float]
) -> PopulationFindings:
    errors, parameters = results.counted_errors, results.counted_parameters()
    function, bodies = Edf.from_errors(errors), results.bodies
    categories = category_names(bodies)
    numbers = {k: v for k, v in parameters.items() if k not in categories}
    described = results.counted & results.has_body
    return PopulationFindings(
        results=results,
        accounting=account(results),
        edf=function,
        band=equal_levels_band(function),
        quantiles=tuple(quantile_interval(errors, q) for q in _QUANTILES),
        area=function.area(*area_range),
        best_of_k=best_of_k(errors),
        bootstrap=bootstrap_intervals(numbers, errors),
        widths=_width_fits(results),
        trends=parameter_trends(parameters, errors, categories=categories),
        correlated=correlated_parameters(numbers, errors),
        constraints=(
            ()
            if bodies is None
            else shared_constraints(bodies.take(described), results.errors[described])
        ),
        controls=control_importances(results),
        at_equal_cost=importance_at_equal_cost(results, parameters),
        noise=image_noise(results),
        seeds=seeds,
    )


def _width_fits(results: PopulationResults) -> WidthFits | None:
    ranked = results.ranked()
    ranked = ranked[results.has_body[ranked]]
    if results.bodies is None or not len(ranked):
        return None
    picked = np.unique(np.linspace(0, len(ranked) - 1, min(len(ranked), MAX_FITS)).astype(int))
    bodies, best = results.bodies.take(ranked[picked]), results.bodies.take(ranked[:NUM_BEST])
    return WidthFits(
        rows=ranked[picked],
        ranks=(picked + 1).astype(np.int64),
        fits=fit_quantized_linear(bodies.widths, bodies.depths),
        trend=width_trend(best.depths, best.widths),
        best_rows=ranked[:NUM_BEST],
    )
