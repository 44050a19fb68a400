"""All that is found out about one or several populations, computed once; reports only draw it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from designspace.analysis.accounting import Accounting, account
from designspace.analysis.arrays import IntArray
from designspace.analysis.best import BestInterval, BestOfK, best_of_k, bootstrap_all
from designspace.analysis.edf import Band, Edf, dkw_band, edf
from designspace.analysis.fits import LinearFits, Trend, fit_quantized_linear, width_trend
from designspace.analysis.pairs import DEFAULT_MARGIN, Pair, compare_pairs
from designspace.analysis.results import Results
from designspace.runs import TrialState

BEST = 20
# More networks than this are fitted at evenly spaced ranks of error, and it is said.
MOST_FITS = 600


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
    trend: Trend
    best_rows: IntArray


@dataclass(frozen=True, eq=False)
class PopulationFindings:
    """What is found out about one population on its own."""

    results: Results
    accounting: Accounting
    edf: Edf
    band: Band
    best_of_k: BestOfK
    bootstrap: Mapping[str, BestInterval]
    widths: WidthFits | None

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
    """What is found out about all populations of a report, and about every two of them."""

    populations: tuple[PopulationFindings, ...]
    pairs: tuple[Pair, ...]


def error_range(populations: Sequence[PopulationFindings]) -> tuple[float, float]:
    """Return the errors that a figure should show: from the best to where 98 % of each lie."""
    low = min(p.edf.minimum for p in populations)
    high = max(_upper(p.results) for p in populations)
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _upper(results: Results) -> float:
    complete = results.errors[results.counted & (results.states == TrialState.COMPLETE.value)]
    return float(np.quantile(complete if len(complete) else results.counted_errors, 0.98))


def find(populations: Sequence[Results], margin: float = DEFAULT_MARGIN) -> Findings:
    """Analyse populations, each of which has at least one counted model.

    Args:
        populations: What is known of each.
        margin: Percent of error that counts as no difference between two of them.
    """
    return Findings(
        populations=tuple(_one(results) for results in populations),
        pairs=compare_pairs(populations, margin),
    )


def _one(results: Results) -> PopulationFindings:
    errors = results.counted_errors
    function = edf(errors)
    return PopulationFindings(
        results=results,
        accounting=account(results),
        edf=function,
        band=dkw_band(function),
        best_of_k=best_of_k(errors),
        bootstrap=bootstrap_all(results.counted_parameters(), errors),
        widths=_width_fits(results),
    )


def _width_fits(results: Results) -> WidthFits | None:
    if results.stages is None:
        return None
    ranked = results.ranked()
    picked = np.unique(np.linspace(0, len(ranked) - 1, min(len(ranked), MOST_FITS)).astype(int))
    stages, best = results.stages.take(ranked[picked]), results.stages.take(ranked[:BEST])
    return WidthFits(
        rows=ranked[picked],
        ranks=(picked + 1).astype(np.int64),
        fits=fit_quantized_linear(stages.widths, stages.depths),
        trend=width_trend(best.depths, best.widths),
        best_rows=ranked[:BEST],
    )
