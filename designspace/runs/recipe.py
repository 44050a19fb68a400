"""The short schedule as data: a frozen recipe, read from YAML, varied with `override`."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from designspace.errors import InputError
from designspace.io.files import read_named, shipped_names, validate

_PACKAGE = "designspace.runs"
Augmentation = Literal["none", "crop", "crop-flip", "resized-crop-flip"]


@dataclass(frozen=True)
class Recipe:
    """How every model of a population is trained. All models of a run share one recipe.

    The error that it reports is always the same: top-1, in percent, on the validation split, after
    the last epoch (never a minimum over epochs).

    Attributes:
        name: What people call it.
        about: Where it comes from, and declared departures.
        epochs: Passes over the training split.
        batch_size: Images a step.
        lr: Peak learning rate, at this batch size.
        warmup_epochs: Linear warm-up from 0, may be a fraction; then half-period cosine to 0, both
            set at every iteration.
        momentum: SGD momentum.
        weight_decay: L2 penalty on all parameters.
        label_smoothing: 0 is off.
        ema_decay: Exponential moving average of the weights, evaluated instead of them; 0 is off.
        zero_init_residual: Start the last BatchNorm scale of each block at 0 (Goyal et al. 2017).
        augmentation: none; crop (zero-pad by `pad`, random crop); crop-flip; resized-crop-flip
            (random area 8 to 100 percent, aspect 3/4 to 4/3).
        pad: Pixels of padding for the random crop; None takes an eighth of the resolution: 4 at 32.
        resolution: Side of training and test images in pixels; None takes the space's.
        eval_resize: Shorter side that test images are resized to before the centre crop, as a
            multiple of the resolution; 1 is no crop.
    """

    name: str
    epochs: int
    batch_size: int
    lr: float
    about: str = ""
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-5
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    zero_init_residual: bool = False
    augmentation: Augmentation = "crop-flip"
    pad: int | None = None
    resolution: int | None = None
    eval_resize: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as it stands in recipe.yaml."""
        return asdict(self)

    def differences(self, other: "Recipe") -> list[str]:
        """Name what differs in meaning (not name or description), as `what: this, other`."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{key}: {mine[key]}, {theirs[key]}"
            for key in mine
            if key not in ("name", "about") and mine[key] != theirs[key]
        ]

    def override(
        self, epochs: int | None = None, batch_size: int | None = None, lr: float | None = None
    ) -> "Recipe":
        """Return the recipe with what was given on the command line, checked again."""
        changes = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
        given = {key: value for key, value in changes.items() if value is not None}
        return parse_recipe({**self.to_dict(), **given}, "the command line") if given else self

    def at(self, resolution: int) -> "Recipe":
        """Return the recipe with the resolution of the space that it is used with.

        Raises:
            InputError: The recipe states another one: the population's costs would not hold.
        """
        if self.resolution not in (None, resolution):
            raise InputError(
                f"recipe {self.name} trains at {self.resolution} pixels, the space is for "
                f"{resolution}; leave `resolution` out of the recipe or sample SPACE@"
                f"{self.resolution}"
            )
        pad = resolution // 8 if self.pad is None else self.pad
        return replace(self, resolution=resolution, pad=pad)


class _RecipeFile(BaseModel):
    """The shape of a recipe's YAML file; the fields are those of `Recipe`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    about: str = ""
    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(ge=1, le=1_000_000)
    lr: float = Field(gt=0, le=1000, allow_inf_nan=False)
    warmup_epochs: float = Field(default=0.0, ge=0, le=100_000)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-5, ge=0, le=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    zero_init_residual: bool = False
    augmentation: Augmentation = "crop-flip"
    pad: int | None = Field(default=None, ge=0, le=512)
    resolution: int | None = Field(default=None, ge=1, le=8192)
    eval_resize: float = Field(default=1.0, ge=1, le=4)


def parse_recipe(data: dict[str, Any], path: Path | str) -> Recipe:
    """Check plain data and make a recipe of it.

    Raises:
        InputError: A key is unknown, missing or out of range.
    """
    checked = validate(_RecipeFile, data, path, "recipe")
    recipe = Recipe(**checked.model_dump())
    if recipe.warmup_epochs >= recipe.epochs:
        raise InputError(
            f"recipe: {path}: warmup_epochs is {recipe.warmup_epochs:g}; it must be below epochs, "
            f"{recipe.epochs}"
        )
    return recipe


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return shipped_names(_PACKAGE)


def load_recipe(name: str) -> Recipe:
    """Load a shipped recipe by name, or a person's own by the path of its YAML file.

    Raises:
        InputError: There is no such recipe, or its file is wrong.
    """
    return parse_recipe(*read_named(name, _PACKAGE, "recipe"))
