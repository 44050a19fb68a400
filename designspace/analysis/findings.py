"""All that is found out about one or several populations, computed once; reports only draw it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from designspace.analysis.accounting import Accounting, account
from designspace.analysis.claims import Claims, judge_claims
from designspace.analysis.importance import (
    ParameterCorrelation,
    ParameterTrend,
    correlated_parameters,
    parameter_trends,
)
from designspace.analysis.normalized_edf import NormalizedEdfs, normalized_edfs
from designspace.analysis.pairwise import DEFAULT_MARGIN, PairComparison, compare_pairs
from designspace.analysis.population_results import PopulationResults
from designspace.analysis.quantized_linear_fit import (
    LinearFits,
    WidthTrend,
    fit_quantized_linear,
    width_trend,
)
from designspace.analysis.shared_constraints import SharedConstraint, shared_constraints
from designspace.runs import TrialState
from designspace.stats.arrays import IntArray
from designspace.stats.bootstrap import BestOfK, BootstrapInterval, best_of_k, bootstrap_all
from designspace.stats.edf import (
    Band,
    Edf,
    QuantileInterval,
    area_under,
    dkw_band,
    edf,
    quantile_interval,
)

BEST = 20
# More networks than this are fitted at evenly spaced ranks of error, and it is said.
MOST_FITS = 600
LEAST_FOR_TRENDS = 8
_QUANTILES = (0.05, 0.25, 0.5, 0.75)


@dataclass(frozen=True, eq=False)
class WidthFits:
    """Quantized-linear fits of a population's networks, in order of error.

    Attributes:
        rows: Index of each fitted model in the population, (m,).
        ranks: Its rank of error from 1, (m,).
        fits: The fits, (m,).
        trend: The line through the best models' block widths.
        best_rows: Those models.
    """

    rows: IntArray
    ranks: IntArray
    fits: LinearFits
    trend: WidthTrend
    best_rows: IntArray


@dataclass(frozen=True, eq=False)
class PopulationFindings:
    """What is found out about one population on its own.

    Attributes:
        results: Its models and trials.
        accounting: How its trials ended.
        edf: Its error distribution.
        band: The band around it.
        quantiles: The 5, 25, 50 and 75 % quantiles of the error, with their intervals.
        area: Mean height of the EDF over the range of errors of all populations of the report.
        best_of_k: What a random search finds.
        bootstrap: Where the best models have each parameter.
        widths: Quantized-linear fits, where block widths are known.
        trends: How the error goes with each parameter, the most important first.
        correlated: Parameters that go together among the best models.
        constraints: Which constraints the best models share.
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

    @property
    def name(self) -> str:
        """The run's name."""
        return self.results.name

    @property
    def best_rows(self) -> IntArray:
        """Indices of the best models, by error."""
        return self.results.ranked()[:BEST]


@dataclass(frozen=True, eq=False)
class Findings:
    """What is found out about all populations of a report, and about every two of them.

    Attributes:
        populations: Each on its own, in the order in which they were named.
        comparisons: Every two compared.
        normalized: All of them at equal complexity, where that can be had.
        claims: What was claimed beforehand, with verdicts, where there is a claims file.
        area_range: Errors between which areas under the EDFs are taken.
    """

    populations: tuple[PopulationFindings, ...]
    comparisons: tuple[PairComparison, ...]
    normalized: NormalizedEdfs | None
    claims: Claims | None
    area_range: tuple[float, float]


def error_range(populations: Sequence[PopulationFindings]) -> tuple[float, float]:
    """Return the errors that a figure should show: from the best to where 98 % of each lie."""
    low = min(p.edf.minimum for p in populations)
    high = max(_upper(p.results) for p in populations)
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _upper(results: PopulationResults) -> float:
    complete = results.errors[results.counted & (results.states == TrialState.COMPLETE.value)]
    return float(np.quantile(complete if len(complete) else results.counted_errors, 0.98))


def analyze(
    populations: Sequence[PopulationResults],
    margin: float = DEFAULT_MARGIN,
    claims: Path | None = None,
) -> Findings:
    """Analyse populations, each of which has at least one counted model.

    Args:
        populations: What is known of each.
        margin: Percent of error that counts as no difference between two of them.
        claims: A file of claims to judge; see `designspace.analysis.claims`.

    Raises:
        InputError: The margin is not above 0, or the claims file is wrong.
    """
    least = min(float(results.counted_errors.min()) for results in populations)
    most = max(float(results.counted_errors.max()) for results in populations)
    shown = (least, most if most > least else least + 1.0)
    return Findings(
        populations=tuple(_one(results, shown) for results in populations),
        comparisons=compare_pairs(populations, margin),
        normalized=normalized_edfs(populations),
        claims=None if claims is None else judge_claims(claims, populations),
        area_range=shown,
    )


def _one(results: PopulationResults, shown: tuple[float, float]) -> PopulationFindings:
    errors = results.counted_errors
    function = edf(errors)
    parameters, enough = results.counted_parameters(), len(errors) >= LEAST_FOR_TRENDS
    return PopulationFindings(
        results=results,
        accounting=account(results),
        edf=function,
        band=dkw_band(function),
        quantiles=tuple(quantile_interval(errors, q) for q in _QUANTILES),
        area=area_under(function, *shown),
        best_of_k=best_of_k(errors),
        bootstrap=bootstrap_all(parameters, errors),
        widths=_width_fits(results),
        trends=parameter_trends(parameters, errors) if enough else (),
        correlated=correlated_parameters(parameters, errors),
        constraints=(
            ()
            if results.bodies is None
            else shared_constraints(results.bodies.take(results.rows), errors)
        ),
    )


def _width_fits(results: PopulationResults) -> WidthFits | None:
    if results.bodies is None:
        return None
    ranked = results.ranked()
    picked = np.unique(np.linspace(0, len(ranked) - 1, min(len(ranked), MOST_FITS)).astype(int))
    stages, best = results.bodies.take(ranked[picked]), results.bodies.take(ranked[:BEST])
    return WidthFits(
        rows=ranked[picked],
        ranks=(picked + 1).astype(np.int64),
        fits=fit_quantized_linear(stages.widths, stages.depths),
        trend=width_trend(best.depths, best.widths),
        best_rows=ranked[:BEST],
    )
