"""Constraints that a space lacks, and each model's distance from them."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from designspace.analysis.population_results import PopulationResults
from designspace.analysis.quantized_linear_fit import fit_quantized_linear
from designspace.arch import ACTIVATIONS, BodyBatch, block_axes, body_axes
from designspace.arch.parameter_columns import one_group_width
from designspace.errors import counted
from designspace.space import Space, load_space
from designspace.space.load import shipped_settings
from designspace.space.schema import ACTIVATION, STAGES, restricted_choice
from designspace.stats.arrays import BoolArray, FloatArray, IntArray
from designspace.stats.range_of_best import bootstrap

# The quantized linear rule implies these, so it is proposed after them, as in the paper.
_INCREASING = {("w", "increasing"), ("d", "increasing")}
# Rounding to group widths moves true RegNets by up to 0.014.
MAX_EXACT_FIT = 0.015
# A range that excludes a smaller share of the models is not worth a constraint.
MIN_EXCLUDED = 0.2
_WORDS = {"w": "widths", "d": "depths"}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A constraint before its test.

    Attributes:
        claim: The constraint in words.
        kind: The hypothesis: models that keep the constraint are `better`, or it `costs nothing`.
        change: What it adds to the keys of the space file.
        distance: Distance of each counted model from it, (n,); 0 for models that keep it.
        unit: Unit of a graded distance; "" for a constraint that a model either keeps or not.
        tested: Mask of the models that the test may use, (n,): not those that chose the constraint.
        untestable: Verdict and reason if there is nothing to test, or None.
        covariates: Values at which models must be equal to be compared, (n, k), or None.
    """

    claim: str
    kind: Literal["better", "costs nothing"]
    change: dict[str, Any]
    distance: FloatArray
    unit: str
    tested: BoolArray
    untestable: tuple[Literal["rejected", "undecided"], str] | None = None
    covariates: FloatArray | None = None

    @property
    def keeps(self) -> BoolArray:
        """Mask of the models that keep it, (n,)."""
        return np.asarray(self.distance == 0)


def candidates(space: Space, results: PopulationResults) -> list[Candidate]:
    """Return every constraint that the space does not have yet, in a fixed order."""
    result: list[Candidate] = []
    values = _values(space, results)
    if space.family == "anynet":
        result += _graded(space, results)
        if STAGES in space.axes:
            result = [_at_equal_stages(one, values[STAGES][:, 0]) for one in result]
    single = [
        name
        for name in values
        if space.family == "regnet" or name in (*space.share, ACTIVATION, STAGES)
    ]
    unordered = ("b", "g", ACTIVATION, STAGES, *(axis.name for axis in block_axes(space.block)))
    for axis, columns in values.items():
        if axis in space.tie or len(space.axes[axis]) == 1:
            continue
        # Axes of few values: b and g, other blocks' own, and those of a whole network.
        categorical = axis in unordered
        if categorical and axis not in single:
            continue
        if categorical:
            result += _one_value(space, axis, columns[:, 0], results.counted_errors)
        if len(space.axes[axis]) > 2 and axis not in (ACTIVATION, STAGES):
            result.append(_range(space, axis, columns, results.counted_errors))
    return result


def _values(space: Space, results: PopulationResults) -> dict[str, FloatArray]:
    """Values of each axis for the counted models: (n, 1) for RegNets, (n, stages) for AnyNets."""
    if space.family == "regnet":
        columns = results.counted_parameters()
        return {name: v[:, None] for name, v in columns.items() if name in space.axes}
    assert results.bodies is not None
    bodies = results.bodies.take(results.rows)
    values: dict[str, FloatArray] = {
        "d": bodies.repeated_depths.astype(np.float64),
        "w": bodies.widths.astype(np.float64),
        **bodies.extras,
    }
    if ACTIVATION in space.axes and bodies.activations is not None:
        values[ACTIVATION] = bodies.activations[:, None].astype(np.float64)
    if STAGES in space.axes:
        values[STAGES] = bodies.stage_counts[:, None].astype(np.float64)
    present = body_axes(bodies.block)
    # A shared g is reduced where the 3x3 is narrower (DDS appendix D), so the maximum was drawn.
    groups = bodies.group_widths.max(axis=1, keepdims=True)
    own = {"b": bodies.bottleneck_ratios, "g": groups.astype(np.float64)}
    return {**values, **{name: array for name, array in own.items() if name in present}}


def _graded(space: Space, results: PopulationResults) -> list[Candidate]:
    """Sharing, monotone axes and the quantized linear rule, which few models satisfy exactly."""
    assert results.bodies is not None
    bodies = results.bodies.take(results.rows)
    every = np.ones(len(results.rows), dtype=bool)
    result = []
    kinds: dict[str, FloatArray | IntArray] = dict(bodies.extras)
    own: dict[str, FloatArray | IntArray] = {
        "b": bodies.bottleneck_ratios,
        "g": bodies.group_widths,
    }
    kinds |= {name: own[name] for name in body_axes(bodies.block)}
    alike = {axis: np.ptp(array, axis=1) == 0 for axis, array in kinds.items()}
    if "g" in alike:
        alike["g"] = one_group_width(bodies)
    for axis, array in kinds.items():
        if axis in space.share or len(space.axes[axis]) == 1:
            continue
        octaves = np.log2(array.max(axis=1) / array.min(axis=1)) * ~alike[axis]
        words = f"one {axis} for all stages"
        unit = f"octaves between the lowest and the highest {axis}"
        result.append(
            Candidate(words, "costs nothing", {"share": [axis]}, np.asarray(octaves), unit, every)
        )
    for axis, sizes in (("w", bodies.widths), ("d", bodies.repeated_depths)):
        if axis in space.share or axis in space.monotone or len(space.axes[axis]) == 1:
            continue
        words = f"{_WORDS[axis]} that never decrease"
        change: dict[str, Any] = {"monotone": {axis: "increasing"}}
        unit = "octaves of decrease"
        result.append(Candidate(words, "better", change, _decrease(sizes), unit, every))
    free_widths = "w" not in {*space.share, *space.distinct} and len(space.axes["w"]) > 1
    if free_widths and STAGES not in space.axes:
        result.append(_distinct_widths(bodies, every))
    # A RegNet has one value of each for all stages.
    alike_stages = all(axis in space.share or len(space.axes[axis].values) == 1 for axis in kinds)
    if alike_stages and set(space.monotone.items()) >= _INCREASING:
        fit = fit_quantized_linear(bodies.widths, bodies.depths).error
        distance = np.asarray(np.where(fit <= MAX_EXACT_FIT, 0.0, fit))
        words = "widths that follow the quantized linear rule"
        # RegNets differ in depth, whose own effect must not count for or against the rule.
        depth = np.log2(bodies.depths.sum(axis=1))
        change = _regnet_keys(space)
        result.append(
            Candidate(words, "better", change, distance, "e_fit", every, None, depth[:, None])
        )
    return result


def _at_equal_stages(candidate: Candidate, stages: FloatArray) -> Candidate:
    """Have models compared at an equal number of stages, on which every graded distance depends."""
    others = np.unique(stages)[1:]
    if not len(others):
        return candidate
    indicators = (stages[:, None] == others).astype(np.float64)
    if candidate.covariates is not None:
        indicators = np.hstack([candidate.covariates, indicators])
    return replace(candidate, covariates=indicators)


def _distinct_widths(bodies: BodyBatch, every: BoolArray) -> Candidate:
    """As many distinct widths as stages, as RegNets have; the distance is the number that lacks."""
    ordered = np.sort(bodies.widths, axis=1)
    missing = (np.diff(ordered, axis=1) == 0).sum(axis=1).astype(np.float64)
    count = bodies.num_stages
    change: dict[str, Any] = {"distinct": {"w": count}}
    return Candidate(
        f"{count} distinct widths", "better", change, missing, "duplicate widths", every
    )


def _decrease(sizes: IntArray) -> FloatArray:
    """Sum of the decreases from stage to stage, in octaves, (n,)."""
    steps = -np.diff(np.log2(sizes), axis=1)
    return np.asarray(np.maximum(steps, 0.0).sum(axis=1))


def _regnet_keys(space: Space) -> dict[str, Any]:
    """Keys of a RegNet space with the axes of the shipped RegNetX of the same resolution."""
    fitting = [load_space(f"RegNetX@{setting}") for setting in shipped_settings()]
    same = [one for one in fitting if one.skeleton.resolution == space.skeleton.resolution]
    axes = (same or [load_space("RegNetX")])[0].source["axes"]
    kept = {name: axis for name, axis in axes.items() if name not in ("b", "g")}
    return {"family": "regnet", "axes": kept}


def _one_value(
    space: Space, axis: str, values: FloatArray, errors: FloatArray
) -> tuple[Candidate, ...]:
    """The value with the lowest mean error in every other model, to be tested on the rest."""
    choosing = np.arange(len(values)) % 2 == 0
    present = [v for v in space.axes[axis].values if (values[choosing] == v).any()]
    if not present:
        return ()
    best = min(present, key=lambda v: float(errors[choosing & (values == v)].mean()))
    change: dict[str, Any] = {"axes": {axis: {"distribution": "choice", "values": [float(best)]}}}
    claim = f"{axis} = {best:g}"
    if axis == ACTIVATION:
        name = ACTIVATIONS[int(best)]
        change, claim = {ACTIVATION: name}, f"{axis} = {name}"
    if axis == STAGES:
        change, claim = {STAGES: [int(best)]}, f"{counted(int(best), 'stage')}"
    distance = np.asarray(values != best, dtype=np.float64)
    return (Candidate(claim, "better", change, distance, "", ~choosing),)


def _range(space: Space, axis: str, columns: FloatArray, errors: FloatArray) -> Candidate:
    """The range of the best in every other model, to be tested on the rest.

    It is widened to include the best model of all, which is then excluded from the test.
    """
    tested = np.arange(len(errors)) % 2 == 1
    best = int(np.argmin(errors))
    grid, written = space.axes[axis].values, space.source["axes"][axis]
    words = f"a narrower range of {axis}"
    if len(errors) < 4:
        untestable: tuple[Literal["rejected", "undecided"], str] = ("undecided", "too few models")
        return Candidate(words, "better", {}, np.zeros(len(errors)), "", tested, untestable)
    intervals = [bootstrap(column[~tested], errors[~tested]) for column in columns.T]
    low = float(min([one.low for one in intervals] + columns[best].tolist()))
    high = float(max([one.high for one in intervals] + columns[best].tolist()))
    first = max(0, int(np.searchsorted(grid, low, side="right")) - 1)
    last = min(len(grid) - 1, int(np.searchsorted(grid, high, side="left")))
    low, high = float(grid[first]), float(grid[last])
    outside = ((columns < low) & (first > 0)) | ((columns > high) & (last < len(grid) - 1))
    distance = np.asarray(outside.any(axis=1), dtype=np.float64)
    share = float(distance.mean())
    tested[best] = False
    if intervals[0].few:
        few = (
            f"{counted(intervals[0].n, 'model is', 'models are')} too few for a bootstrap of the "
            "range of the best"
        )
        return Candidate(words, "better", {}, distance, "", tested, ("undecided", few))
    words = f"{axis} from {low:g} to {high:g}"
    if share < MIN_EXCLUDED:
        wide = f"the best models span nearly the whole range: it would exclude only {share:.0%}"
        return Candidate(words, "better", {}, distance, "", tested, ("rejected", wide))
    if written["distribution"] == "choice":
        new = restricted_choice(written, grid[first : last + 1].tolist())
    else:
        kept = {key: value for key, value in written.items() if key != "counted_as"}
        new = {**kept, "low": low, "high": high}
    return Candidate(words, "better", {"axes": {axis: new}}, distance, "", tested)
