"""Pairwise comparison of the populations of a study."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

import numpy as np

from designspace.analysis.compare_images import (
    ImageComparison,
    ImageErrors,
    compare_on_images,
)
from designspace.analysis.equal_cost import (
    ControlledDifference,
    controlled_differences,
    unequal_costs,
)
from designspace.analysis.population_results import PopulationResults
from designspace.errors import InputError
from designspace.stats.arrays import FloatArray
from designspace.stats.edf import Edf
from designspace.stats.edf_bands import EdfDifference, edf_difference
from designspace.stats.equivalence import Equivalence, equivalent
from designspace.stats.intervals import Estimate
from designspace.stats.mean_difference import difference_of_means
from designspace.stats.multiple_testing import holm
from designspace.stats.power import detectable_difference, models_for_difference
from designspace.stats.sequential import SequentialComparison, compare_sequentially
from designspace.stats.two_sample import Comparison, compare_arrays

DEFAULT_MARGIN = 1.0
# Counted models that a population needs to be compared.
MIN_COMPARED = 2
# With more populations than this, each is only compared with its predecessor.
MAX_FOR_ALL_PAIRS = 16
_ALPHA = 0.05
# Smallest p-values 0.0005 and 0.0002: after Holm's correction over 28 and 120 pairs, 0.014 and
# 0.024.
PERMUTATIONS, _MORE_PERMUTATIONS = 1999, 4999
_MANY_PAIRS = 28
Verdict = Literal["better", "worse", "equivalent", "undecided"]
ClaimVerdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class PairComparison:
    """Two populations of a study compared.

    Attributes:
        first: Name of the first.
        second: Name of the second, the subject of the verdict.
        comparison: Differences, second minus first, with their tests.
        edf_difference: Difference of the EDFs with a simultaneous band, and where it excludes zero.
        equivalence: Whether the means lie within the margin.
        unequal: Costs whose medians differ by more than a quarter: the verdict may be about size.
        controls: The difference with multiply-adds, parameters, activations, depth or last width
            held fixed, as far as they are known.
        p: p-value of equal means, the larger of permutation test and bootstrap-t, after Holm's
            correction over all pairs of the study.
        p_equivalent: p-value of a difference beyond the margin, the larger of t and bootstrap-t,
            corrected likewise.
        p_different: p-value of a difference within the margin, likewise.
        verdict: `better` or `worse` where the means differ, else `equivalent` where they are shown
            to lie within the margin, else `undecided`.
        sequential: The comparison that stays valid under optional stopping.
        detectable_difference: Smallest difference of means that as many models detect with 80 %
            power.
        models_needed: Models of each that detect a difference as large as the margin with 80 %
            power, or None where that is out of reach.
        on_images: The difference over draws of models and of images, where both runs kept the
            results of the same single images, else None.
    """

    first: str
    second: str
    comparison: Comparison
    edf_difference: EdfDifference
    equivalence: Equivalence
    unequal: tuple[str, ...]
    controls: tuple[ControlledDifference, ...]
    p: float
    p_equivalent: float
    p_different: float
    verdict: Verdict
    sequential: SequentialComparison
    detectable_difference: float
    models_needed: int | None
    on_images: ImageComparison | None = None

    @property
    def better(self) -> ClaimVerdict:
        """Verdict on "the second is better"."""
        if self.p >= _ALPHA:
            return "undecided"
        return "supported" if self.comparison.mean.value < 0 else "contradicted"

    @property
    def equal(self) -> ClaimVerdict:
        """Verdict on "the two differ by less than the margin"."""
        if self.p_equivalent < _ALPHA:
            return "supported"
        return "contradicted" if self.p_different < _ALPHA else "undecided"

    @property
    def explained_by(self) -> tuple[str, ...]:
        """The controls that explain the difference: held fixed, it is not shown."""
        return tuple(one.control for one in self.controls if one.explains)

    def at_equal(self, control: str) -> ControlledDifference | None:
        """Return the difference with a control held fixed, or None where it is unknown."""
        return next((one for one in self.controls if one.control == control), None)

    @property
    def sentence(self) -> str:
        """The verdict as a sentence."""
        margin = self.equivalence.margin
        interval = f"{interval_text(self.comparison.mean)} points of mean error"
        texts: dict[Verdict, str] = {
            "better": f"{self.second} is better than {self.first}",
            "worse": f"{self.second} is worse than {self.first}",
            "equivalent": f"{self.second} and {self.first} are equal within {margin:g} "
            f"point{'' if margin == 1 else 's'}",
            "undecided": f"whether {self.second} or {self.first} is better is undecided",
        }
        return f"{texts[self.verdict]} ({interval})"


def signed(value: float, digits: int = 2) -> str:
    """Format a difference with its sign, a true minus: −1.15, +0.30."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval_text(difference: Estimate) -> str:
    """Format a difference with its 95 % interval."""
    low, high = signed(difference.low), signed(difference.high)
    return f"{signed(difference.value)}, 95 % interval {low} to {high}"


def compare_pairs(
    populations: Sequence[PopulationResults], margin: float = DEFAULT_MARGIN
) -> tuple[PairComparison, ...]:
    """Compare all pairs of populations that have two or more counted models each.

    Of more than 16 populations, each is compared with its predecessor alone: of hundreds of pairs,
    corrected for their number, hardly any would be decided.

    "Better" and "equivalent" are two families, each at 5 %: together at most 10 %.

    Args:
        populations: In the order in which they were passed.
        margin: Percent of error that counts as no difference, stated beforehand.
    """
    usable = [results for results in populations if results.counted.sum() >= MIN_COMPARED]
    all_pairs = len(usable) <= MAX_FOR_ALL_PAIRS
    pairs = list(combinations(usable, 2) if all_pairs else pairwise(usable))
    errors = [(_errors(first), _errors(second)) for first, second in pairs]
    edfs = [(Edf.from_errors(a), Edf.from_errors(b)) for a, b in errors]
    permutations = PERMUTATIONS if len(pairs) <= _MANY_PAIRS else _MORE_PERMUTATIONS
    compared = [compare_arrays(*pair, permutations=permutations) for pair in errors]
    margins = [equivalent(*pair, margin) for pair in errors]
    images = _image_errors(usable)
    means = [difference_of_means(*pair) for pair in errors]
    both = zip(compared, means, strict=True)
    p = holm([max(comparison.p_mean, one.p_zero_bootstrap()) for comparison, one in both])
    p_equivalent = holm([one.p_within(margin) for one in means])
    p_different = holm([one.p_beyond(margin) for one in means])
    return tuple(
        PairComparison(
            first=first.name,
            second=second.name,
            comparison=compared[i],
            edf_difference=edf_difference(edfs[i][0], edfs[i][1]),
            equivalence=margins[i],
            unequal=unequal_costs(first, second),
            controls=controlled_differences(first, second, compared[i].mean),
            p=p[i],
            p_equivalent=p_equivalent[i],
            p_different=p_different[i],
            verdict=_verdict(compared[i], p[i], p_equivalent[i]),
            sequential=compare_sequentially(*errors[i]),
            detectable_difference=detectable_difference(_sd(errors[i]), min(map(len, errors[i]))),
            models_needed=_models_needed(margin, errors[i]),
            on_images=_on_images(first, second, images),
        )
        for i, (first, second) in enumerate(pairs)
    )


def _errors(results: PopulationResults) -> FloatArray:
    """Return the counted errors, rounded so that those equal up to rounding are equal."""
    return np.round(results.counted_errors, 9)


def _image_errors(populations: Sequence[PopulationResults]) -> dict[str, ImageErrors]:
    """Results of single images of the populations that have them, by name."""
    images = {results.name: results.counted_images for results in populations}
    return {name: ImageErrors(correct) for name, correct in images.items() if len(correct) > 1}


def _on_images(
    first: PopulationResults, second: PopulationResults, images: dict[str, ImageErrors]
) -> ImageComparison | None:
    if not {first.name, second.name} <= images.keys():
        return None
    one, two = first.provenance, second.provenance
    if not one.content or (one.content, one.splits) != (two.content, two.splits):
        return None
    return compare_on_images(images[first.name], images[second.name])


def _sd(pair: tuple[FloatArray, FloatArray]) -> tuple[float, float]:
    return float(pair[0].std(ddof=1)), float(pair[1].std(ddof=1))


def _models_needed(margin: float, pair: tuple[FloatArray, FloatArray]) -> int | None:
    try:
        return models_for_difference(margin, _sd(pair))
    except InputError:
        return None


def _verdict(comparison: Comparison, p: float, p_equivalent: float) -> Verdict:
    if p < _ALPHA:
        return "better" if comparison.mean.value < 0 else "worse"
    return "equivalent" if p_equivalent < _ALPHA else "undecided"
