"""Findings in plain, cautious words: what a reader should take away first."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from designspace.analysis.findings import Findings, PopulationFindings
from designspace.analysis.pairwise import PairComparison

# Below this many models, intervals are wide and the best of them is mostly luck.
FEW_MODELS = 30


@dataclass(frozen=True)
class Verdicts:
    """The words at the head of a report.

    Attributes:
        warnings: What limits all that follows, unfinished populations first.
        sentences: The verdicts.
    """

    warnings: tuple[str, ...]
    sentences: tuple[str, ...]

    @property
    def paragraph(self) -> str:
        """The verdicts as one paragraph."""
        return " ".join(self.sentences)


def verdicts(findings: Findings) -> Verdicts:
    """Put findings into words."""
    populations = findings.populations
    sentences = (
        *_lead(findings),
        *_steps(findings),
        *_claims(findings),
        *_parameters(min(populations, key=lambda p: p.edf.mean)),
    )
    return Verdicts(warnings=_warnings(populations), sentences=sentences)


def _warnings(populations: Sequence[PopulationFindings]) -> tuple[str, ...]:
    words = []
    unfinished = [p for p in populations if not p.accounting.finished]
    if unfinished:
        parts = _and([f"{p.name} {p.accounting.trained} of {p.accounting.n}" for p in unfinished])
        words.append(
            f"This study is not finished: {parts} models are trained. What follows may change."
        )
    small = [f"{p.name} ({p.accounting.counted})" for p in populations if _small(p)]
    if small:
        words.append(
            f"Few models: {_and(small)}. Intervals are wide, and the best of so few is mostly luck."
        )
    words += _failed(populations)
    for p in populations:
        count = p.accounting
        if count.diverged > 0.1 * count.counted:
            words.append(
                f"{count.diverged} of {count.counted} models of {p.name} diverged and count with "
                f"chance error, {p.results.chance:.1f} %: its mean says as much about the schedule "
                "as about the networks."
            )
    return (*words, *_unlike(populations))


def _failed(populations: Sequence[PopulationFindings]) -> list[str]:
    failed = [p for p in populations if p.accounting.failed]
    if not failed:
        return []
    parts = _and([f"{p.accounting.failed} of {p.accounting.n} of {p.name}" for p in failed])
    shift = max(
        max(p.accounting.mean_worst_case - p.edf.mean, p.edf.mean - p.accounting.mean_best_case)
        for p in failed
    )
    return [
        f"Failed models are not counted: {parts}. Had each been as good as the best, or at chance, "
        f"no mean would move by more than {shift:.1f} %."
    ]


def _unlike(populations: Sequence[PopulationFindings]) -> list[str]:
    """What was not the same for all populations, so that they can't well be compared."""
    words = []
    recipes = [
        {key: value for key, value in p.results.provenance.recipe.items() if key != "about"}
        for p in populations
    ]
    if any(first != second for first, second in pairwise(recipes)):
        words.append(
            "The populations were not trained by one recipe: a difference may be the recipe's."
        )
    splits = {split for p in populations for split in p.results.provenance.splits}
    if len(splits) > 1:
        words.append(f"Errors are of different splits ({_and(sorted(splits))}).")
    return words


def _lead(findings: Findings) -> list[str]:
    best = min(findings.populations, key=lambda p: p.edf.mean)
    half = best.quantiles[2]
    mean = f"{best.edf.mean:.1f} %"
    if len(findings.populations) == 1:
        return [
            f"{best.name} has a mean error of {mean} over {best.edf.n} models, the best of them "
            f"{best.edf.minimum:.1f} %; half of such models have less than {half.value:.1f} % "
            f"(95 % interval {half.low:.1f} to {half.high:.1f})."
        ]
    return [f"{best.name} has the least mean error, {mean} over {best.edf.n} models."]


def _steps(findings: Findings) -> list[str]:
    """Each population against the one named before it, or all pairs of a few populations.

    What is undecided goes into one sentence.
    """
    names = list(pairwise(p.name for p in findings.populations))
    few = len(findings.populations) <= 3
    steps = [pair for pair in findings.comparisons if few or (pair.first, pair.second) in names]
    sentences = [f"{pair.sentence}." for pair in steps if pair.verdict != "undecided"]
    unclear = [pair for pair in steps if pair.verdict == "undecided"]
    if unclear:
        sentences.append(f"Undecided with these numbers of models: {_and(_open(unclear))}.")
    return sentences


def _open(pairs: Sequence[PairComparison]) -> list[str]:
    return [
        f"{pair.second} against {pair.first} ({pair.comparison.mean.low:+.1f} to "
        f"{pair.comparison.mean.high:+.1f} % of mean error)"
        for pair in pairs
    ]


def _claims(findings: Findings) -> list[str]:
    if findings.claims is None:
        return []
    claims = findings.claims.claims
    counts = {
        word: [claim.claim for claim in claims if claim.verdict == word]
        for word in ("supported", "contradicted", "undecided")
    }
    totals = _and([f"{len(found)} {word}" for word, found in counts.items()])
    sentence = f"Of the {len(claims)} claims made beforehand: {totals}."
    if counts["contradicted"]:
        sentence += f" Contradicted: {'; '.join(counts['contradicted'])}."
    return [sentence]


def _parameters(p: PopulationFindings) -> list[str]:
    """What seems to matter within the population of least mean error."""
    sentences = []
    leading = [trend for trend in p.trends if trend.importance.low > 0][:2]
    if leading:
        parts = [
            f"{trend.name} ({100 * trend.importance.value:.0f} % of the variation, 95 % interval "
            f"{100 * trend.importance.low:.0f} to {100 * trend.importance.high:.0f})"
            for trend in leading
        ]
        sentences.append(f"Within {p.name}, the error goes most with {_and(parts)}.")
    elif p.trends:
        sentences.append(f"Within {p.name}, no single parameter is shown to matter.")
    shared = [one for one in p.constraints if one.shared][:2]
    if shared:
        parts = [
            f"{c.name} ({100 * c.best.value:.0f} % against {100 * c.others.value:.0f} %)"
            for c in shared
        ]
        sentences.append(f"Its best quarter keeps more often than the rest: {_and(parts)}.")
    return sentences


def _small(p: PopulationFindings) -> bool:
    return p.accounting.finished and p.accounting.counted < FEW_MODELS


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
