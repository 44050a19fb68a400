"""Findings as cautious sentences: the headline of a report."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from designspace.analysis.compare_pairs import PairComparison, interval_text, signed
from designspace.analysis.equal_cost import MIN_COMMON, ControlledDifference
from designspace.analysis.findings import (
    Findings,
    PopulationFindings,
    compared,
    lowest_mean,
    neighbors,
)
from designspace.analysis.population_results import PopulationResults
from designspace.arch import format_quantity
from designspace.errors import counted
from designspace.runs import TrialState

# With fewer models, intervals are wide and the best model is mostly luck.
FEW_MODELS = 30
# With a larger share of the variance between models, the noise of the images is reported.
_NOISY = 0.25
_MOST_PAIRS = 3


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
    best = lowest_mean(findings)
    if best is None:
        return Narrative(_warnings(findings), ("No model has an error.",))
    sentences = (
        _lead(best, findings),
        *(f"{p.seeds.sentence}." for p in populations if p.seeds is not None),
        *_comparisons(findings),
        *_claims(findings),
        *_parameters(best),
    )
    return Narrative(warnings=_warnings(findings), sentences=sentences)


def _warnings(findings: Findings) -> tuple[str, ...]:
    populations = findings.populations
    return (
        *map(_without_errors, findings.without_errors),
        *_unequal_costs(findings),
        *_noisy(populations),
        *_unfinished(populations),
        *_with_gaps(populations),
        *_small(populations),
        *_failed(populations),
        *_diverged(populations),
        *_trained_differently(populations),
    )


def _without_errors(results: PopulationResults) -> str:
    reason = next(iter(results.provenance.reasons), "")
    failed = int((results.states == TrialState.FAILED.value).sum())
    all_failed = "its only trial" if failed == 1 else f"all {failed} trials"
    return (
        f"No model of {results.name} has an error: {all_failed} failed"
        + (f" ({reason})" if reason else "")
        + ". Find the cause, then train again with retry=True."
    )


def _unequal_costs(findings: Findings) -> list[str]:
    """Which comparisons are between networks of different size, and what is left at equal cost."""
    pairs = [pair for pair in findings.comparisons if pair.unequal]
    if not pairs:
        return []
    ranges = [
        f"{p.name} {format_quantity(p.flops_range[0])} to {format_quantity(p.flops_range[1])}"
        for p in findings.populations
        if p.flops_range is not None
    ]
    text = "The populations differ in cost, so that a difference may be that of larger networks"
    if ranges:
        text += f" (multiply-adds: {_and(ranges)})"
    lists: dict[str, list[str]] = {}
    for pair in pairs:
        if (one := pair.at_equal(pair.unequal[0])) is not None:
            head, entry = _at_equal_cost(pair, one)
            lists.setdefault(head, []).append(entry)
    for head in sorted(lists, key=lambda head: not head.startswith("at equal")):
        more = len(lists[head]) - _MOST_PAIRS
        text += f"; {head}: {'; '.join(lists[head][:_MOST_PAIRS])}"
        text += f" and {counted(more, 'other pair')}" if more > 0 else ""
    return [f"{text}."]


def _at_equal_cost(pair: PairComparison, one: ControlledDifference) -> tuple[str, str]:
    """Return what is left of a difference at equal cost, or why that can't be said."""
    if one.difference is not None:
        shown = f"{pair.second} against {pair.first} {interval_text(one.difference)}"
        return f"at equal {one.control}", shown
    names = f"{pair.second} and {pair.first}"
    if not min(one.n):
        return f"too far apart to compare at equal {one.control}", names
    first, second = one.n
    head = f"too few models to compare at equal {one.control}"
    return head, f"{names} ({second} and {first} in the common range, {MIN_COMMON} needed)"


def _noisy(populations: Sequence[PopulationFindings]) -> list[str]:
    """Where few validation images make up much of the spread between models."""
    several = [p for p in populations if p.accounting.counted > 1]
    noisy = [(p, p.noise) for p in several if p.noise is not None and p.noise.share > _NOISY]
    if not noisy:
        return []
    images = _range([noise.images for _, noise in noisy], "d")
    width = _range([noise.half_width for _, noise in noisy], ".1f")
    std = _range([p.std for p, _ in noisy], ".1f")
    names = [p.name for p, _ in noisy]
    of = _and(names) if len(names) <= _MOST_PAIRS else f"{len(names)} populations"
    paired = [noise.paired.difference_std for _, noise in noisy if noise.paired]
    between = f" (±{_range([1.96 * one for one in paired], '.1f')} between two)" if paired else ""
    return [
        f"Part of the spread between models is noise of the validation images ({of}): "
        f"{images} images, ±{width} points per model{between}, against a standard deviation of "
        f"{std} between models."
    ]


def _range(values: Sequence[float], digits: str) -> str:
    """Return the range of some numbers, or the number that they share."""
    low, high = format(min(values), digits), format(max(values), digits)
    return low if low == high else f"{low} to {high}"


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


def _with_gaps(populations: Sequence[PopulationFindings]) -> list[str]:
    gaps = [p.name for p in populations if p.accounting.with_gaps]
    if not gaps:
        return []
    return [
        f"All finished trials of {_and(gaps)} count, those after the first model without one too: "
        "models that finish first are biased toward fast ones."
    ]


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
    diverged = [
        p.results.states[p.results.counted] == TrialState.DIVERGED.value for p in populations
    ]
    return [
        f"{diverging.sum()} of {p.accounting.counted} models of {p.name} diverged and count "
        f"with chance error, {p.results.chance:.1f} %: its mean says as much about the schedule as "
        "about the networks."
        for p, diverging in zip(populations, diverged, strict=True)
        if diverging.sum() > 0.1 * p.accounting.counted
    ]


def _trained_differently(populations: Sequence[PopulationFindings]) -> list[str]:
    """What differs between the populations' training, so that comparisons are limited."""
    sentences = []
    contents = {p.results.provenance.content for p in populations} - {""}
    if len(contents) > 1:
        sentences.append(
            "The populations were trained on different images: a difference may be the data's."
        )
    sides = {p.results.resolution for p in populations if p.results.resolution}
    if len(sides) > 1:
        sentences.append(
            "The populations see images of different sizes "
            f"({_and([f'{side} pixels' for side in sorted(sides)])})."
        )
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


def _lead(best: PopulationFindings, findings: Findings) -> str:
    mean = f"{best.edf.mean:.1f} %"
    if len(findings.populations) > 1:
        if all(pair.verdict == "undecided" for pair in findings.comparisons):
            return "No population is shown to be better than another."
        among = ""
        if len(compared(findings)) < len(findings.populations):
            among = " of the populations with two models or more"
        over = f"{mean} over {counted(best.edf.n, 'model')}"
        return f"{best.name} has the lowest mean error{among}, {over}."
    half = best.quantiles[2]
    interval = f"95 % interval {half.low:.1f} to {half.high:.1f}"
    if not np.isfinite(half.low + half.high):
        interval = "too few models for an interval"
    return (
        f"{best.name} has a mean error of {mean} over {counted(best.edf.n, 'model')}, the "
        "best of them "
        f"{best.edf.minimum:.1f} %; half of such models have less than {half.value:.1f} % "
        f"({interval})."
    )


def _comparisons(findings: Findings) -> list[str]:
    """Each population against its predecessor, or all pairs of a few populations.

    Undecided pairs share one sentence.
    """
    pairs = neighbors(findings)
    sentences = [f"{pair.sentence}." for pair in pairs if pair.verdict != "undecided"]
    undecided = [
        f"{pair.second} against {pair.first} ({signed(pair.comparison.mean.low, 1)} to "
        f"{signed(pair.comparison.mean.high, 1)} points of mean error)"
        for pair in pairs
        if pair.verdict == "undecided"
    ]
    if undecided:
        sentences.append(f"Undecided with these numbers of models: {_and(undecided)}.")
    return [
        *sentences,
        *_on_images(findings, pairs),
        *_stopped(findings, pairs),
        *_explained(pairs),
    ]


def _on_images(findings: Findings, pairs: Sequence[PairComparison]) -> list[str]:
    """What the differences are where not only models but also the images are redrawn."""
    redrawn = [(pair, pair.on_images) for pair in pairs if pair.on_images is not None]
    if not redrawn:
        return []
    images = _range([result.images for _, result in redrawn], "d")
    counts = {p.name: p.accounting.counted for p in findings.populations}
    shown = []
    for pair, result in redrawn:
        text = f"{pair.second} against {pair.first} {interval_text(result.difference)}"
        if result.n != (counts[pair.first], counts[pair.second]):
            second, first = result.n[::-1]
            text += f" (of the {second} and {first} models whose single images are recorded)"
        shown.append(text)
    return [f"With the draw of the {images} validation images as well: {_and(shown)}."]


def _stopped(findings: Findings, pairs: Sequence[PairComparison]) -> list[str]:
    """Of unfinished populations, what holds also if they were stopped because of the result."""
    unfinished = {p.name for p in findings.populations if not p.accounting.finished}
    # Where gaps may fill up, the order of the pairs is not that of sampling.
    unfinished -= {p.name for p in findings.populations if p.accounting.with_gaps}
    valid = [
        f"{pair.second} against {pair.first} {signed(pair.sequential.mean.low[-1])} to "
        f"{signed(pair.sequential.mean.high[-1])} points, "
        + (
            f"decided by {pair.sequential.decided_at} pairs"
            if pair.sequential.decided_at
            else "undecided"
        )
        for pair in pairs
        if {pair.first, pair.second} & unfinished and np.isfinite(pair.sequential.mean.low[-1])
    ]
    if not valid:
        return []
    each = ", of each pair" if len(valid) > 1 else ""
    return [f"Valid whenever the training was stopped (level 95 %{each}): {_and(valid)}."]


def _explained(pairs: Sequence[PairComparison]) -> list[str]:
    """Which decided differences size, depth or last width explain."""
    explained = [
        f"{pair.second} against {pair.first} by {_and(pair.explained_by)} ("
        + "; ".join(
            f"at equal {one.control} {interval_text(one.difference)}"
            for one in pair.controls
            if one.explains and one.difference is not None
        )
        + ")"
        for pair in pairs
        if pair.verdict in ("better", "worse") and pair.explained_by
    ]
    if not explained:
        return []
    return [f"May be explained by size or shape alone: {'; '.join(explained)}."]


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
    if len(claims) == 1:
        sentence = f"The claim made beforehand is {claims[0].verdict}."
    if borderline := [claim.claim for claim in claims if claim.borderline]:
        sentence += f" Borderline, as their two tests disagree: {'; '.join(borderline)}."
    if by_verdict["contradicted"]:
        sentence += f" Contradicted: {'; '.join(by_verdict['contradicted'])}."
    return [sentence]


def _parameters(p: PopulationFindings) -> list[str]:
    """Which parameters and constraints matter within the population of lowest mean error."""
    sentences = []
    alone = [
        f"{one.control} {100 * one.importance.value:.0f} %"
        for one in p.controls
        if one.importance.low > 0
    ]
    leading = [
        f"{trend.name} ({100 * trend.importance.value:.0f} % of the variation, 95 % interval "
        f"{100 * trend.importance.low:.0f} to {100 * trend.importance.high:.0f})"
        for trend in p.trends
        if trend.importance.low > 0
    ][:2]
    if leading:
        sentences.append(f"Within {p.name}, the error depends on {_and(leading)}.")
        if alone:
            sentences.append(f"Size and depth alone explain: {_and(alone)}.")
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
