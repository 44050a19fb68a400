"""Every two populations of a study compared: better, worse, equivalent or undecided."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

from designspace.analysis.compare import Comparison, Equivalence, compare, equivalent, holm
from designspace.analysis.results import Results

DEFAULT_MARGIN = 1.0
# With more populations than this, each is compared with the one named before it alone.
MOST_FOR_ALL_PAIRS = 8
_LEVEL = 0.05
Verdict = Literal["better", "worse", "equivalent", "undecided"]


@dataclass(frozen=True)
class Pair:
    """Two populations of a study.

    Attributes:
        first: Name of the first.
        second: Name of the second, of which the verdict speaks.
        comparison: Differences, second minus first, with their tests.
        equivalence: Whether the means lie within the margin.
        p: p-value of equal means, after Holm's correction over all pairs of the study.
        p_equivalent: p-value of a difference beyond the margin, corrected likewise.
        verdict: `better` or `worse` where the means differ, else `equivalent` where they are shown
            to lie within the margin, else `undecided`.
    """

    first: str
    second: str
    comparison: Comparison
    equivalence: Equivalence
    p: float
    p_equivalent: float
    verdict: Verdict

    @property
    def words(self) -> str:
        """The verdict as a sentence."""
        mean, margin = self.comparison.mean, self.equivalence.margin
        interval = (
            f"{mean.value:+.2f} % of mean error, 95 % interval {mean.low:+.2f} to {mean.high:+.2f}"
        )
        texts: dict[Verdict, str] = {
            "better": f"{self.second} is better than {self.first} ({interval})",
            "worse": f"{self.second} is worse than {self.first} ({interval})",
            "equivalent": f"{self.second} and {self.first} differ by less than {margin:g} % "
            f"({interval})",
            "undecided": f"whether {self.second} or {self.first} is better is undecided "
            f"({interval})",
        }
        return texts[self.verdict]


def compare_pairs(
    populations: Sequence[Results], margin: float = DEFAULT_MARGIN
) -> tuple[Pair, ...]:
    """Compare all pairs of populations that have two or more counted models each.

    Args:
        populations: In the order in which they were named.
        margin: Percent of error that counts as no difference, stated beforehand.
    """
    usable = [results for results in populations if results.counted.sum() >= 2]
    chosen = list(combinations(usable, 2))
    if len(usable) > MOST_FOR_ALL_PAIRS:
        chosen = list(pairwise(usable))
    found = [
        (
            compare(first.counted_errors, second.counted_errors),
            equivalent(first.counted_errors, second.counted_errors, margin),
        )
        for first, second in chosen
    ]
    p = holm([comparison.p_mean for comparison, _ in found])
    p_equivalent = holm([equivalence.p for _, equivalence in found])
    return tuple(
        Pair(
            first=chosen[i][0].name,
            second=chosen[i][1].name,
            comparison=comparison,
            equivalence=equivalence,
            p=p[i],
            p_equivalent=p_equivalent[i],
            verdict=_verdict(comparison, p[i], p_equivalent[i]),
        )
        for i, (comparison, equivalence) in enumerate(found)
    )


def _verdict(comparison: Comparison, p: float, p_equivalent: float) -> Verdict:
    if p < _LEVEL:
        return "better" if comparison.mean.value < 0 else "worse"
    return "equivalent" if p_equivalent < _LEVEL else "undecided"
