"""Which trials count, which don't, and how far those that don't could move the result.

Diverged models count with chance error. Failed ones have no error: they are shown, and bounded by
the best and the worst that they could have been. An unfinished population is analysed in sampled
order, up to its first model without a trial: what finishes first is biased toward fast models.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.population_results import MISSING, PopulationResults
from designspace.runs import TrialState
from designspace.stats.arrays import BoolArray, FloatArray


@dataclass(frozen=True)
class Accounting:
    """How the n sampled models of a population ended.

    Attributes:
        n: Models sampled.
        trained: Models with a finished trial, whatever its state.
        complete: Trained to the last epoch.
        diverged: Loss became non-finite; counted with chance error.
        failed: Crashed; not counted. The bounds are over those among the models that were read.
        missing: No trial yet.
        set_aside: Finished trials after the first model without one, not counted.
        counted: Models that the statistics speak of.
        mean: Mean error of the counted models.
        mean_best_case: The mean if every failed model were as good as the best counted one.
        mean_worst_case: The mean if every failed model had chance error.
        share_failed: Most by which failed models could move any height of the EDF.
    """

    n: int
    trained: int
    complete: int
    diverged: int
    failed: int
    missing: int
    set_aside: int
    counted: int
    mean: float
    mean_best_case: float
    mean_worst_case: float
    share_failed: float

    @property
    def finished(self) -> bool:
        """Whether every sampled model has a trial."""
        return self.missing == 0


def count(states: NDArray[np.str_], errors: FloatArray, all_finished: bool = False) -> BoolArray:
    """Return which models count, (n,): those with an error, before the first one without a trial.

    Args:
        states: State of each model in sampled order, (n,).
        errors: Their errors, NaN where there is none, (n,).
        all_finished: Count later ones too, at the risk of a bias toward fast models.
    """
    has_error = np.isfinite(errors)
    gaps = np.flatnonzero(states == MISSING)
    if len(gaps) and not all_finished:
        has_error[gaps[0] :] = False
    return has_error


def account(results: PopulationResults) -> Accounting:
    """Count the states of a population and bound what its failed models could change."""
    states, errors = results.states, results.counted_errors
    tally = {state.value: int((states == state.value).sum()) for state in TrialState}
    missing = int((states == MISSING).sum())
    read = int(np.argmax(states == MISSING)) if missing else len(states)
    if results.counted[read:].any():  # all finished trials are counted
        read = len(states)
    failed = int((states[:read] == TrialState.FAILED.value).sum())
    total = len(errors) + failed
    best, mean = (float(errors.min()), float(errors.mean())) if len(errors) else (np.nan, np.nan)
    worst = max(results.chance, float(errors.max(initial=0.0)))
    return Accounting(
        n=len(states),
        trained=len(states) - missing,
        complete=tally["complete"],
        diverged=tally["diverged"],
        failed=tally["failed"],
        missing=missing,
        set_aside=int((np.isfinite(results.errors) & ~results.counted).sum()),
        counted=len(errors),
        mean=mean,
        mean_best_case=(mean * len(errors) + best * failed) / total if total else np.nan,
        mean_worst_case=(mean * len(errors) + worst * failed) / total if total else np.nan,
        share_failed=failed / total if total else 0.0,
    )
