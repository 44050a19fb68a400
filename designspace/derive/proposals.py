"""Which constraints a study speaks for: each a claim with its test, its numbers and its verdict.

Two kinds of claims, each with the test that fits it. *Better*: models that keep the constraint have
less error than those that don't (studentized permutation test on means). *Costs nothing*: models
that nearly keep it are worse by less than a stated margin, if at all (one-sided Welch test against
the margin): for sharing, since free stages hardly ever agree in full. Holm's correction is taken
over all claims of one study. Values and ranges are chosen on every other model, and tested on the
rest, so that choice and test don't share data.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from designspace.analysis.arrays import BoolArray, FloatArray
from designspace.analysis.best import bootstrap
from designspace.analysis.compare import Estimate, compare, equivalent, holm
from designspace.analysis.fits import fit_quantized_linear
from designspace.analysis.results import Results
from designspace.space import Space, load_space

# Fewer models on either side, and a claim is left undecided.
LEAST = 8
# A RegNet has all of this, so its rule is asked about last, as in the paper.
_RISING = {("w", "increasing"), ("d", "increasing")}
_RANGED = ("d", "w_0", "w_a", "w_m")


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
        verdict: `accepted` into the narrower space; `rejected`: models that keep it are worse, or
            it would leave none; `undecided`: the study doesn't tell.
        difference: Mean error of the models that keep it, minus that of the others, percent, with
            its 95 % interval; None where too few models are on one side.
        p: p-value after Holm's correction, or None.
        n: Models that keep it and models that don't.
        reason: The verdict in words.
    """

    claim: str
    kind: Literal["better", "costs nothing"]
    change: dict[str, Any]
    verdict: Literal["accepted", "rejected", "undecided"]
    difference: Estimate | None
    p: float | None
    n: tuple[int, int]
    reason: str

    @property
    def accepted(self) -> bool:
        """Whether the narrower space has it."""
        return self.verdict == "accepted"

    def __str__(self) -> str:
        numbers = "" if self.difference is None else f"; difference {self.difference} % of error"
        p = "" if self.p is None else f", p = {self.p:.3g} (Holm)"
        n = f", n = {self.n[0]} + {self.n[1]}"
        return f"{self.verdict}: {self.claim}: {self.reason}{numbers}{p}{n}"


@dataclass(frozen=True, eq=False)
class _Claim:
    """A constraint before its test: which of the counted models keep it, and which are tested."""

    words: str
    kind: Literal["better", "costs nothing"]
    change: dict[str, Any]
    keeps: BoolArray
    tested: BoolArray


def propose(space: Space, results: Results, rule: Rule) -> tuple[Proposal, ...]:
    """Test every constraint that the space does not have yet, in a fixed order."""
    claims = (
        _regnet_claims(space, results)
        if space.family == "regnet"
        else _anynet_claims(space, results)
    )
    errors = results.counted_errors
    drafts = [_judge(claim, errors, rule) for claim in claims]
    tested = [i for i, draft in enumerate(drafts) if draft.p is not None]
    adjusted = dict(zip(tested, holm([drafts[i].p or 0.0 for i in tested]), strict=True))
    return tuple(_decide(draft, adjusted.get(i), rule) for i, draft in enumerate(drafts))


def _anynet_claims(space: Space, results: Results) -> list[_Claim]:
    stages = results.stages
    assert stages is not None
    rows = results.rows
    stages = stages.take(rows)
    every = np.ones(len(rows), dtype=bool)
    claims: list[_Claim] = []
    for axis, values in (("b", stages.bottleneck_ratios), ("g", stages.group_widths)):
        if axis in space.share or len(space.axes[axis]) == 1:
            continue
        spread = np.log2(values.max(axis=1) / values.min(axis=1))
        middle = np.median(spread)
        alike = spread <= middle if (spread > middle).any() else spread < middle
        claims.append(
            _Claim(
                f"one {axis} for all stages",
                "costs nothing",
                {"share": [axis]},
                np.asarray(alike),
                every,
            )
        )
    for axis, array in (("w", stages.widths), ("d", stages.depths)):
        if axis in space.share or axis in space.monotone:
            continue
        claims.append(
            _Claim(
                f"{'widths' if axis == 'w' else 'depths'} that never decrease",
                "better",
                {"monotone": {axis: "increasing"}},
                np.asarray((np.diff(array, axis=1) >= 0).all(axis=1)),
                every,
            )
        )
    if "b" in space.share:
        claims += _one_value(space, "b", stages.bottleneck_ratios[:, 0], results)
    if "g" in space.share:  # the widest stage's: in narrower ones it is cut down to the width
        claims += _one_value(space, "g", stages.group_widths.max(axis=1).astype(float), results)
    if {"b", "g"} <= set(space.share) and set(space.monotone.items()) >= _RISING:
        claims.append(_quantized_linear(space, results))
    return claims


def _regnet_claims(space: Space, results: Results) -> list[_Claim]:
    columns = results.counted_parameters()
    claims = _one_value(space, "b", columns["b"], results)
    claims += _one_value(space, "g", columns["g"], results)
    for axis in _RANGED:
        if axis in space.tie or len(space.axes[axis]) == 1:
            continue
        claims += _range(space, axis, columns[axis], results.counted_errors)
    return claims


def _one_value(space: Space, axis: str, values: FloatArray, results: Results) -> list[_Claim]:
    """The value with the least mean error among every other model, tested on the rest."""
    if len(space.axes[axis]) == 1:
        return []
    choosing = np.arange(len(values)) % 2 == 0
    errors = results.counted_errors
    found = [v for v in space.axes[axis].values if (values[choosing] == v).any()]
    if not found:
        return []
    best = min(found, key=lambda v: float(errors[choosing & (values == v)].mean()))
    change = {"axes": {axis: {"distribution": "choice", "values": [float(best)]}}}
    return [_Claim(f"{axis} = {best:g}", "better", change, values == best, ~choosing)]


def _range(space: Space, axis: str, values: FloatArray, errors: FloatArray) -> list[_Claim]:
    """The bootstrap interval of the best among every other model, tested on the rest."""
    choosing = np.arange(len(values)) % 2 == 0
    if choosing.sum() < LEAST:
        return []
    found = bootstrap(values[choosing], errors[choosing])
    ends = space.axes[axis].values
    written = space.source["axes"][axis]
    if found.few or written["distribution"] == "choice":
        return []
    low, high = float(max(found.low, ends[0])), float(min(found.high, ends[-1]))
    if (low, high) == (ends[0], ends[-1]):
        return []
    change = {"axes": {axis: {**written, "low": low, "high": high}}}
    inside = np.asarray((values >= low) & (values <= high))
    return [_Claim(f"{axis} from {low:g} to {high:g}", "better", change, inside, ~choosing)]


def _quantized_linear(space: Space, results: Results) -> _Claim:
    stages = results.stages
    assert stages is not None
    stages = stages.take(results.rows)
    fit = fit_quantized_linear(stages.widths, stages.depths).error
    setting = space.name.partition("@")[2]
    try:
        regnet = load_space(f"RegNetX@{setting}" if setting else "RegNetX")
    except ValueError:  # a setting of the person's own: the axes of full-size networks
        regnet = load_space("RegNetX")
    axes = {**regnet.source["axes"], **{k: space.source["axes"][k] for k in ("b", "g")}}
    change = {"family": "regnet", "axes": axes, "share": [], "monotone": {}}
    words = "widths that follow the quantized linear rule (e_fit below its median)"
    every = np.ones(len(fit), dtype=bool)
    return _Claim(words, "better", change, fit <= np.median(fit), every)


def _judge(claim: _Claim, errors: FloatArray, rule: Rule) -> Proposal:
    keep, others = errors[claim.keeps & claim.tested], errors[~claim.keeps & claim.tested]
    draft = Proposal(
        claim=claim.words,
        kind=claim.kind,
        change=claim.change,
        verdict="undecided",
        difference=None,
        p=None,
        n=(len(keep), len(others)),
        reason=f"fewer than {LEAST} models on one side",
    )
    if min(draft.n) < LEAST:
        return draft
    found = compare(others, keep)
    costs_nothing = claim.kind == "costs nothing"
    p = equivalent(others, keep, rule.margin).p_upper if costs_nothing else found.p_mean
    return replace(draft, difference=found.mean, p=p)


def _decide(draft: Proposal, p: float | None, rule: Rule) -> Proposal:
    if draft.difference is None or p is None:
        return draft
    if draft.kind == "costs nothing":
        if p < rule.alpha:
            reason = f"models nearest to it are worse by less than {rule.margin:g} %, if at all"
            return replace(draft, p=p, verdict="accepted", reason=reason)
        reason = f"that it costs less than {rule.margin:g} % is not shown"
        return replace(draft, p=p, reason=reason)
    if p >= rule.alpha:
        return replace(draft, p=p, reason="no difference is shown")
    if draft.difference.value < 0:
        return replace(draft, p=p, verdict="accepted", reason="models that keep it are better")
    return replace(draft, p=p, verdict="rejected", reason="models that keep it are worse")
