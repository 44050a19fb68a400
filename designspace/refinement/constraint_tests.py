"""Test which constraints a study supports: each with its test, estimate and verdict.

A constraint either makes models *better* (models that keep it have lower error than the others) or
*costs nothing* (their error is higher by less than a margin, if at all; for sharing). Holm's
correction covers all constraints of one study. Values and ranges are chosen on every other model
and tested on the rest, so that the choice does not bias the test.

Where enough models keep the constraint exactly, means are compared (studentized permutation test,
or Welch's t against the margin). Few unconstrained models do; then error is regressed on distance
from the constraint (`distance_regression`).
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from designspace.analysis.population_results import PopulationResults
from designspace.errors import counted
from designspace.refinement.candidate_constraints import Candidate, candidates
from designspace.refinement.distance_regression import regress_on_distance
from designspace.space import Space
from designspace.stats.arrays import FloatArray
from designspace.stats.equivalence import equivalent
from designspace.stats.intervals import Estimate
from designspace.stats.mean_difference import difference_of_means
from designspace.stats.multiple_testing import holm
from designspace.stats.two_sample import compare

# Means are compared if at least this many models keep the constraint, and as many do not.
MIN_MODELS = 8
# Graded constraints are tested by regression if fewer models than this are on either side: their
# mean would be less certain than the regression.
MIN_GRADED = 30
# A regression needs this many models, of which MIN_MODELS differ from the most common distance.
MIN_REGRESSION = 24
BEST_SHARE = 0.25
# Share of the models that a constraint must not exclude altogether.
BEST_TEST = 0.05


@dataclass(frozen=True)
class Proposal:
    """One constraint with its evidence and verdict.

    Attributes:
        claim: The constraint in words.
        kind: `better` or `costs nothing`.
        change: What it adds to the keys of the space file.
        verdict: `accepted`; `rejected`: models that keep it are worse, or it leaves no models;
            `undecided`: the study shows neither, or it would exclude the best models.
        method: `means` of models that keep it and models that do not; `line`: regression of error
            on distance; None if nothing was tested.
        difference: Error of models that keep it minus that of the others, percent, with its 95 %
            interval; None if nothing was tested.
        p: p-value after Holm's correction, or None.
        n: Number of tested models that keep it, and that do not.
        best: How many of the best quarter of all models keep it, and the size of that quarter.
        best_distance: Distance of the best model from it, in `unit`; 0 if it keeps it.
        direct: Mean error of the models that keep it exactly minus that of the others, where at
            least two do and `difference` is by regression.
        detectable: Difference that these numbers of models detect with 80 % power, or None.
        unit: Unit of the distance; "" for a constraint that a model either keeps or not.
        reason: Explanation of the verdict.
        held_out: Whether it was tested on a part of the models, as the others chose its value or
            range.
    """

    claim: str
    kind: Literal["better", "costs nothing"]
    change: dict[str, Any]
    verdict: Literal["accepted", "rejected", "undecided"]
    method: Literal["means", "line"] | None
    difference: Estimate | None
    p: float | None
    n: tuple[int, int]
    best: tuple[int, int]
    best_distance: float
    unit: str
    reason: str
    direct: Estimate | None = None
    detectable: float | None = None
    held_out: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the narrower space has this constraint."""
        return self.verdict == "accepted"

    @property
    def evidence(self) -> str:
        """The numbers behind the verdict, in one line."""
        of = counted(sum(self.n), "model")
        if self.held_out:
            of = f"the {of} held out for the test"
        best = f"{self.best[0]} of the best {self.best[1]}"
        parts = [f"satisfied by {self.n[0]} of {of}, and by {best}"]
        if not self.best_distance:
            parts.append("the best model satisfies it")
        elif self.unit:
            parts.append(f"distance of the best model: {self.best_distance:.2g} {self.unit}")
        else:
            parts.append("the best model does not satisfy it")
        if self.difference is not None:
            how = "mean error" if self.method == "means" else "error extrapolated to distance 0"
            parts.append(f"difference in {how}: {self.difference} points")
        if self.direct is not None:
            parts.append(
                f"mean difference of the {self.n[0]} that satisfy it: {self.direct} points"
            )
        if self.detectable is not None:
            parts.append(f"detectable with 80 % power: {self.detectable:.2g} points")
        if self.p is not None:
            parts.append(f"p = {self.p:.3g} (Holm)")
        return "; ".join(parts)

    def __str__(self) -> str:
        return f"{self.verdict}: {self.claim}: {self.reason} ({self.evidence})"


def evaluate_constraints(
    space: Space, results: PopulationResults, alpha: float = 0.05, margin: float = 1.0
) -> tuple[Proposal, ...]:
    """Test every constraint that the space does not have yet, in a fixed order.

    Args:
        space: The studied space.
        results: Its models and errors.
        alpha: Family-wise error rate of the accepted constraints.
        margin: Percent of error below which sharing counts as costing nothing.
    """
    untested = candidates(space, results)
    errors = results.counted_errors
    drafts = [_test(candidate, errors, margin) for candidate in untested]
    tested = [i for i, draft in enumerate(drafts) if draft.p is not None]
    adjusted = dict(zip(tested, holm([drafts[i].p or 0.0 for i in tested]), strict=True))
    return tuple(
        _decide(draft, untested[i], errors, adjusted[i], alpha, margin) if i in adjusted else draft
        for i, draft in enumerate(drafts)
    )


def _test(candidate: Candidate, errors: FloatArray, margin: float) -> Proposal:
    """Test one constraint; p is uncorrected and the verdict still open."""
    keeps, tested = candidate.keeps, candidate.tested
    order = np.argsort(errors, kind="stable")
    quarter = order[: max(1, int(BEST_SHARE * len(errors)))]
    verdict, reason = candidate.untestable or ("undecided", "")
    draft = Proposal(
        claim=candidate.claim,
        kind=candidate.kind,
        change=candidate.change,
        verdict=verdict,
        method=None,
        difference=None,
        p=None,
        n=(int((keeps & tested).sum()), int((~keeps & tested).sum())),
        best=(int(keeps[quarter].sum()), len(quarter)),
        best_distance=float(candidate.distance[order[0]]),
        unit=candidate.unit,
        reason=reason,
        held_out=not tested.all(),
    )
    if candidate.untestable:
        return draft
    costs_nothing = candidate.kind == "costs nothing"
    enough = MIN_GRADED if candidate.unit else MIN_MODELS
    if candidate.covariates is None and min(draft.n) >= enough:
        keep, others = errors[keeps & tested], errors[~keeps & tested]
        comparison = compare(others, keep)
        p = equivalent(others, keep, margin).p_upper if costs_nothing else comparison.p_mean
        draft = replace(draft, method="means", difference=comparison.mean, p=p)
        return replace(draft, detectable=_detectable(comparison.mean))
    if not candidate.unit:
        few = f"too few models: the test needs {MIN_MODELS} that satisfy it and {MIN_MODELS} others"
        return replace(draft, reason=few)
    distance = candidate.distance[tested]
    varied = len(distance) - int(np.unique(distance, return_counts=True)[1].max(initial=0))
    if len(distance) < MIN_REGRESSION or varied < MIN_MODELS:
        few = (
            f"too few models: a regression on distance needs {MIN_REGRESSION}, of which "
            f"{MIN_MODELS} "
            f"differ in distance from the others; there are {len(distance)}, of which {varied} do"
        )
        return replace(draft, reason=few)
    covariates = None if candidate.covariates is None else candidate.covariates[tested]
    fit = regress_on_distance(distance, errors[tested], margin, covariates)
    if fit is None:
        reason = "depth or number of stages explains the whole distance from it"
        return replace(draft, reason=reason)
    draft = replace(
        draft, method="line", difference=fit.difference, detectable=_detectable(fit.difference)
    )
    if min(draft.n) > 1:
        keep, others = errors[keeps & tested], errors[~keeps & tested]
        draft = replace(draft, direct=difference_of_means(others, keep).estimate())
    if costs_nothing and draft.n[0] < MIN_MODELS:
        few = (
            f"only {counted(draft.n[0], 'model satisfies', 'models satisfy')} it exactly: sample a "
            "space with this constraint, and compare the two"
        )
        return replace(draft, reason=few)
    return replace(draft, p=fit.p_upper if costs_nothing else fit.p)


def _detectable(difference: Estimate) -> float:
    """Difference found with 80 % power at a level of 5 %: 2.8 standard errors."""
    return 2.8 * (difference.high - difference.low) / 3.92


def _decide(
    draft: Proposal,
    candidate: Candidate,
    errors: FloatArray,
    p: float,
    alpha: float,
    margin: float,
) -> Proposal:
    """Decide on the verdict of a tested draft."""
    difference = draft.difference
    assert difference is not None
    draft = replace(draft, p=p)
    where = "in models that satisfy it"
    if draft.method == "line":
        where = "the nearer a model is to it"
    if draft.kind == "costs nothing":
        if p < alpha:
            reason = f"it raises the error by less than {_points(margin)}"
            return replace(draft, verdict="accepted", reason=reason)
        if difference.low > margin:
            reason = f"it raises the error by more than {_points(margin)}"
            return replace(draft, verdict="rejected", reason=reason)
        reason = f"not shown to raise the error by less than {_points(margin)}"
        return replace(draft, reason=reason)
    if p >= alpha:
        return replace(draft, reason="no significant difference")
    if difference.value > 0:
        return replace(draft, verdict="rejected", reason=f"error is higher {where}")
    if lost := _lost(candidate, errors):
        return replace(draft, verdict="undecided", reason=f"error is lower {where}, but {lost}")
    return replace(draft, verdict="accepted", reason=f"error is lower {where}")


def _points(value: float) -> str:
    return f"{value:g} percentage point" + ("" if value == 1 else "s")


def _lost(candidate: Candidate, errors: FloatArray) -> str | None:
    """Return why the constraint would exclude the best 5 % of the models, or None.

    One lucky model decides nothing. Hardly any model keeps a graded constraint exactly, so there
    the median of the best only has to be no farther from it than that of all.
    """
    count = max(3, round(BEST_TEST * len(errors)))
    if candidate.covariates is not None:
        columns = np.column_stack([np.ones(len(errors)), candidate.covariates])
        errors = errors - columns @ np.linalg.lstsq(columns, errors, rcond=None)[0]
    best = candidate.distance[np.argsort(errors, kind="stable")[:count]]
    if not candidate.unit:
        return f"none of the best {count} models satisfies it" if (best > 0).all() else None
    if float(np.median(best)) > float(np.median(candidate.distance)):
        return f"the best {count} models are farther from it than the median model"
    return None
