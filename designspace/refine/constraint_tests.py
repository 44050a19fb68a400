"""Which constraints a study speaks for: each a claim with its test, its numbers and its verdict.

Two kinds of claims, each with the test that fits it. *Better*: models that keep the constraint have
less error than those that don't. *Costs nothing*: they are worse by less than a stated margin, if
at all: for sharing. Holm's correction is taken over all claims of one study. Values and ranges are
chosen on every other model, and tested on the rest, so that choice and test don't share data.

Where enough models keep the constraint in full, means are compared (studentized permutation test,
or Welch's t against the margin). Of free stages hardly any do; then a straight line of error
against the distance from the constraint stands in (`trend.at_zero`), and the reason says so.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from designspace.analysis.population_results import PopulationResults
from designspace.refine.candidates import Candidate, candidates
from designspace.refine.distance_regression import at_zero
from designspace.space import Space
from designspace.stats.arrays import FloatArray
from designspace.stats.comparison import Estimate, compare, equivalent, holm

# Fewer models on either side of a cut, and a claim is left undecided.
LEAST = 8
# What models keep by degrees is judged by its line where fewer than this keep it in full (or
# don't): a mean of fewer is less sure than the line.
ENOUGH = 30
# A line is drawn through no fewer models, of which at least LEAST are off the commonest distance.
LEAST_OF_LINE = 24
BEST_SHARE = 0.25


@dataclass(frozen=True)
class Rule:
    """What is asked of a study.

    Attributes:
        alpha: Chance of any wrong constraint among all that are proposed.
        margin: Percent of error that sharing may cost and still count as nothing.
    """

    alpha: float = 0.05
    margin: float = 1.0


@dataclass(frozen=True)
class Proposal:
    """One constraint and what the study says of it.

    Attributes:
        claim: The constraint in words.
        kind: `better` or `costs nothing`.
        change: What it adds to the space file's keys.
        verdict: `accepted` into the narrower space; `rejected`: models that keep it are worse, the
            best model would be lost, or it would leave none; `undecided`: the study doesn't tell.
        method: `means`: of models that keep it and models that don't; `line`: what a straight line
            of error against the distance from it says of distance 0; None where nothing is tested.
        difference: Error of models that keep it, minus that of the others, percent, with its 95 %
            interval; None where nothing is tested.
        p: p-value after Holm's correction, or None.
        n: Models that keep it in full and models that don't, among those that the test may use.
        best: How many of the best quarter of all models keep it in full, and how many those are.
        best_distance: How far the best model is from it, in `unit`; 0 where it keeps it.
        unit: What the distance counts; "" for a plain cut.
        reason: The verdict in words.
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

    @property
    def accepted(self) -> bool:
        """Whether the narrower space has it."""
        return self.verdict == "accepted"

    def as_float_array(self) -> str:
        """Return the numbers behind the verdict in one line."""
        parts = [f"kept by {self.n[0]} of {sum(self.n)} models"]
        parts.append(f"by {self.best[0]} of the best {self.best[1]}")
        if not self.best_distance:
            parts.append("and by the best of all")
        elif self.unit:
            parts.append(f"missed by the best of all by {self.best_distance:.2g} {self.unit}")
        else:
            parts.append("not by the best of all")
        if self.difference is not None:
            parts.append(f"difference {self.difference} % of error by {self.method}")
        if self.p is not None:
            parts.append(f"p = {self.p:.3g} (Holm)")
        return ", ".join(parts)

    def __str__(self) -> str:
        return f"{self.verdict}: {self.claim}: {self.reason} ({self.as_float_array()})"


def evaluate_constraints(
    space: Space, results: PopulationResults, rule: Rule
) -> tuple[Proposal, ...]:
    """Test every constraint that the space does not have yet, in a fixed order."""
    found = candidates(space, results)
    errors = results.counted_errors
    drafts = [_judge(candidate, errors, rule) for candidate in found]
    tested = [i for i, draft in enumerate(drafts) if draft.p is not None]
    adjusted = dict(zip(tested, holm([drafts[i].p or 0.0 for i in tested]), strict=True))
    return tuple(
        _decide(draft, found[i], adjusted[i], rule) if i in adjusted else draft
        for i, draft in enumerate(drafts)
    )


def _judge(candidate: Candidate, errors: FloatArray, rule: Rule) -> Proposal:
    """Test one constraint; p is not yet corrected, and the verdict is open."""
    keeps, tested = candidate.keeps, candidate.tested
    order = np.argsort(errors, kind="stable")
    quarter = order[: max(1, int(BEST_SHARE * len(errors)))]
    verdict, reason = candidate.moot or ("undecided", "")
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
    )
    if candidate.moot:
        return draft
    costs_nothing = candidate.kind == "costs nothing"
    enough = ENOUGH if candidate.unit else LEAST
    if candidate.given is None and min(draft.n) >= enough:
        keep, others = errors[keeps & tested], errors[~keeps & tested]
        found = compare(others, keep)
        p = equivalent(others, keep, rule.margin).p_upper if costs_nothing else found.p_mean
        return replace(draft, method="means", difference=found.mean, p=p)
    if not candidate.unit:
        return replace(draft, reason=f"fewer than {LEAST} models to test it on one side")
    distance = candidate.distance[tested]
    varied = len(distance) - int(np.unique(distance, return_counts=True)[1].max(initial=0))
    if len(distance) < LEAST_OF_LINE or varied < LEAST:
        few = f"too few models: {len(distance)}, and a line needs {LEAST_OF_LINE} that differ in it"
        return replace(draft, reason=few)
    given = None if candidate.given is None else candidate.given[tested]
    line = at_zero(distance, errors[tested], rule.margin, given)
    p = line.p_upper if costs_nothing else line.p
    return replace(draft, method="line", difference=line.difference, p=p)


def _decide(draft: Proposal, candidate: Candidate, p: float, rule: Rule) -> Proposal:
    """Turn a tested draft into its verdict."""
    difference = draft.difference
    assert difference is not None
    draft = replace(draft, p=p)
    models = "models that keep it are"
    if draft.method == "line":
        models = "the nearer models are to it, the"
    if draft.kind == "costs nothing":
        if p < rule.alpha:
            reason = f"it costs less than {rule.margin:g} % of error, if anything"
            return replace(draft, verdict="accepted", reason=reason)
        if difference.low > rule.margin:
            reason = f"it costs more than {rule.margin:g} % of error"
            return replace(draft, verdict="rejected", reason=reason)
        reason = f"that it costs less than {rule.margin:g} % of error is not shown"
        return replace(draft, reason=reason)
    if p >= rule.alpha:
        return replace(draft, reason="no difference is shown")
    if difference.value > 0:
        return replace(draft, verdict="rejected", reason=f"{models} worse")
    if lost := _lost(draft, candidate):
        return replace(draft, verdict="rejected", reason=f"{models} better, but {lost}")
    return replace(draft, verdict="accepted", reason=f"{models} better")


def _lost(draft: Proposal, candidate: Candidate) -> str | None:
    """Why the constraint would lose the best model, or None.

    A cut must keep it. What is kept by degrees is kept in full by hardly any model, so there the
    best one may be a little off: not farther than the middle of all.
    """
    if not candidate.unit:
        return "the best model does not keep it" if draft.best_distance else None
    if draft.best_distance > float(np.median(candidate.distance)):
        return "the best model is farther from it than most"
    return None
