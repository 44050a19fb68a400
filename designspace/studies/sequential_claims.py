"""Claims judged by always-valid tests, so that populations may grow until each is decided."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any, Literal

import numpy as np

from designspace.analysis.claims import ComparisonClaim
from designspace.errors import counted
from designspace.runs import Run
from designspace.stats.arrays import FloatArray
from designspace.stats.sequential import mean_sequence

Verdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class SequentialVerdict:
    """The verdict of an always-valid test on a claim.

    Attributes:
        claim: The claim.
        verdict: supported, contradicted or undecided.
        pairs: Pairs of models, in sampled order, that it rests on.
        low: Lower end of the confidence sequence of the difference of means, percent.
        high: Upper end.
    """

    claim: ComparisonClaim
    verdict: Verdict
    pairs: int
    low: float
    high: float

    def __str__(self) -> str:
        pairs = counted(self.pairs, "pair")
        return f"{self.claim.claim}: {self.verdict}, valid at any time ({pairs})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; an end of the sequence is None until there are enough pairs."""
        ends = {"low": self.low, "high": self.high}
        finite = {name: end if math.isfinite(end) else None for name, end in ends.items()}
        return {"claim": self.claim.claim, "verdict": self.verdict, "pairs": self.pairs, **finite}


def judge_sequentially(
    claims: Sequence[ComparisonClaim],
    runs: Mapping[str, Run],
    alpha: float,
    declared: int | None = None,
    chosen: Mapping[str, Sequence[int]] | None = None,
) -> list[SequentialVerdict]:
    """Judge claims about two populations, valid however often and whenever this is called.

    Model i of the second is paired with model i of the first, in ascending order, up to the first
    model that lacks a trial in either; pairs with a failed trial are left out.

    Args:
        claims: Of one report, those whose populations exist.
        runs: The populations by name.
        alpha: Probability that any verdict of the report, at any time, is wrong (Bonferroni).
        declared: Number of claims of the report, among them those that can't be tested yet, so that
            the level stays as it is when they can; by default those of `claims`.
        chosen: Of populations of which only some models are trained, their indices.
    """
    level = 1 - alpha / (declared or max(1, len(claims)))
    verdicts = []
    for claim in claims:
        of_both = [set(chosen[n]) for n in claim.populations if n in chosen] if chosen else []
        indices = sorted(set.intersection(*of_both)) if of_both else count()
        pairs = _pairs(runs[claim.first], runs[claim.second], indices)
        verdicts.append(_judge(claim, *pairs, level))
    return verdicts


def _judge(claim: ComparisonClaim, a: FloatArray, b: FloatArray, level: float) -> SequentialVerdict:
    if not len(a):
        return SequentialVerdict(claim, "undecided", 0, -100.0, 100.0)
    means = mean_sequence(b - a, level)
    low, high = float(means.low[-1]), float(means.high[-1])
    return SequentialVerdict(claim, _verdict(claim, low, high), len(a), low, high)


def _verdict(claim: ComparisonClaim, low: float, high: float) -> Verdict:
    """Return the verdict of an interval of the difference, second minus first."""
    margin = claim.margin
    if claim.kind == "better":
        supported, contradicted = high < -margin, low > -margin
    elif claim.kind == "not_worse":
        supported, contradicted = high < margin, low > margin
    else:
        supported, contradicted = -margin < low and high < margin, low > margin or high < -margin
    return "supported" if supported else "contradicted" if contradicted else "undecided"


def _pairs(first: Run, second: Run, indices: Iterable[int]) -> tuple[FloatArray, FloatArray]:
    one, other = ({t.index: t.error for t in run.trials()} for run in (first, second))
    pairs = [(one[i], other[i]) for i in takewhile(lambda i: i in one and i in other, indices)]
    complete = np.array([p for p in pairs if None not in p], np.float64).reshape(-1, 2)
    return complete[:, 0], complete[:, 1]
