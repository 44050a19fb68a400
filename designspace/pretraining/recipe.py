"""Recipes of pretraining: frozen and validated, read from YAML.

The sources of all constants of the shipped recipes are in their files, under `about`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from designspace.errors import InputError
from designspace.io.shipped_recipes import read_recipe_data, shipped_names
from designspace.io.validation import validate

_Fraction = Annotated[float, Field(ge=0, le=1)]
_MAX_LR = 1000
_Lr = Annotated[float, Field(ge=0, le=_MAX_LR, allow_inf_nan=False)]
_PACKAGE = "designspace.pretraining"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Crops(_Strict):
    """Crops of one size.

    Attributes:
        count: Crops of this size per image.
        size: Side in pixels.
        scale: Smallest and largest fraction of the image's area in a crop.
    """

    count: int = Field(ge=1, le=64)
    size: int = Field(ge=4, le=2048)
    scale: Annotated[tuple[float, float], Field(strict=False)]

    @model_validator(mode="after")
    def _check(self) -> "Crops":
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError("scale must be two fractions of the area, 0 < low <= high <= 1")
        return self


class Augment(_Strict):
    """Augmentation of a crop, in this order.

    Attributes:
        flip: Probability of a horizontal flip.
        jitter: Strength of brightness, contrast, saturation and hue, as in torchvision.
        jitter_share: Probability of color jitter.
        grey: Probability of conversion to grey.
        blur: Probability of a Gaussian blur.
        blur_sigma: Range of its standard deviation in pixels.
    """

    flip: _Fraction = 0.5
    jitter: Annotated[tuple[float, float, float, float], Field(strict=False)] = (0.8, 0.8, 0.8, 0.2)
    jitter_share: _Fraction = 0.8
    grey: _Fraction = 0.2
    blur: _Fraction = 0.5
    blur_sigma: Annotated[tuple[float, float], Field(strict=False)] = (0.1, 2.0)

    @model_validator(mode="after")
    def _check(self) -> "Augment":
        if not all(0 <= s <= 1 for s in self.jitter[:3]) or not 0 <= self.jitter[3] <= 0.5:
            raise ValueError("jitter must be three strengths from 0 to 1 and a hue from 0 to 0.5")
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1] <= 16:
            raise ValueError("blur_sigma must be 0 < low <= high <= 16 pixels")
        return self


class Head(_Strict):
    """Projection head on the trunk's pooled features: linear layers with ReLU between.

    Attributes:
        hidden: Widths of the hidden layers.
        dim: Width of the embedding.
        batch_norm: Whether BatchNorm follows each hidden layer.
    """

    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
    dim: int = Field(ge=2, le=65536)
    batch_norm: bool = True


class Sinkhorn(_Strict):
    """Smoothness and number of iterations of the Sinkhorn algorithm."""

    epsilon: float = Field(gt=0, le=10)
    iterations: int = Field(ge=1, le=1000)


class Queue(_Strict):
    """Queue of past embeddings that small batches compute their codes with.

    Attributes:
        length: Embeddings per assigning crop, over all processes.
        from_epoch: First epoch (from 0) that fills the queue; it is used once full.
    """

    length: int = Field(ge=1)
    from_epoch: int = Field(default=0, ge=0)


class SwavRecipe(_Strict):
    """How a trunk is pretrained.

    Learning rates hold at `batch_size`; `override` scales them with it.

    Attributes:
        name: Name of the recipe.
        about: Sources of its constants, and departures from them.
        crops: Groups of crops of one size, the assigning ones first.
        assign: Number of crops, from the first, that are assigned codes.
        augment: Augmentation of the crops.
        head: Projection head.
        prototypes: Number of prototypes, K.
        temperature: Of the softmax over prototypes.
        sinkhorn: Computation of the codes.
        queue: Queue of past embeddings, or None.
        freeze_prototypes: Iterations during which prototypes are frozen.
        epochs: Passes over the images.
        batch_size: Images per iteration, over all processes.
        lr: Peak learning rate.
        start_lr: Start of the linear warm-up.
        final_lr: End of the cosine.
        warmup_epochs: Length of the warm-up, possibly fractional.
        warmup_iterations: Length in iterations, instead of epochs.
        decay: cosine, or constant after the warm-up.
        momentum: Of SGD.
        weight_decay: Applied to all parameters, including biases and BatchNorm.
        larc: Scale each tensor's step by the ratio of norms (You et al. 2017): LARC without
            clipping, as in SwAV's and SEER's code, which the SEER paper calls LARS.
        trust: LARC's coefficient.
        zero_init_residual: Initialize the last BatchNorm scale of each block with 0.
        record: Side of the decoded square images that crops are cut from; None for 8/7 of the
            largest crop.
        sync_bn_group: Processes that share BatchNorm statistics; 0 for all.
        checkpoint_after: Blocks of each stage after which activations are kept, while others are
            recomputed in the backward pass; "block" for every block; None keeps all.
        accumulate: Parts of each process's batch that pass through the network one after another;
            their gradients add up to one step. BatchNorm statistics and codes are those of a part,
            with the queue.
        shard: Shard parameters, gradients and momentum over the processes (FSDP2) instead of
            replicating them (DDP); no effect with a single process.
        images: Images per epoch of the published run, for cost plans.
        gpus: GPUs of the published run, for cost plans.
        knn_every: Epochs between measurements of k-NN accuracy; 0 for none.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    about: str = ""
    crops: Annotated[tuple[Crops, ...], Field(strict=False, min_length=1, max_length=8)]
    assign: int = Field(default=2, ge=1)
    augment: Augment = Augment()
    head: Head
    prototypes: int = Field(ge=2, le=10**6)
    temperature: float = Field(default=0.1, gt=0, le=10)
    sinkhorn: Sinkhorn
    queue: Queue | None = None
    freeze_prototypes: int = Field(default=0, ge=0)
    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(ge=2, le=10**6)
    lr: float = Field(gt=0, le=_MAX_LR, allow_inf_nan=False)
    start_lr: _Lr = 0.0
    final_lr: _Lr = 0.0
    warmup_epochs: float = Field(default=0.0, ge=0)
    warmup_iterations: int = Field(default=0, ge=0)
    decay: Literal["cosine", "constant"] = "cosine"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-6, ge=0, le=1)
    larc: bool = True
    trust: float = Field(default=0.001, gt=0, le=1)
    zero_init_residual: bool = False
    record: int | None = Field(default=None, ge=4, le=4096)
    sync_bn_group: int = Field(default=0, ge=0)
    checkpoint_after: Literal["block"] | list[list[int]] | None = None
    accumulate: int = Field(default=1, ge=1, le=4096)
    shard: bool = False
    images: int | None = Field(default=None, ge=1)
    gpus: int = Field(default=1, ge=1)
    knn_every: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _check(self) -> "SwavRecipe":
        if self.total_crops < 2:
            raise ValueError("crops has one crop; swapped prediction needs at least two")
        if self.assign > self.crops[0].count:
            raise ValueError(
                f"assign is {self.assign}; it must be at most the {self.crops[0].count} crops of "
                "the first group"
            )
        if self.record is not None and self.record < self.side:
            raise ValueError(
                f"record is {self.record}; it must be at least the largest crop, {self.side}"
            )
        if self.warmup_epochs and self.warmup_iterations:
            raise ValueError("warmup_epochs and warmup_iterations exclude each other")
        for name in ("start_lr", "final_lr"):
            if getattr(self, name) > self.lr:
                raise ValueError(
                    f"{name} is {getattr(self, name):g}; it must be at most lr, {self.lr:g}"
                )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate is {self.accumulate}; batch_size, {self.batch_size}, must be a "
                "multiple of it"
            )
        if self.queue is not None and self.queue.length % self.batch_size:
            raise ValueError(
                f"queue.length is {self.queue.length}; it must be a multiple of batch_size, "
                f"{self.batch_size}"
            )
        return self

    @property
    def total_crops(self) -> int:
        """Crops per image."""
        return sum(group.count for group in self.crops)

    @property
    def side(self) -> int:
        """Side of the largest crop, which is also used for evaluation."""
        return max(group.size for group in self.crops)

    @property
    def record_side(self) -> int:
        """Side of the decoded images."""
        return self.record or round(self.side * 8 / 7)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in recipe.yaml."""
        return self.model_dump(mode="json")

    def differences(self, other: "SwavRecipe") -> list[str]:
        """List what differs in the training itself, as `key: this, other`."""
        own, others = self.to_dict(), other.to_dict()
        # Distribution over processes and memory changes results only by rounding.
        ignored = ("name", "about", "images", "gpus", "knn_every", "shard", "checkpoint_after")
        return [
            f"{key}: {own[key]}, {others[key]}"
            for key in own
            if key not in ignored and own[key] != others[key]
        ]

    def override(
        self,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        shard: bool | None = None,
        accumulate: int | None = None,
    ) -> "SwavRecipe":
        """Return the recipe with some values replaced, validated again.

        Another batch size scales lr, start_lr and final_lr in proportion (the linear rule); another
        lr scales the other two with it.

        Raises:
            InputError: A value is out of range, or conflicts with the rest of the recipe.
        """
        checked = (("epochs", epochs, 1), ("batch_size", batch_size, 2))
        for name, value, least in (*checked, ("accumulate", accumulate, 1)):
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}", argument=name)
        if lr is not None and not 0 < lr <= _MAX_LR:
            raise InputError(
                f"lr is {lr:g}; it must be above 0 and at most {_MAX_LR}", argument="lr"
            )
        batch, parts = batch_size or self.batch_size, accumulate or self.accumulate
        if batch % parts and accumulate is not None:
            raise InputError(
                f"accumulate is {parts}; batch_size, {batch}, must be a multiple of it",
                "accumulate",
            )
        if batch % parts:
            raise InputError(
                f"batch_size is {batch}; it must be a multiple of accumulate, {parts}", "batch_size"
            )
        factor = 1.0 if batch_size is None else batch_size / self.batch_size
        factor = factor if lr is None else lr / self.lr
        overrides = {"epochs": epochs, "batch_size": batch_size, "shard": shard}
        overrides["accumulate"] = accumulate
        data = self.to_dict() | {k: v for k, v in overrides.items() if v is not None}
        for name in ("lr", "start_lr", "final_lr"):
            data[name] = data[name] * factor
        return parse_recipe(data, f"{self.name} with overrides")


def parse_recipe(data: dict[str, Any], path: Path | str) -> SwavRecipe:
    """Validate plain data as a recipe.

    Raises:
        InputError: A key is unknown, missing or out of range.
    """
    return validate(SwavRecipe, data, path, "pretraining recipe")


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return shipped_names(_PACKAGE)


def load_recipe(recipe: "RecipeLike") -> SwavRecipe:
    """Return a shipped recipe by name, the recipe in a YAML file, or that of a map of its keys.

    Raises:
        InputError: There is no such recipe, or its file is invalid.
    """
    if isinstance(recipe, SwavRecipe):
        return recipe
    return parse_recipe(*read_recipe_data(recipe, _PACKAGE, "pretraining recipe"))


RecipeLike = SwavRecipe | str | Path | Mapping[str, Any]
