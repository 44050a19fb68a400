"""The matrix of all pairs: color by difference of mean error, mark by verdict."""

from dataclasses import dataclass

from designspace.analysis.compare_pairs import MAX_FOR_ALL_PAIRS, signed
from designspace.analysis.findings import Findings, compared
from designspace.report.verdict_cards import difference, verdict

_MARKS = {"better": "✓", "worse": "✗", "equivalent": "=", "undecided": "?"}
# The verdict on the first of a pair, by that on the second.
_REVERSED = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Cell:
    """One pair, seen from its row: below zero, the row's population has the lower error.

    Attributes:
        text: The difference of mean error, row minus column, in points.
        mark: The verdict on the row: ✓ better, ✗ worse, = equal, ? undecided.
        better: Whether the row has the lower mean.
        strength: Share of the largest difference of all pairs, 0 to 1.
        words: The verdict and the interval.
    """

    text: str
    mark: str
    better: bool
    strength: float
    words: str


def comparison_matrix(findings: Findings) -> list[list[Cell | None]]:
    """Return a row for each compared population, or none unless every two of several are."""
    names = [p.name for p in compared(findings)]
    if not 3 <= len(names) <= MAX_FOR_ALL_PAIRS:
        return []
    largest = max(abs(pair.comparison.mean.value) for pair in findings.comparisons) or 1.0
    cells: dict[tuple[str, str], Cell] = {}
    for pair in findings.comparisons:
        value = pair.comparison.mean.value
        words = f"{verdict(pair)}: {pair.second} minus {pair.first} {difference(pair)}"
        strength = abs(value) / largest
        for row, column, sign, one in (
            (pair.second, pair.first, 1, pair.verdict),
            (pair.first, pair.second, -1, _REVERSED.get(pair.verdict, pair.verdict)),
        ):
            text, better = signed(sign * value, 1), sign * value < 0
            cells[row, column] = Cell(text, _MARKS[one], better, strength, words)
    return [[cells.get((row, column)) for column in names] for row in names]
