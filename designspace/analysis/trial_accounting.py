"""Trial accounting: which trials count, and how far the others could change the result.

Diverged models count with chance error. Failed models have no error: they are reported, and bounded
by the best and worst case. An unfinished population is analyzed in sampled order, up to its first
model without a trial, because the models that finish first are biased toward fast ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.population_results import MISSING, PopulationResults
from designspace.runs import TrialState
from designspace.stats.arrays import BoolArray, FloatArray


@dataclass(frozen=True)
class Accounting:
    """How the trials of the n sampled models of a population ended.

    Attributes:
        n: Models sampled.
        trained: Models with a finished trial, in any state.
        complete: Trained to the last epoch.
        diverged: The loss became non-finite; counted with chance error.
        failed: Crashed; not counted. The bounds cover those before the first model without a trial.
        missing: No trial yet.
        set_aside: Finished trials after the first model without one, not counted.
        counted: Models that enter the statistics.
        mean: Mean error of the counted models.
        mean_best_case: The mean if every failed model were as good as the best counted one.
        mean_worst_case: The mean if every failed model had chance error.
        with_gaps: Whether trials after the first model without one are counted too.
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
    with_gaps: bool = False

    @property
    def finished(self) -> bool:
        """Whether every sampled model has a trial."""
        return self.missing == 0


def counted_models(
    states: NDArray[np.str_], errors: FloatArray, all_finished: bool = False
) -> BoolArray:
    """Return which models count, (n,): those with an error, before the first without a trial.

    Args:
        states: State of each model in sampled order, (n,).
        errors: Their errors, NaN where there is none, (n,).
        all_finished: Count later models too, at the risk of a bias toward fast ones.
    """
    counted = np.isfinite(errors)
    missing = np.flatnonzero(states == MISSING)
    if len(missing) and not all_finished:
        counted[missing[0] :] = False
    return counted


def account(results: PopulationResults) -> Accounting:
    """Count the states of a population and bound the effect of its failed models."""
    states, errors = results.states, results.counted_errors
    counts = {state.value: int((states == state.value).sum()) for state in TrialState}
    missing = int((states == MISSING).sum())
    end = int(np.argmax(states == MISSING)) if missing else len(states)
    with_gaps = bool(results.counted[end:].any())
    if with_gaps:
        end = len(states)
    failed = int((states[:end] == TrialState.FAILED.value).sum())
    total = len(errors) + failed
    best, mean = (float(errors.min()), float(errors.mean())) if len(errors) else (np.nan, np.nan)
    worst = max(results.chance, float(errors.max(initial=0.0)))
    return Accounting(
        n=len(states),
        trained=len(states) - missing,
        complete=counts["complete"],
        diverged=counts["diverged"],
        failed=counts["failed"],
        missing=missing,
        set_aside=int((np.isfinite(results.errors) & ~results.counted).sum()),
        counted=len(errors),
        mean=mean,
        mean_best_case=(mean * len(errors) + best * failed) / total if total else np.nan,
        mean_worst_case=(mean * len(errors) + worst * failed) / total if total else np.nan,
        with_gaps=with_gaps,
    )
