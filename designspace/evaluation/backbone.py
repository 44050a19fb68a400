"""The trunk that is evaluated: weights, and how its images are normalized."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from designspace.arch import Model, Skeleton
from designspace.errors import InputError
from designspace.export.convert_weights import read_weights, weight_files
from designspace.pretraining.initial_weights import weights_digest
from designspace.pretraining.pretrain_run import PretrainRun
from designspace.pretraining.prototype_scorer import PrototypeScorer
from designspace.pretraining.recipe import SwavRecipe
from designspace.pretraining.swav_network import part_of, total_stride, trunk_of
from designspace.runs.folder_kind import check_weights_path

_MAX_SIDE = 4096
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A trunk to evaluate.

    Attributes:
        model: Its architecture.
        weights: Its state without classifier, in torchvision's names.
        side: Side of the images that it sees, in pixels.
        mean: Mean of each channel for normalization, 0 to 255; None for that of the data.
        std: Standard deviation of each channel; None likewise.
        source: Checkpoint in words.
        data: Data set that it was pretrained on, as the user named it; None if unknown.
        notes: Messages for the user, such as a damaged checkpoint.
        passes: Passes over the images of its pretraining; None if unknown.
        prototypes: Head and prototypes of its pretraining; None for other weights.
        recipe: Of its pretraining; None for other weights.
        usual_side: Side of the images unless another one is chosen; None for `side`.
    """

    model: Model
    weights: Mapping[str, Tensor]
    side: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    source: str
    data: str | None = None
    notes: tuple[str, ...] = ()
    passes: int | None = None
    prototypes: PrototypeScorer | None = None
    recipe: SwavRecipe | None = None
    usual_side: int | None = None

    def __post_init__(self) -> None:
        smallest = total_stride(self.model)
        if not smallest <= self.side <= _MAX_SIDE:
            raise InputError(
                f"side is {self.side}; it must be from {smallest} (the total stride of "
                f"{self.model.name}) to {_MAX_SIDE}",
                argument="side",
            )
        for key, tensor in self.weights.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise InputError(f"{self.source}: {key} has values that are NaN or infinite")

    def trunk(self) -> nn.Module:
        """Build the trunk with its weights."""
        trunk: nn.Module = trunk_of(self.model)
        trunk.load_state_dict(dict(self.weights))
        return trunk

    @property
    def network(self) -> str:
        """The network without weights, classes and resolution: what random ones depend on."""
        skeleton = replace(self.model.skeleton, classes=1000, resolution=224)
        other = "" if skeleton == Skeleton() else f", {skeleton}"
        return f"{self.model.body}{other}"

    @property
    def side_words(self) -> str:
        """What tells scores of another side than the usual one apart, or ""."""
        return "" if self.usual_side in (None, self.side) else f", {self.side} pixels"

    @cached_property
    def digest(self) -> str:
        """Hash of the weights."""
        return weights_digest(self.weights)


def load_backbone(path: Path, model: Model | None, side: int | None) -> Backbone:
    """Load a pretrained trunk.

    Args:
        path: Folder of a pretraining, its trunk.pt, or a file or folder of weights from another
            library (see `read_weights`).
        model: The architecture; required for weights of another library.
        side: Side of the images; None for the largest crop, or the model's resolution.

    Raises:
        InputError: There is no checkpoint, or the weights don't fit.
    """
    check_weights_path(path, "checkpoint")
    run = PretrainRun(path if path.is_dir() else path.parent)
    if path.is_dir() and run.started:
        return _from_run(run, model, side)
    if path.is_dir() and not weight_files(path):
        raise InputError(
            f"{path} is not the folder of a pretraining: it has neither model.yaml and recipe.yaml "
            "nor weights of another library"
        )
    own = run.started and path.name == run.trunk_file.name
    if model is None:
        if not own:
            raise InputError(
                f"model is missing: {path} does not say which network its weights belong to; pass "
                "a published name such as RegNetY-16GF, or a model.yaml",
                argument="model",
            )
        model = run.model()
    checkpoint = read_weights(path, model, trunk_only=True)
    weights = {key: array.cpu() for key, array in checkpoint.state.items()}
    source = f"{path} ({checkpoint.style})"
    if own:
        return _with_statistics(run, model, weights, side, source, checkpoint.notes)
    usual = model.skeleton.resolution
    side = usual if side is None else side
    rgb = model.skeleton.channels == 3
    mean, std = (_IMAGENET_MEAN, _IMAGENET_STD) if rgb else (None, None)
    notes = checkpoint.notes
    return Backbone(model, weights, side, mean, std, source, notes=notes, usual_side=usual)


def _from_run(run: PretrainRun, model: Model | None, side: int | None) -> Backbone:
    trained = run.model()
    if model is not None and model.body != trained.body:
        raise InputError(
            f"model is {model.name}, but {run.path} holds {trained.name}; omit model",
            argument="model",
        )
    state, notes = run.load(torch.device("cpu"))
    ended = run.trunk_file.is_file()
    if state is None and ended and not run.has_checkpoint:  # they were removed
        return load_backbone(run.trunk_file, trained, side)
    if state is None:
        remedy = f"pass {run.trunk_file}, its last weights" if ended else "continue the pretraining"
        raise InputError(f"{run.path} has no undamaged checkpoint; {remedy}")
    weights = part_of(state["network"], "trunk.")
    source = f"{run.path}, iteration {state['iteration']}"
    backbone = _with_statistics(run, trained, weights, side, source, tuple(notes))
    recipe = run.recipe()
    passes = round(state["iteration"] / (run.data().images // recipe.batch_size))
    scorer = PrototypeScorer(recipe.head, state["network"])
    return replace(backbone, passes=max(1, passes), prototypes=scorer)


def _with_statistics(
    run: PretrainRun,
    model: Model,
    weights: Mapping[str, Tensor],
    side: int | None,
    source: str,
    notes: tuple[str, ...],
) -> Backbone:
    """A backbone that sees images as its pretraining did."""
    data, recipe = run.data(), run.recipe()
    return Backbone(
        model,
        weights,
        recipe.side if side is None else side,
        tuple(data.mean),
        tuple(data.std),
        source,
        data.source,
        notes,
        passes=recipe.epochs,
        recipe=recipe,
        usual_side=recipe.side,
    )
