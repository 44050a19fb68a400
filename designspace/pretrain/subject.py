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
from designspace.pretrain.folder import PretrainFolder
from designspace.pretrain.network import part_of, trunk_of

_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, eq=False)
class Subject:
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


def load_subject(path: Path, model: Model | None, side: int | None) -> Subject:
    """Load what `designspace pretrain` made, or weights from another library.

    Args:
        path: A folder of `designspace pretrain`, or a file of weights (torchvision, timm,
            transformers, VISSL or SwAV's trunks; .safetensors or torch).
        model: The architecture; needed for a file, read from the folder otherwise.
        side: Side of the images; that of the largest crop, or the model's resolution, unless given.

    Raises:
        InputError: There is nothing to evaluate, or the weights don't fit (which keys, shapes).
    """
    folder = PretrainFolder(path)
    if path.is_dir() and folder.started:
        return _pretrained(folder, model, side)
    if model is None:
        raise InputError(
            f"{path} is not a folder of `designspace pretrain`; for weights of another library "
            "name the network too: --model RegNetY-16GF, or a model.yaml"
        )
    found = read_weights(path, model)
    weights = {k: v.cpu() for k, v in found.state.items() if not k.startswith("fc.")}
    at = side or model.frame.resolution
    source = f"{path} ({found.style})"
    return Subject(model, weights, at, _IMAGENET_MEAN, _IMAGENET_STD, source)


def _pretrained(folder: PretrainFolder, model: Model | None, side: int | None) -> Subject:
    trained, recipe, data = folder.model(), folder.recipe(), folder.data()
    if model is not None and model.arch != trained.arch:
        raise InputError(
            f"{folder.path} holds {trained.name}, another network than {model.name}; leave --model "
            "out"
        )
    state, notes = folder.load(torch.device("cpu"))
    if state is None:
        raise InputError(f"{folder.path} has no whole checkpoint yet; let `pretrain` go on")
    weights = part_of(state["network"], "trunk.")
    source = f"{folder.path}, iteration {state['iteration']}"
    return Subject(
        trained,
        weights,
        side or recipe.side,
        tuple(data.mean),
        tuple(data.std),
        source,
        data.source,
        tuple(notes),
    )
