"""What is evaluated: a trunk with its weights, and how images must come to it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from designspace.arch import Model
from designspace.errors import InputError
from designspace.export.weights import read_weights
from designspace.pretrain.pretrain_run import PretrainRun
from designspace.pretrain.swav_network import part_of, total_stride, trunk_of

_LARGEST_SIDE = 4096
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A trunk to be evaluated.

    Attributes:
        model: Its architecture.
        weights: Its arrays in torchvision's names, without classifier.
        side: Side of the images that it sees, in pixels.
        mean: Mean of each channel that they are normalised with, 0 to 255.
        std: Deviation of each channel.
        source: Where it comes from, in words.
        data: What it was pretrained on, as a person named it, or None where that isn't known.
        notes: What a person should know of it, such as a damaged checkpoint.
    """

    model: Model
    weights: Mapping[str, Tensor]
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    data: str | None = None
    notes: tuple[str, ...] = ()

    def trunk(self) -> nn.Module:
        """Build the trunk with its weights."""
        made: nn.Module = trunk_of(self.model)
        made.load_state_dict(dict(self.weights))
        return made

    @cached_property
    def digest(self) -> str:
        """Hash of the weights."""
        made = hashlib.sha256()
        for key in sorted(self.weights):
            made.update(key.encode() + self.weights[key].contiguous().numpy().tobytes())
        return made.hexdigest()[:16]


def load_backbone(path: Path, model: Model | None, side: int | None) -> Backbone:
    """Load what `designspace pretrain` made, or weights from another library.

    Args:
        path: A folder of `designspace pretrain` (or the trunk.pt in one), or a file of weights
            (torchvision, timm, transformers, VISSL or SwAV's trunks; .safetensors or torch).
        model: The architecture; needed for a file, read from the folder otherwise.
        side: Side of the images; that of the largest crop, or the model's resolution, unless given.

    Raises:
        InputError: There is nothing to evaluate, or the weights don't fit (which keys, shapes).
    """
    if not path.exists():
        raise InputError(f"there is no {path}; name a folder of `designspace pretrain`, or a file")
    if path.is_dir():
        folder = PretrainRun(path)
        if not folder.started:
            raise InputError(
                f"{path} is not a folder of `designspace pretrain`: it has no recipe.yaml; for "
                "weights of another library name their file"
            )
        return _pretrained(folder, model, side)
    folder = PretrainRun(path.parent)
    ours = path.name == folder.trunk_file.name and folder.started
    if model is None and not ours:
        raise InputError(
            f"{path}: a file of weights doesn't say of which network they are; name it with "
            "--model RegNetY-16GF, or --model model.yaml"
        )
    model = model or folder.model()
    found = read_weights(path, model)
    weights = {k: v.cpu() for k, v in found.state.items() if not k.startswith("fc.")}
    source = f"{path} ({found.style})"
    if ours:
        at = _side(side, folder.recipe().side, model)
        data = folder.data()
        mean, std = tuple(data.mean), tuple(data.std)
        return Backbone(model, weights, at, mean, std, source, data.source)
    at = _side(side, model.skeleton.resolution, model)
    return Backbone(model, weights, at, _IMAGENET_MEAN, _IMAGENET_STD, source)


def _side(asked: int | None, usual: int, model: Model) -> int:
    """The side that was asked for, or the usual one, if the trunk leaves a pixel of it."""
    side, least = usual if asked is None else asked, total_stride(model)
    if not least <= side <= _LARGEST_SIDE:
        raise InputError(
            f"--side is {side}; {model.name} shrinks an image by {least}, so it must be from "
            f"{least} to {_LARGEST_SIDE}"
        )
    return side


def _pretrained(folder: PretrainRun, model: Model | None, side: int | None) -> Backbone:
    trained, recipe, data = folder.model(), folder.recipe(), folder.data()
    if model is not None and model.body != trained.body:
        raise InputError(
            f"{folder.path} holds {trained.name}, another network than {model.name}; leave --model "
            "out"
        )
    state, notes = folder.load(torch.device("cpu"))
    if state is None:
        raise InputError(f"{folder.path} has no whole checkpoint yet; let `pretrain` go on")
    weights = part_of(state["network"], "trunk.")
    source = f"{folder.path}, iteration {state['iteration']}"
    return Backbone(
        trained,
        weights,
        _side(side, recipe.side, trained),
        tuple(data.mean),
        tuple(data.std),
        source,
        data.source,
        tuple(notes),
    )
