"""The test behind each kind of claim, before the correction for their number."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from designspace.analysis.compare_pairs import PERMUTATIONS
from designspace.analysis.network_columns import is_network_column
from designspace.analysis.population_results import PopulationResults
from designspace.arch import BodyBatch
from designspace.errors import InputError, counted
from designspace.stats.arrays import FloatArray, IntArray
from designspace.stats.intervals import Estimate, spearman_interval
from designspace.stats.mean_difference import (
    MeanDifference,
    difference_of_means,
    mean_of_pairs,
    sign_flip_test,
    two_sided,
)
from designspace.stats.two_sample import compare_arrays

# Of what a claim is about: a difference of mean errors, in percent, or a correlation.
Unit = Literal["points", "rank correlation"]
# With fewer models on either side, a claim about a parameter can't be tested.
MIN_GROUP = 4
# Widths and group widths are rounded to fit each other and the bottleneck ratio, so that one of
# these settings moves the others.
ROUNDED_TOGETHER = {"b", "g", "w"}


@dataclass(frozen=True)
class ClaimTest:
    """An uncorrected test of a claim, by two methods: the claim needs both.

    Attributes:
        test: The test in words.
        estimate: What is estimated, with its 95 % interval.
        n: Models behind it.
        p: p-value of the claim by permutations or t, or None where it can't be tested.
        p_against: p-value of its opposite.
        p_bootstrap: As `p`, by the bootstrap-t.
        p_against_bootstrap: As `p_against`, by the bootstrap-t.
        unit: Of the estimate.
    """

    test: str
    estimate: Estimate
    n: tuple[int, ...]
    p: float | None = None
    p_against: float = 1.0
    p_bootstrap: float = 1.0
    p_against_bootstrap: float = 1.0
    unit: Unit = "points"


def lower_mean(means: MeanDifference, margin: float, p_permutation: float, test: str) -> ClaimTest:
    """Test "the difference is below minus the margin", with a two-sided permutation p-value."""
    half = p_permutation / 2
    p = half if means.value < -margin else 1 - half
    by = f", by {margin:g} % or more" if margin else ""
    return ClaimTest(
        test=f"{test}{by}",
        estimate=means.estimate(),
        n=means.n,
        p=p,
        p_against=1 - p,
        p_bootstrap=means.p_below_bootstrap(-margin),
        p_against_bootstrap=means.p_above_bootstrap(-margin),
    )


def within_margin(means: MeanDifference, margin: float, one_sided: bool) -> ClaimTest:
    """Test "the difference is within the margin", or with `one_sided` only "below it"."""
    below = means.p_below(margin), means.p_below_bootstrap(margin)
    above = means.p_above(-margin), means.p_above_bootstrap(-margin)
    over = means.p_above(margin), means.p_above_bootstrap(margin)
    under = means.p_below(-margin), means.p_below_bootstrap(-margin)
    if one_sided:
        claim, against, test = below, over, f"one-sided t test against +{margin:g} %"
    else:
        claim = max(below[0], above[0]), max(below[1], above[1])
        against = two_sided(over[0], under[0]), two_sided(over[1], under[1])
        test = f"two one-sided t tests against ±{margin:g} %"
    return ClaimTest(test, means.estimate(), means.n, claim[0], against[0], claim[1], against[1])


def permutation_test(a: FloatArray, b: FloatArray, margin: float) -> float:
    """Return the two-sided p-value of equal means after subtracting the margin from the first.

    Without a margin it is the number that the comparison of all pairs has, of up to 8 populations.
    """
    return compare_arrays(a - margin if margin else a, b, permutations=PERMUTATIONS).p_mean


def unpaired(
    first: PopulationResults, second: PopulationResults, margin: float, kind: str, where: str
) -> ClaimTest:
    """Test a claim about the means of two populations."""
    a, b = first.counted_errors, second.counted_errors
    if min(len(a), len(b)) < 2:
        return untestable(
            "means", f"{len(a)} and {counted(len(b), 'counted model')}", len(a), len(b)
        )
    means = difference_of_means(a, b)
    if kind == "better":
        p = permutation_test(a, b, margin)
        return lower_mean(means, margin, p, "permutation test of means, one-sided")
    return within_margin(means, margin, kind == "not_worse")


def paired(
    first: PopulationResults, second: PopulationResults, margin: float, kind: str, where: str
) -> ClaimTest:
    """Test a claim about two populations of the same bodies, model by model."""
    differences = paired_differences(first, second, where)
    if len(differences) < 2:
        pairs = counted(len(differences), "pair")
        return untestable("paired", f"{pairs} with both errors", len(differences))
    means = mean_of_pairs(differences)
    if kind == "better":
        p = sign_flip_test(differences + margin)
        result = lower_mean(means, margin, p, "paired, sign-flip test, one-sided")
    else:
        result = within_margin(means, margin, kind == "not_worse")
    return result


def paired_differences(
    first: PopulationResults, second: PopulationResults, where: str = "paired"
) -> FloatArray:
    """Return the errors of the second minus those of the first, model by model, (pairs,).

    Models are paired by their index. All that determines the errors of a pair must agree, but for
    the seed and one setting, the switch: of the body, its input, or its training. Of b, g and w
    several may differ, as each is rounded to fit the others. Where RegNets became AnyNets, or both
    are AnyNets, their stages are compared.

    Raises:
        InputError: The populations are not the same bodies with one switch changed.
    """
    size = min(len(first), len(second))
    both = np.flatnonzero(first.counted[:size] & second.counted[:size])
    stages = _differing_stages(first, second, both)
    differing = (stages or set()) | _other_switches(first, second, both)
    for name in first.parameters.keys() & second.parameters.keys():
        if stages is not None and is_network_column(name):
            continue
        a, b = first.parameters[name][both], second.parameters[name][both]
        if not np.array_equal(a, b, equal_nan=True):
            differing.add(name.rstrip("0123456789") or name)
    if len(differing) > 1 and not differing <= ROUNDED_TOGETHER:
        names = ", ".join(sorted(differing))
        raise InputError(
            f"{where}: {first.name} and {second.name} are not the same bodies with one switch "
            f"changed: models of the same index differ in {names}"
        )
    return np.asarray(second.errors[both] - first.errors[both])


def _other_switches(
    first: PopulationResults, second: PopulationResults, rows: IntArray
) -> set[str]:
    """Return what else than stages differs: the rest of the bodies, input, recipe and images."""
    one, two, names = first.provenance, second.provenance, set()
    if one.recipe and two.recipe:
        ignored = ("name", "about", "resolution", "pad")  # the input's
        names |= {
            name
            for name in {*one.recipe, *two.recipe}
            if name not in ignored and one.recipe.get(name) != two.recipe.get(name)
        }
    if one.splits and two.splits and one.splits != two.splits:
        names.add("validation images")
    if first.skeleton is not None and second.skeleton is not None:
        names |= {"input"} if first.skeleton != second.skeleton else set()
    if first.bodies is not None and second.bodies is not None:
        a, b = first.bodies.take(rows), second.bodies.take(rows)
        switches = {
            "block": a.block != b.block,
            "se_ratio": not np.array_equal(a.se_ratios, b.se_ratios),
            "activation": not np.array_equal(_activations(a), _activations(b)),
        }
        names |= {name for name, differ in switches.items() if differ}
    return names


def _activations(bodies: BodyBatch) -> IntArray:
    codes = bodies.activations
    return np.zeros(len(bodies), np.int64) if codes is None else codes


def _differing_stages(
    first: PopulationResults, second: PopulationResults, rows: IntArray
) -> set[str] | None:
    """Return the axes in which stages differ, or None where parameters are what is comparable.

    Those of two populations of RegNets are all of a body; else names differ with the family.
    """
    if first.bodies is None or second.bodies is None:
        return None
    if first.regnets is not None and second.regnets is not None:
        return None
    if not (first.has_body[rows] & second.has_body[rows]).all():
        return None
    a, b = (
        bodies.first_stages(int(bodies.stage_counts.max(initial=1)))
        for bodies in (first.bodies.take(rows), second.bodies.take(rows))
    )
    pairs: dict[str, tuple[FloatArray | IntArray, ...]] = {
        "d": (a.depths, b.depths),
        "w": (a.widths, b.widths),
    }
    if a.block == b.block:  # else the block is the switch, and axes are its own
        pairs |= {
            "b": (a.bottleneck_ratios, b.bottleneck_ratios),
            "g": (a.group_widths, b.group_widths),
            **{name: (values, b.extras[name]) for name, values in a.extras.items()},
        }
    return {name for name, values in pairs.items() if not np.array_equal(values[0], values[1])}


def untestable(test: str, reason: str, *n: int) -> ClaimTest:
    """Return the test of a claim that these numbers of models can't test, and why."""
    return ClaimTest(f"{test}: not testable: {reason}", Estimate(np.nan, np.nan, np.nan), n)


def not_judged(test: ClaimTest, models: int, needed: int) -> ClaimTest:
    """Return a test without p-values, as fewer models have a trial than the claim states."""
    words = f"{test.test.partition(': not testable: ')[0]}: not judged yet: {models} of "
    return ClaimTest(f"{words}{counted(needed, 'model')}", test.estimate, test.n, unit=test.unit)


def parameter_group(
    results: PopulationResults,
    values: FloatArray,
    name: str,
    bounds: tuple[float, float],
    margin: float,
    level: str = "",
) -> ClaimTest:
    """Test "models whose parameter is within bounds have a lower mean error than the others".

    `level` is the name that equal bounds stand for.
    """
    low, high = bounds
    finite = np.isfinite(values)
    inside = finite & (values >= low) & (values <= high)
    errors = results.counted_errors
    a, b = errors[finite & ~inside], errors[inside]
    test = f"{results.name}: models with {name} from {low:g} to {high:g} against the others"
    if low == high:
        test = f"{results.name}: models with {name} = {level or f'{low:g}'} against the others"
    n = len(a), len(b)
    if min(n) < MIN_GROUP:
        return untestable(test, f"{counted(n[1], 'model')} inside, {n[0]} outside", *n)
    p = permutation_test(a, b, margin)
    words = f"{test}: permutation test of means, one-sided"
    return lower_mean(difference_of_means(a, b), margin, p, words)


def parameter_trend(
    results: PopulationResults, values: FloatArray, name: str, falls: bool
) -> ClaimTest:
    """Test "the error falls (or rises) as the parameter grows" by Spearman's rank correlation."""
    from scipy.stats import spearmanr

    finite = np.isfinite(values)
    x, y = values[finite], results.counted_errors[finite]
    test = f"{results.name}: rank correlation of {name} and error, one-sided"
    if len(x) < 2 * MIN_GROUP:
        return untestable(test, f"{counted(len(x), 'model')}, of {2 * MIN_GROUP} needed", len(x))
    for what, column in ((name, x), ("the error", y)):
        if column.min() == column.max():
            return untestable(test, f"{what} does not vary", len(x))
    result = spearmanr(x, y, alternative="less" if falls else "greater")
    p = float(result.pvalue)
    return ClaimTest(
        test=test,
        estimate=spearman_interval(float(result.statistic), len(x)),
        n=(len(x),),
        p=p,
        p_against=1 - p,
        p_bootstrap=p,
        p_against_bootstrap=1 - p,
        unit="rank correlation",
    )
