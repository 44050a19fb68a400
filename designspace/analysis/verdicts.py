"""Findings in plain, cautious words: what a reader should take away first."""

from collections.abc import Sequence
from dataclasses import dataclass

from designspace.analysis.findings import Findings, PopulationFindings


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
    return Verdicts(warnings=_warnings(findings.populations), sentences=_sentences(findings))


def _warnings(populations: Sequence[PopulationFindings]) -> tuple[str, ...]:
    unfinished = [p for p in populations if not p.accounting.finished]
    words = []
    if unfinished:
        parts = ", ".join(
            f"{p.name} {p.accounting.trained} of {p.accounting.n}" for p in unfinished
        )
        words.append(
            f"This study is not finished: {parts} models are trained. What follows may change."
        )
    return tuple(words)


def _sentences(findings: Findings) -> tuple[str, ...]:
    best = min(findings.populations, key=lambda p: p.edf.mean)
    if not findings.pairs:
        return (f"{best.name} has a mean error of {best.edf.mean:.1f} %.",)
    sentences = [f"{best.name} has the least mean error, {best.edf.mean:.1f} %."]
    shown = [pair for pair in findings.pairs if pair.verdict != "undecided"]
    # The first letter is a name that people chose: it stays as it is.
    sentences += [f"{pair.words}." for pair in shown]
    open_pairs = [pair for pair in findings.pairs if pair.verdict == "undecided"]
    if open_pairs:
        names = "; ".join(f"{pair.second} against {pair.first}" for pair in open_pairs)
        sentences.append(f"Undecided with these numbers of models: {names}.")
    return tuple(sentences)
