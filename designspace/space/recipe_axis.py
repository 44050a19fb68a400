"""Recipe axes: settings of the training that a space draws for each model beside its body.

pycls' sweeps draw learning rate and weight decay likewise, so that a space is judged at good
settings and not at one that happens to suit it (Radosavovic et al. 2019, "On Network Design Spaces
for Visual Recognition", arXiv 1905.13214).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, Field, model_validator

from designspace.arch.body import FloatArray
from designspace.errors import InputError
from designspace.io.validation import FilePart, check_value
from designspace.space.axis import MAX_CHOICES, Weight, check_weights

RecipeKey = Literal["lr", "weight_decay", "label_smoothing", "epochs", "batch_size"]
# The order that uniform numbers are dealt in.
RECIPE_KEYS: tuple[RecipeKey, ...] = (
    *("lr", "weight_decay", "label_smoothing", "epochs", "batch_size"),
)
_WHOLE = ("epochs", "batch_size")
# What a recipe may hold, whether it is stated or drawn.
Epochs = Annotated[int, Field(ge=1, le=100_000)]
BatchSize = Annotated[int, Field(ge=1, le=1_000_000)]
LearningRate = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
WeightDecay = Annotated[float, Field(ge=0, le=1)]
LabelSmoothing = Annotated[float, Field(ge=0, lt=1)]
# Key of the stream of draws, beside that of the bodies.
_STREAM = 2
_DIGITS = 6
# Of a step, within which a number counts as a multiple of it.
_TOLERANCE = 1e-9
_Number = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class RecipeRange(FilePart):
    """A continuous range; with a step, low, low + step, …, high.

    Whole numbers have a step of 1. A step is drawn as in axes of bodies, as pycls does: uniform
    values are equally likely, a log-uniform value v stands for (v - step, v].
    """

    distribution: Literal["log_uniform", "uniform"]
    low: _Number
    high: _Number
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "RecipeRange":
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} must not be above high {self.high:g}")
        if self.distribution == "log_uniform" and not self.low:
            raise ValueError("low must be above 0 for log_uniform")
        return self

    def draw(self, uniforms: FloatArray, whole: bool) -> FloatArray:
        """Map uniform numbers in [0, 1), (n,), to values."""
        step = self.step or (1.0 if whole else None)
        if step is None:
            values = self._continuous(uniforms, self.low, self.high)
        else:
            last = math.floor((self.high - self.low) / step + _TOLERANCE)
            if self.distribution == "uniform":
                index = np.floor(uniforms * (last + 1))
            else:
                least = self.low - min(step, self.low / 2)
                drawn = self._continuous(uniforms, least, self.low + last * step)
                index = np.clip(np.ceil((drawn - self.low) / step - _TOLERANCE), 0, last)
            values = self.low + index * step
        return np.array([float(f"{value:.{_DIGITS}g}") for value in values])

    def _continuous(self, uniforms: FloatArray, low: float, high: float) -> FloatArray:
        if self.distribution == "uniform":
            return low + uniforms * (high - low)
        return low * (high / low) ** uniforms


class RecipeChoice(FilePart):
    """A list of values, equally likely or in proportion to their weights."""

    distribution: Literal["choice"]
    values: list[_Number] = Field(min_length=1, max_length=MAX_CHOICES)
    weights: list[Weight] | None = None

    @model_validator(mode="after")
    def _check(self) -> "RecipeChoice":
        check_weights(self.values, self.weights)
        return self

    def draw(self, uniforms: FloatArray, whole: bool) -> FloatArray:
        """Map uniform numbers in [0, 1), (n,), to values."""
        if self.weights is None:
            return np.array(self.values)[(uniforms * len(self.values)).astype(np.int64)]
        cumulated = np.cumsum(self.weights)
        index = np.searchsorted(cumulated / cumulated[-1], uniforms, side="right")
        return np.array(self.values)[index]


RecipeAxis = Annotated[RecipeRange | RecipeChoice, Field(discriminator="distribution")]


@dataclass(frozen=True)
class _Bounds:
    """What each setting may be."""

    lr: LearningRate
    weight_decay: WeightDecay
    label_smoothing: LabelSmoothing
    epochs: Epochs
    batch_size: BatchSize


def _within_bounds(axes: dict[RecipeKey, RecipeAxis]) -> dict[RecipeKey, RecipeAxis]:
    """Refuse values that a recipe would refuse once they are drawn."""
    for name, axis in axes.items():
        ends = axis.values if isinstance(axis, RecipeChoice) else [axis.low, axis.high]
        step = None if isinstance(axis, RecipeChoice) else axis.step
        try:
            for value in ends:
                check_value(_Bounds, name, int(value) if value.is_integer() else value)
            if name in _WHOLE and step is not None and not step.is_integer():
                raise InputError(f"step must be a whole number; found {step:g}")
        except InputError as error:
            raise ValueError(f"{name}: {error}") from None
    return axes


RecipeAxes = Annotated[dict[RecipeKey, RecipeAxis], AfterValidator(_within_bounds)]


class _Axes(BaseModel):
    axes: dict[RecipeKey, RecipeAxis]


def draw_recipes(space: Mapping[str, Any], n: int) -> dict[str, FloatArray]:
    """Return the settings of n models by name, each (n,); empty where the space draws none.

    Those of model i depend on the sample's space, budget and seed alone.

    Args:
        space: A resolved space with its `sample` map, as in space.yaml.
        n: Number of models.
    """
    axes = _Axes.model_validate({"axes": space.get("recipe") or {}}).axes
    if not axes:
        return {}
    sample = space.get("sample") or {}
    # A toggle is named behind the hash: paired models share their recipe.
    identity = str(sample.get("hash", "")).partition("-")[0]
    key = int(hashlib.sha256(identity.encode()).hexdigest()[:16], 16)
    seed = np.random.SeedSequence((int(sample.get("seed") or 0), key, _STREAM))
    uniforms = np.random.Generator(np.random.Philox(seed)).random((n, len(RECIPE_KEYS)))
    return {
        name: axes[name].draw(uniforms[:, i], name in _WHOLE)
        for i, name in enumerate(RECIPE_KEYS)
        if name in axes
    }


def settings_of(draws: Mapping[str, FloatArray], index: int) -> dict[str, float | int]:
    """Return the settings of one model, whole numbers as such."""
    return {
        name: int(values[index]) if name in _WHOLE else float(values[index])
        for name, values in draws.items()
    }
