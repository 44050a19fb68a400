"""The results of one population: its models as columns, and how the trial of each ended."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.arch import BodyBatch, RegNetParamsBatch, Skeleton
from designspace.runs import TrialState
from designspace.runs.measurements import MeasuredSetting
from designspace.space.recipe_axis import RECIPE_KEYS
from designspace.stats.arrays import BoolArray, FloatArray, IntArray

MISSING = "missing"
STATES = (*(state.value for state in TrialState), MISSING)


@dataclass(frozen=True)
class Provenance:
    """Where a population comes from.

    Attributes:
        path: The folder it was read from.
        sample: n, budget, seed, hash, as in space.yaml.
        recipe: The resolved recipe, or empty.
        data: Short name of the data set, or empty.
        splits: Which images the errors were measured on.
        seeds: First and last seed of the trials.
        versions: Library versions and devices of the trials, each with its values.
        seconds: Training time of all trials.
        reasons: Why trials failed or diverged, as "state: reason", with their number, descending.
        notes: Further notes for the reader, such as the source of an import.
        train_images: Number of images that each model was trained on; 0 is unknown.
        val_images: Number of images that each error was measured on; 0 is unknown.
        content: Hash of the images and labels, or empty.
        seed: Seed of the training, from which each trial has its own, or None.
    """

    path: str
    sample: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    splits: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    train_images: int = 0
    val_images: int = 0
    content: str = ""
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class PopulationResults:
    """A population with its trials; every array is over the n sampled models, in sampled order.

    Attributes:
        name: The run's name.
        space: The space's name.
        family: "anynet", "regnet", or the family that an import names.
        ids: Content hash of each model, or its name in an import.
        states: complete, diverged, failed or missing, (n,).
        errors: Percent; chance for diverged models, NaN for failed and missing ones, (n,).
        chance: Error of guessing, in percent.
        parameters: Named columns, each (n,), NaN where unknown.
        costs: flops, params, acts, as far as they are known, each (n,), NaN where unknown.
        bodies: The bodies, or None where they are unknown.
        regnets: The RegNet parameters, or None where the models are no RegNets.
        counted: Which models enter the statistics, (n,); see `accounting.counted_models`.
        provenance: Where it comes from.
        resolution: Side of the input in pixels, or None where it is unknown.
        described: Which models the bodies are of, (n,); None is all. Others have a placeholder.
        measured: Columns of measured costs by setting: latency (seconds), memory (bytes) and noisy
            (0 or 1), each (n,), NaN where a model was not measured.
        correct: Which validation images a model classified correctly, (images,), by its index, as
            far as the run kept them.
        skeleton: Input, stem, strides and classes of its models, or None where they are unknown.
    """

    name: str
    space: str
    family: str
    ids: tuple[str, ...]
    states: NDArray[np.str_]
    errors: FloatArray
    chance: float
    parameters: Mapping[str, FloatArray]
    costs: Mapping[str, FloatArray]
    bodies: BodyBatch | None
    regnets: RegNetParamsBatch | None
    counted: BoolArray
    provenance: Provenance
    resolution: int | None = None
    described: BoolArray | None = None
    measured: Mapping[MeasuredSetting, Mapping[str, FloatArray]] = field(default_factory=dict)
    correct: Mapping[int, BoolArray] = field(default_factory=dict)
    skeleton: Skeleton | None = None

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def rows(self) -> IntArray:
        """Indices of the counted models, in sampled order."""
        return np.flatnonzero(self.counted).astype(np.int64)

    @property
    def counted_errors(self) -> FloatArray:
        """Errors of the counted models, in sampled order."""
        return self.errors[self.counted]

    @property
    def counted_images(self) -> dict[int, BoolArray]:
        """Correct images of the counted models, as far as the run kept them."""
        return {index: bits for index, bits in self.correct.items() if self.counted[index]}

    def counted_parameters(self, varying: bool = False) -> dict[str, FloatArray]:
        """Return each parameter over the counted models; with `varying`, only those that vary."""
        columns = {name: values[self.counted] for name, values in self.parameters.items()}
        return {
            name: values
            for name, values in columns.items()
            if np.isfinite(values).any() and (not varying or np.nanmin(values) < np.nanmax(values))
        }

    def cost(self, measure: str, setting: MeasuredSetting | None = None) -> FloatArray:
        """Return a cost of each model, (n,), NaN where unknown; a measured one of a setting."""
        columns = self.costs if setting is None else self.measured.get(setting, {})
        return columns.get(measure, np.full(len(self), np.nan))

    @property
    def has_body(self) -> BoolArray:
        """Which models are described as networks, (n,)."""
        if self.described is None:
            return np.full(len(self), self.bodies is not None)
        return self.described

    def first(self, n: int) -> "PopulationResults":
        """Return the results of the first n models, as if no more had been sampled."""
        rows = slice(n)
        # How many candidates the sample took counts for the whole population.
        sample = {k: v for k, v in self.provenance.sample.items() if k not in ("tried", "refused")}
        if "n" in sample:
            sample["n"] = min(n, len(self))
        return replace(
            self,
            ids=self.ids[rows],
            states=self.states[rows],
            errors=self.errors[rows],
            parameters={name: values[rows] for name, values in self.parameters.items()},
            costs={name: values[rows] for name, values in self.costs.items()},
            bodies=None if self.bodies is None else self.bodies.take(rows),
            regnets=None if self.regnets is None else self.regnets.take(rows),
            counted=self.counted[rows],
            described=None if self.described is None else self.described[rows],
            correct={index: bits for index, bits in self.correct.items() if index < n},
            provenance=replace(self.provenance, sample=sample),
            measured={
                setting: {name: values[rows] for name, values in columns.items()}
                for setting, columns in self.measured.items()
            },
        )

    def ranked(self) -> IntArray:
        """Return the indices of the counted models by error; ties in sampled order."""
        rows = self.rows
        return rows[np.argsort(self.errors[rows], kind="stable")]

    def trained_like(self, other: "PopulationResults") -> bool:
        """Return whether models with the same id differ at most in the seed of their training.

        The id is a hash of the stages alone, so the skeletons are compared as well, the settings of
        the training that were drawn for each model, and the images where both runs record theirs.
        """
        one, two = self.provenance, other.provenance
        return (
            one.recipe == two.recipe
            and (one.content == two.content or not (one.content and two.content))
            and self.skeleton == other.skeleton
            and _drawn_alike(self, other)
        )


def same_seed(first: PopulationResults, second: PopulationResults) -> bool:
    """Return whether two runs were trained with the same seed, as far as they record it."""
    one, two = first.provenance, second.provenance
    if one.seed is not None and two.seed is not None:
        return one.seed == two.seed
    return one.seeds == two.seeds


def numbered(ids: Sequence[str]) -> list[tuple[str, int]]:
    """Number equal ids: populations with recipes of their own may repeat a network."""
    seen: Counter[str] = Counter()
    keys = []
    for name in ids:
        keys.append((name, seen[name]))
        seen[name] += 1
    return keys


def _drawn_alike(first: PopulationResults, second: PopulationResults) -> bool:
    drawn = [
        {key: results.parameters[key] for key in RECIPE_KEYS if key in results.parameters}
        for results in (first, second)
    ]
    if drawn[0].keys() != drawn[1].keys():
        return False
    if first.ids == second.ids:  # a toggled population may have an id twice
        one = two = np.arange(len(first))
    else:
        index = {key: i for i, key in enumerate(numbered(second.ids))}
        common = [(i, index[key]) for i, key in enumerate(numbered(first.ids)) if key in index]
        one, two = np.array(common, dtype=np.int64).reshape(-1, 2).T
    return all(
        np.array_equal(values[one], drawn[1][key][two], equal_nan=True)
        for key, values in drawn[0].items()
    )
