"""Every two populations of a study compared: better, worse, equivalent or undecided."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

from designspace.analysis.population_results import PopulationResults
from designspace.errors import InputError
from designspace.stats.arrays import FloatArray
from designspace.stats.comparison import Comparison, Equivalence, compare, equivalent, holm
from designspace.stats.power import difference_seen, models_to_see
from designspace.stats.sequential import SequentialComparison, compare_sequentially

DEFAULT_MARGIN = 1.0
# With more populations than this, each is compared with the one named before it alone.
MOST_FOR_ALL_PAIRS = 8
_LEVEL = 0.05
# Least p-value 0.0005: after Holm's correction over 28 pairs, 0.014.
_PERMUTATIONS = 1999
Verdict = Literal["better", "worse", "equivalent", "undecided"]
ClaimVerdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class PairComparison:
    """Two populations of a study.

    Attributes:
        first: Name of the first.
        second: Name of the second, of which the verdict speaks.
        comparison: Differences, second minus first, with their tests.
        equivalence: Whether the means lie within the margin.
        p: p-value of equal means, after Holm's correction over all pairs of the study.
        p_equivalent: p-value of a difference beyond the margin, corrected likewise.
        p_different: p-value of a difference within the margin, corrected likewise.
        verdict: `better` or `worse` where the means differ, else `equivalent` where they are shown
            to lie within the margin, else `undecided`.
        sequential: The comparison that may be looked at after every pair of trials.
        detectable_difference: Least difference of means that as many models see with 80 % power.
        models_needed: Models of each that detect a difference as large as the margin with 80 %
            power, or None where that is out of reach.
    """

    first: str
    second: str
    comparison: Comparison
    equivalence: Equivalence
    p: float
    p_equivalent: float
    p_different: float
    verdict: Verdict
    sequential: SequentialComparison
    detectable_difference: float
    models_needed: int | None

    @property
    def better(self) -> ClaimVerdict:
        """What the study says of "the second is better"."""
        if self.p >= _LEVEL:
            return "undecided"
        return "supported" if self.comparison.mean.value < 0 else "contradicted"

    @property
    def equal(self) -> ClaimVerdict:
        """What the study says of "the two differ by less than the margin"."""
        if self.p_equivalent < _LEVEL:
            return "supported"
        return "contradicted" if self.p_different < _LEVEL else "undecided"

    @property
    def sentence(self) -> str:
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
    populations: Sequence[PopulationResults], margin: float = DEFAULT_MARGIN
) -> tuple[PairComparison, ...]:
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
            compare(*errors_of(pair), permutations=_PERMUTATIONS),
            equivalent(*errors_of(pair), margin),
        )
        for pair in chosen
    ]
    p = holm([comparison.p_mean for comparison, _ in found])
    p_equivalent = holm([equivalence.p for _, equivalence in found])
    p_different = holm([equivalence.p_different for _, equivalence in found])
    return tuple(
        PairComparison(
            first=chosen[i][0].name,
            second=chosen[i][1].name,
            comparison=comparison,
            equivalence=equivalence,
            p=p[i],
            p_equivalent=p_equivalent[i],
            p_different=p_different[i],
            verdict=_verdict(comparison, p[i], p_equivalent[i]),
            sequential=compare_sequentially(*errors_of(chosen[i])),
            detectable_difference=difference_seen(*_spread(chosen[i])),
            models_needed=_needed(margin, chosen[i]),
        )
        for i, (comparison, equivalence) in enumerate(found)
    )


def errors_of(pair: tuple[PopulationResults, PopulationResults]) -> tuple[FloatArray, FloatArray]:
    """Return the errors of both populations' counted models, in sampled order."""
    return pair[0].counted_errors, pair[1].counted_errors


def _spread(pair: tuple[PopulationResults, PopulationResults]) -> tuple[tuple[float, float], int]:
    """Standard deviations, and the size of the smaller population."""
    a, b = errors_of(pair)
    return (float(a.std(ddof=1)), float(b.std(ddof=1))), min(len(a), len(b))


def _needed(margin: float, pair: tuple[PopulationResults, PopulationResults]) -> int | None:
    try:
        return models_to_see(margin, _spread(pair)[0])
    except InputError:
        return None


def _verdict(comparison: Comparison, p: float, p_equivalent: float) -> Verdict:
    if p < _LEVEL:
        return "better" if comparison.mean.value < 0 else "worse"
    return "equivalent" if p_equivalent < _LEVEL else "undecided"
