"""Findings as cautious sentences: the headline of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from designspace.analysis.findings import Findings, PopulationFindings

# With fewer models, intervals are wide and the best model is mostly luck.
FEW_MODELS = 30


@dataclass(frozen=True)
class Narrative:
    """The headline of a report.

    Attributes:
        warnings: What limits the results, unfinished populations first.
        sentences: The results.
    """

    warnings: tuple[str, ...]
    sentences: tuple[str, ...]

    @property
    def paragraph(self) -> str:
        """The sentences as one paragraph."""
        return " ".join(self.sentences)


def narrate(findings: Findings) -> Narrative:
    """Describe findings in words."""
    populations = findings.populations
    best = min(populations, key=lambda p: p.edf.mean)
    sentences = (
        _lead(best, alone=len(populations) == 1),
        *_comparisons(findings),
        *_claims(findings),
        *_parameters(best),
    )
    return Narrative(warnings=_warnings(populations), sentences=sentences)


def _warnings(populations: Sequence[PopulationFindings]) -> tuple[str, ...]:
    return (
        *_unfinished(populations),
        *_small(populations),
        *_failed(populations),
        *_diverged(populations),
        *_trained_differently(populations),
    )


def _unfinished(populations: Sequence[PopulationFindings]) -> list[str]:
    unfinished = [p for p in populations if not p.accounting.finished]
    if not unfinished:
        return []
    counts = _and([f"{p.name} {p.accounting.trained} of {p.accounting.n}" for p in unfinished])
    sentences = [f"This study is not finished: {counts} models are trained. Results may change."]
    aside = [p for p in unfinished if p.accounting.set_aside]
    if aside:
        counts = _and([f"{p.accounting.set_aside} of {p.name}" for p in aside])
        sentences.append(
            f"Finished trials after the first model without one are set aside, because models that "
            f"finish first are biased toward fast ones: {counts}. all_finished=True includes them."
        )
    return sentences


def _small(populations: Sequence[PopulationFindings]) -> list[str]:
    small = [
        f"{p.name} ({p.accounting.counted})"
        for p in populations
        if p.accounting.finished and p.accounting.counted < FEW_MODELS
    ]
    if not small:
        return []
    return [f"Few models: {_and(small)}. Intervals are wide, and the best model is mostly luck."]


def _failed(populations: Sequence[PopulationFindings]) -> list[str]:
    failed = [p for p in populations if p.accounting.failed]
    if not failed:
        return []
    counts = _and([f"{p.accounting.failed} of {p.accounting.n} of {p.name}" for p in failed])
    shift = max(
        max(p.accounting.mean_worst_case - p.edf.mean, p.edf.mean - p.accounting.mean_best_case)
        for p in failed
    )
    return [
        f"Failed models are not counted: {counts}. Had each been as good as the best, or at "
        f"chance, no mean would change by more than {shift:.1f} %."
    ]


def _diverged(populations: Sequence[PopulationFindings]) -> list[str]:
    return [
        f"{p.accounting.diverged} of {p.accounting.counted} models of {p.name} diverged and count "
        f"with chance error, {p.results.chance:.1f} %: its mean says as much about the schedule as "
        "about the networks."
        for p in populations
        if p.accounting.diverged > 0.1 * p.accounting.counted
    ]


def _trained_differently(populations: Sequence[PopulationFindings]) -> list[str]:
    """What differs between the populations' training, so that comparisons are limited."""
    sentences = []
    recipes = [
        {key: value for key, value in p.results.provenance.recipe.items() if key != "about"}
        for p in populations
    ]
    if any(recipe != recipes[0] for recipe in recipes):
        sentences.append(
            "The populations were trained with different recipes: a difference may be the recipe's."
        )
    splits = {split for p in populations for split in p.results.provenance.splits}
    if len(splits) > 1:
        sentences.append(f"Errors are of different splits ({_and(sorted(splits))}).")
    return sentences


def _lead(best: PopulationFindings, alone: bool) -> str:
    mean = f"{best.edf.mean:.1f} %"
    if not alone:
        return f"{best.name} has the lowest mean error, {mean} over {best.edf.n} models."
    half = best.quantiles[2]
    return (
        f"{best.name} has a mean error of {mean} over {best.edf.n} models, the best of them "
        f"{best.edf.minimum:.1f} %; half of such models have less than {half.value:.1f} % "
        f"(95 % interval {half.low:.1f} to {half.high:.1f})."
    )


def _comparisons(findings: Findings) -> list[str]:
    """Each population against its predecessor, or all pairs of a few populations.

    Undecided pairs share one sentence.
    """
    neighbors = list(pairwise(p.name for p in findings.populations))
    few = len(findings.populations) <= 3
    pairs = [pair for pair in findings.comparisons if few or (pair.first, pair.second) in neighbors]
    sentences = [f"{pair.sentence}." for pair in pairs if pair.verdict != "undecided"]
    undecided = [
        f"{pair.second} against {pair.first} ({pair.comparison.mean.low:+.1f} to "
        f"{pair.comparison.mean.high:+.1f} % of mean error)"
        for pair in pairs
        if pair.verdict == "undecided"
    ]
    if undecided:
        sentences.append(f"Undecided with these numbers of models: {_and(undecided)}.")
    return sentences


def _claims(findings: Findings) -> list[str]:
    if findings.claims is None:
        return []
    claims = findings.claims.claims
    by_verdict = {
        verdict: [claim.claim for claim in claims if claim.verdict == verdict]
        for verdict in ("supported", "contradicted", "undecided")
    }
    totals = _and([f"{len(texts)} {verdict}" for verdict, texts in by_verdict.items()])
    sentence = f"Of the {len(claims)} claims made beforehand: {totals}."
    if by_verdict["contradicted"]:
        sentence += f" Contradicted: {'; '.join(by_verdict['contradicted'])}."
    return [sentence]


def _parameters(p: PopulationFindings) -> list[str]:
    """Which parameters and constraints matter within the population of lowest mean error."""
    sentences = []
    leading = [
        f"{trend.name} ({100 * trend.importance.value:.0f} % of the variation, 95 % interval "
        f"{100 * trend.importance.low:.0f} to {100 * trend.importance.high:.0f})"
        for trend in p.trends
        if trend.importance.low > 0
    ][:2]
    if leading:
        sentences.append(f"Within {p.name}, the error depends most on {_and(leading)}.")
    elif p.trends:
        sentences.append(f"Within {p.name}, no single parameter is shown to matter.")
    shared = [
        f"{c.name} ({100 * c.best.value:.0f} % against {100 * c.others.value:.0f} %)"
        for c in p.constraints
        if c.shared
    ][:2]
    if shared:
        sentences.append(f"Its best quarter satisfies more often than the rest: {_and(shared)}.")
    return sentences


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
