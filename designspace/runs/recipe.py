"""Training recipes: read from YAML, frozen, and checked whenever one is created or varied."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from designspace.errors import InputError
from designspace.io.shipped_recipes import read_recipe_data, shipped_names
from designspace.io.validation import validate
from designspace.space.recipe_axis import (
    BatchSize,
    Epochs,
    LabelSmoothing,
    LearningRate,
    WeightDecay,
)

_PACKAGE = "designspace.runs"
Augmentation = Literal["none", "crop", "crop-flip", "resized-crop-flip"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]


# Settings that earlier versions lacked, with the values that they trained by.
_LATER: dict[str, Any] = {
    "nesterov": False,
    "decay_norms": True,
    "mixup": 0.0,
    "ema_period": 1,
    "precision": None,
}


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Recipe:
    """How every model of a run is trained.

    The reported error is always top-1 error in percent on the validation split after the last
    epoch, never a minimum over epochs.

    Attributes:
        name: Display name.
        epochs: Passes over the training split.
        batch_size: Images per step.
        lr: Peak learning rate at this batch size.
        about: Origin and declared departures from it.
        warmup_epochs: Linear warm-up from 0, may be fractional; then a half-period cosine to 0,
            both updated at every step.
        momentum: SGD momentum.
        nesterov: Nesterov's momentum.
        weight_decay: L2 penalty on all parameters, or those that `decay_norms` leaves.
        decay_norms: Whether weight decay applies to normalization layers and biases too.
        label_smoothing: 0 disables it.
        mixup: Parameter alpha of the Beta distribution from which each batch's mixing weight is
            drawn; a batch is mixed with itself in reverse order (Zhang et al. 2018). 0 disables it.
        ema_decay: Decay of an exponential moving average of the weights, which is evaluated in
            their place; 0 disables it.
        ema_period: Steps between two updates of that average, to each of which the decay applies.
        zero_init_residual: Initialise the last BatchNorm scale of each block to 0 (Goyal et al.
            2017).
        augmentation: none; crop (zero-pad by `pad`, random crop); crop-flip; resized-crop-flip
            (random area 8 to 100 percent, aspect 3/4 to 4/3).
        pad: Padding of the random crop in pixels; None is an eighth of the resolution, 4 at 32.
        resolution: Side of training and validation images in pixels; None is the space's.
        eval_resize: Shorter side that validation images are resized to before the centre crop, as a
            multiple of the resolution; 1 disables the crop.
        precision: fp32; tf32 (float32 whose products are rounded to 10 bits of mantissa); bf16 or
            fp16 (autocast). None is the device's default: fp32 on CPU and MPS, tf32 on CUDA; on
            GPUs before Ampere, which lack it, fp16 with `zero_init_residual`, else fp32. In 16 bits
            the gradients of an initial network are mostly rounding noise, unless
            `zero_init_residual` is set.

    Example:
        >>> import designspace as ds
        >>> ds.Recipe(name="mine", epochs=2, batch_size=64, lr=0.1).augmentation
        'crop-flip'
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")]
    epochs: Epochs
    batch_size: BatchSize
    lr: LearningRate
    about: str = ""
    warmup_epochs: float = Field(default=0.0, ge=0, le=100_000)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: WeightDecay = 5e-5
    decay_norms: bool = True
    label_smoothing: LabelSmoothing = 0.0
    mixup: float = Field(default=0.0, ge=0, le=100)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    ema_period: int = Field(default=1, ge=1, le=1_000_000)
    zero_init_residual: bool = False
    augmentation: Augmentation = "crop-flip"
    pad: int | None = Field(default=None, ge=0, le=1024)
    resolution: int | None = Field(default=None, ge=1, le=8192)
    eval_resize: float = Field(default=1.0, ge=1, le=4)
    precision: Precision | None = None

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g}; it must be below epochs, {self.epochs}"
            )
        # A stored recipe has the default of its resolution filled in.
        unpadded = self.augmentation in ("none", "resized-crop-flip")
        if unpadded and self.pad not in (None, (self.resolution or 0) // 8):
            raise ValueError(
                f"pad is {self.pad}, which has no effect with augmentation {self.augmentation}; "
                "leave it out"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in recipe.yaml."""
        plain = asdict(self)
        # Settings of later versions are written where they are used.
        return {k: v for k, v in plain.items() if k not in _LATER or v != _LATER[k]}

    def differences(self, other: "Recipe") -> list[str]:
        """List the settings that differ (name and description aside), as `what: this, other`."""
        return differing_items(self.to_dict(), other.to_dict(), ("name", "about"))

    def override(
        self,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        precision: str | None = None,
    ) -> "Recipe":
        """Return a copy with the settings that are not None.

        Raises:
            InputError: A setting is out of range.
        """
        settings = {
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "precision": precision,
        }
        changes = {key: value for key, value in settings.items() if value is not None}
        return parse_recipe({**self.to_dict(), **changes}, f"{self.name}, with options")

    def with_settings(self, settings: Mapping[str, float]) -> "Recipe":
        """Return a copy with settings that a space drew for one model.

        Raises:
            InputError: A setting is out of range.
        """
        if not settings:
            return self
        return parse_recipe({**self.to_dict(), **settings}, f"{self.name}, with drawn settings")

    def at(self, resolution: int) -> "Recipe":
        """Return the recipe with the resolution of a space filled in.

        Raises:
            InputError: The recipe has another resolution, for which the costs would not hold.
        """
        if self.resolution not in (None, resolution):
            raise InputError(
                f"recipe {self.name} trains at {self.resolution} pixels, the space is for "
                f"{resolution}; leave `resolution` out of the recipe or sample SPACE@"
                f"{self.resolution}"
            )
        pad = resolution // 8 if self.pad is None else self.pad
        return replace(self, resolution=resolution, pad=pad)


def differing_items(
    first: dict[str, Any], second: dict[str, Any], ignore: tuple[str, ...] = ()
) -> list[str]:
    """List the entries in which two records differ, as `key: first, second`."""
    return [
        f"{key}: {first.get(key)}, {second.get(key)}"
        for key in first | second
        if key not in ignore and first.get(key) != second.get(key)
    ]


def parse_recipe(data: dict[str, Any], path: Path | str) -> Recipe:
    """Turn plain data into a recipe; `path` names its origin in messages.

    Raises:
        InputError: A key is unknown, missing or out of range.
    """
    return validate(Recipe, data, path, "recipe")


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return shipped_names(_PACKAGE)


def load_recipe(recipe: "RecipeLike") -> Recipe:
    """Load a shipped recipe by name, or your own: the path of its YAML file, or a map of its keys.

    Args:
        recipe: dds, dds-25, dds-100, cifar, quick, a path, or a map, which may name a `parent` and
            hold what differs from it. A `Recipe` is returned as it is.

    Raises:
        InputError: There is no such recipe, or its file is invalid.

    Example:
        >>> import designspace as ds
        >>> ds.load_recipe("cifar").override(epochs=3).epochs
        3
        >>> ds.load_recipe({"parent": "cifar", "weight_decay": 1e-4}).momentum
        0.9
    """
    if isinstance(recipe, Recipe):
        return recipe
    return parse_recipe(*read_recipe_data(recipe, _PACKAGE, "recipe"))


RecipeLike = Recipe | str | Path | Mapping[str, Any]
