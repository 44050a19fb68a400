"""Which constraints a space lacks, and how far each studied model is from each of them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from designspace.analysis.population_results import PopulationResults
from designspace.analysis.quantized_linear_fit import fit_quantized_linear
from designspace.arch import BOTTLENECK
from designspace.arch.parameter_columns import one_group_width
from designspace.space import Space, load_space
from designspace.space.load import shipped_settings
from designspace.stats.arrays import BoolArray, FloatArray, IntArray
from designspace.stats.bootstrap import bootstrap

# A RegNet has all of this, so its rule is asked about last, as in the paper.
_RISING = {("w", "increasing"), ("d", "increasing")}
# A range that leaves out less of the models than this is not worth a constraint.
SUBSTANTIAL = 0.2
_WORDS = {"w": "widths", "d": "depths"}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A constraint before its test.

    Attributes:
        claim: The constraint in words.
        kind: `better`: models that keep it have less error; `costs nothing`: no more error.
        change: What it adds to the space file's keys.
        distance: How far each counted model is from it, (n,); 0 keeps it.
        unit: What the distance counts, where models keep it by degrees; "" where it is a plain cut.
        tested: Models that its test may use, (n,): not those that it was chosen on.
        moot: Why there is nothing to test, with the verdict; or None.
        given: What models must agree in to be compared, (n,), or None.
    """

    claim: str
    kind: Literal["better", "costs nothing"]
    change: dict[str, Any]
    distance: FloatArray
    unit: str
    tested: BoolArray
    moot: tuple[Literal["rejected", "undecided"], str] | None = None
    given: FloatArray | None = None

    @property
    def keeps(self) -> BoolArray:
        """Which models keep it, (n,)."""
        return np.asarray(self.distance == 0)


def candidates(space: Space, results: PopulationResults) -> list[Candidate]:
    """Return every constraint that the space does not have yet, in a fixed order."""
    found: list[Candidate] = []
    values = _values(space, results)
    if space.family == "anynet":
        found += _by_degrees(space, results)
    single = [name for name in values if space.family == "regnet" or name in space.share]
    for axis, columns in values.items():
        if axis in space.tie or len(space.axes[axis]) == 1:
            continue
        # Few values, each a kind of its own: b and g, and all axes of another block.
        kind = axis in ("b", "g") or (space.block != BOTTLENECK and axis not in _WORDS)
        if kind and axis not in single:
            continue
        if kind:
            found += _one_value(space, axis, columns[:, 0], results.counted_errors)
        if len(space.axes[axis]) > 2:
            found.append(_range(space, axis, columns, results.counted_errors))
    return found


def _values(space: Space, results: PopulationResults) -> dict[str, FloatArray]:
    """Each axis over the counted models: (n, 1) of a RegNet, (n, stages) of an AnyNet."""
    if space.family == "regnet":
        return {name: v[:, None] for name, v in results.counted_parameters().items()}
    assert results.bodies is not None
    stages = results.bodies.take(results.rows)
    if stages.block != BOTTLENECK:
        sizes = {"d": stages.depths.astype(np.float64), "w": stages.widths.astype(np.float64)}
        return {**sizes, **stages.extras}
    # A shared g is cut where the 3x3 is narrower (DDS appendix D): the widest is what was drawn.
    groups = stages.group_widths.max(axis=1, keepdims=True)
    return {
        "d": stages.depths.astype(np.float64),
        "w": stages.widths.astype(np.float64),
        "b": stages.bottleneck_ratios,
        "g": groups.astype(np.float64),
    }


def _by_degrees(space: Space, results: PopulationResults) -> list[Candidate]:
    """Sharing, monotone axes and the quantized linear rule: few keep them, some nearly do."""
    assert results.bodies is not None
    stages = results.bodies.take(results.rows)
    every = np.ones(len(results.rows), dtype=bool)
    found = []
    kinds: dict[str, FloatArray | IntArray] = dict(stages.extras)
    if stages.block == BOTTLENECK:
        kinds = {"b": stages.bottleneck_ratios, "g": stages.group_widths}
    alike = {axis: np.ptp(array, axis=1) == 0 for axis, array in kinds.items()}
    if stages.block == BOTTLENECK:
        alike["g"] = one_group_width(stages)
    for axis, array in kinds.items():
        if axis in space.share or len(space.axes[axis]) == 1:
            continue
        octaves = np.log2(array.max(axis=1) / array.min(axis=1)) * ~alike[axis]
        words = f"one {axis} for all stages"
        unit = f"octaves from the least {axis} to the largest"
        found.append(
            Candidate(words, "costs nothing", {"share": [axis]}, np.asarray(octaves), unit, every)
        )
    for axis, sizes in (("w", stages.widths), ("d", stages.depths)):
        if axis in space.share or axis in space.monotone or len(space.axes[axis]) == 1:
            continue
        words = f"{_WORDS[axis]} that never decrease"
        change: dict[str, Any] = {"monotone": {axis: "increasing"}}
        unit = "octaves of decrease"
        found.append(Candidate(words, "better", change, _falls(sizes), unit, every))
    if {"b", "g"} <= set(space.share) and set(space.monotone.items()) >= _RISING:
        fit = fit_quantized_linear(stages.widths, stages.depths).error
        distance = np.asarray(np.where(fit < 1e-9, 0.0, fit))
        words = "widths that follow the quantized linear rule"
        # A RegNet has depths of its own, so what depth alone does is no point for or against it.
        depth = np.log2(stages.depths.sum(axis=1))
        found.append(
            Candidate(words, "better", _regnet(space), distance, "e_fit", every, given=depth)
        )
    return found


def _falls(sizes: IntArray) -> FloatArray:
    """Sum of all decreases from stage to stage, in octaves, (n,)."""
    steps = -np.diff(np.log2(sizes), axis=1)
    return np.asarray(np.maximum(steps, 0.0).sum(axis=1))


def _regnet(space: Space) -> dict[str, Any]:
    """The keys of a RegNet of the same input: axes of the shipped RegNetX that fits it."""
    fitting = [load_space(f"RegNetX@{setting}") for setting in shipped_settings()]
    same = [found for found in fitting if found.skeleton.resolution == space.skeleton.resolution]
    axes = (same or [load_space("RegNetX")])[0].source["axes"]
    kept = {name: axis for name, axis in axes.items() if name not in ("b", "g")}
    return {"family": "regnet", "axes": kept}


def _one_value(
    space: Space, axis: str, values: FloatArray, errors: FloatArray
) -> tuple[Candidate, ...]:
    """The value with the least mean error among every other model, to be tested on the rest."""
    choosing = np.arange(len(values)) % 2 == 0
    present = [v for v in space.axes[axis].values if (values[choosing] == v).any()]
    if not present:
        return ()
    best = min(present, key=lambda v: float(errors[choosing & (values == v)].mean()))
    change = {"axes": {axis: {"distribution": "choice", "values": [float(best)]}}}
    distance = np.asarray(values != best, dtype=np.float64)
    return (Candidate(f"{axis} = {best:g}", "better", change, distance, "", ~choosing),)


def _range(space: Space, axis: str, columns: FloatArray, errors: FloatArray) -> Candidate:
    """The bootstrap interval of the best among every other model, to be tested on the rest.

    It is widened to hold the best model of all, which is then left out of the test.
    """
    tested = np.arange(len(errors)) % 2 == 1
    best = int(np.argmin(errors))
    grid, written = space.axes[axis].values, space.source["axes"][axis]
    words = f"a narrower range of {axis}"
    if len(errors) < 4:
        moot: tuple[Literal["rejected", "undecided"], str] = ("undecided", "too few models")
        return Candidate(words, "better", {}, np.zeros(len(errors)), "", tested, moot)
    found = [bootstrap(column[~tested], errors[~tested]) for column in columns.T]
    low = float(min([one.low for one in found] + columns[best].tolist()))
    high = float(max([one.high for one in found] + columns[best].tolist()))
    first = max(0, int(np.searchsorted(grid, low, side="right")) - 1)
    last = min(len(grid) - 1, int(np.searchsorted(grid, high, side="left")))
    low, high = float(grid[first]), float(grid[last])
    outside = ((columns < low) & (first > 0)) | ((columns > high) & (last < len(grid) - 1))
    distance = np.asarray(outside.any(axis=1), dtype=np.float64)
    share = float(distance.mean())
    tested[best] = False
    if found[0].few:
        few = f"{found[0].carriers} models carry the interval of the best; that is too few"
        return Candidate(words, "better", {}, distance, "", tested, ("undecided", few))
    words = f"{axis} from {low:g} to {high:g}"
    if share < SUBSTANTIAL:
        wide = f"the best lie nearly everywhere: it would leave out only {share:.0%} of the models"
        return Candidate(words, "better", {}, distance, "", tested, ("rejected", wide))
    if written["distribution"] == "choice":
        new: dict[str, Any] = {"distribution": "choice", "values": grid[first : last + 1].tolist()}
    else:
        kept = {key: value for key, value in written.items() if key != "counted_as"}
        new = {**kept, "low": low, "high": high}
    return Candidate(words, "better", {"axes": {axis: new}}, distance, "", tested)
