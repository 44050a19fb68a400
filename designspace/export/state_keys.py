"""State-dict keys of each library: every array of a network has one name in each.

Our own names are torchvision's. A library's names follow from a network's stages, in an order that
all libraries share, so conversion is a look-up, and unknown or missing keys can be listed. Networks
that are no RegNets have our own names and, where timm has a class for them, timm's (`timm_keys`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from designspace.arch import Model
from designspace.errors import InputError
from designspace.export.timm_keys import lacks_sides, timm_class, timm_keys

if TYPE_CHECKING:
    import torch

_CONV = ("weight",)
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_DENSE = ("weight", "bias")


@dataclass(frozen=True)
class KeyStyle:
    """How a library names the modules of a RegNet.

    Attributes:
        name: The library.
        stem: The stem's convolution and BatchNorm.
        block: A block, formatted with {index} of the stage from 0, {stage} from 1, {next} from 2,
            {block} from 0 and {place} from 1.
        modules: Modules of a block: convolution and BatchNorm of the shortcut (`proj`) and of the
            1x1 (`a`), 3x3 (`b`) and 1x1 (`c`), and the two layers of squeeze-and-excitation (`se`).
        classifier: The classifier, or None if the library's trunks have none.
        c_without_se: Names of `c` in X blocks, if they differ.
    """

    name: str
    stem: tuple[str, str]
    block: str
    modules: dict[str, tuple[str, str]]
    classifier: str | None
    c_without_se: tuple[str, str] | None = None


STYLES: dict[str, KeyStyle] = {
    style.name: style
    for style in (
        KeyStyle(
            name="torchvision",
            stem=("stem.0", "stem.1"),
            block="trunk_output.block{stage}.block{stage}-{block}",
            modules={
                "proj": ("proj.0", "proj.1"),
                "a": ("f.a.0", "f.a.1"),
                "b": ("f.b.0", "f.b.1"),
                "c": ("f.c.0", "f.c.1"),
                "se": ("f.se.fc1", "f.se.fc2"),
            },
            classifier="fc",
        ),
        KeyStyle(
            name="timm",
            stem=("stem.conv", "stem.bn"),
            block="s{stage}.b{place}",
            modules={
                "proj": ("downsample.conv", "downsample.bn"),
                "a": ("conv1.conv", "conv1.bn"),
                "b": ("conv2.conv", "conv2.bn"),
                "c": ("conv3.conv", "conv3.bn"),
                "se": ("se.fc1", "se.fc2"),
            },
            classifier="head.fc",
        ),
        KeyStyle(
            name="transformers",
            stem=(
                "regnet.embedder.embedder.convolution",
                "regnet.embedder.embedder.normalization",
            ),
            block="regnet.encoder.stages.{index}.layers.{block}",
            modules={
                "proj": ("shortcut.convolution", "shortcut.normalization"),
                "a": ("layer.0.convolution", "layer.0.normalization"),
                "b": ("layer.1.convolution", "layer.1.normalization"),
                "c": ("layer.3.convolution", "layer.3.normalization"),
                "se": ("layer.2.attention.0", "layer.2.attention.2"),
            },
            classifier="classifier.1",
            c_without_se=("layer.2.convolution", "layer.2.normalization"),
        ),
        KeyStyle(
            name="vissl",
            stem=("_feature_blocks.conv1.stem.0", "_feature_blocks.conv1.stem.1"),
            block="_feature_blocks.res{next}.block{stage}-{block}",
            modules={
                "proj": ("proj", "bn"),
                "a": ("f.a.0", "f.a.1"),
                "b": ("f.b.0", "f.b.1"),
                "c": ("f.c", "f.final_bn"),
                "se": ("f.se.excitation.0", "f.se.excitation.2"),
            },
            classifier=None,
        ),
        KeyStyle(
            name="pycls",
            stem=("stem.conv", "stem.bn"),
            block="s{stage}.b{place}",
            modules={
                "proj": ("proj", "bn"),
                "a": ("f.a", "f.a_bn"),
                "b": ("f.b", "f.b_bn"),
                "c": ("f.c", "f.c_bn"),
                "se": ("f.se.f_ex.0", "f.se.f_ex.2"),
            },
            classifier="head.fc",
        ),
        KeyStyle(
            name="mmpretrain",
            stem=("conv1", "bn1"),
            block="layer{stage}.{block}",
            modules={
                "proj": ("downsample.0", "downsample.1"),
                "a": ("conv1", "bn1"),
                "b": ("conv2", "bn2"),
                "c": ("conv3", "bn3"),
                "se": ("se_layer.conv1.conv", "se_layer.conv2.conv"),
            },
            classifier="head.fc",
        ),
    )
}


def key_names(model: Model, style: str) -> list[str]:
    """List a model's state keys in a library's names, in an order that all styles share.

    If the library's trunks have no classifier, the last two keys are missing.

    Args:
        model: The network.
        style: Name of a style: torchvision (our own), timm, transformers, vissl, pycls, mmpretrain.
    """
    if not model.is_regnet_network:
        return _other_keys(model, style)
    keys, skeleton = STYLES[style], model.skeleton
    names = _module_names(keys.stem)
    width_in = skeleton.stem_width
    stages = zip(model.body.depths, model.body.widths, skeleton.strides, strict=True)
    for index, (depth, width, stride) in enumerate(stages):
        for block in range(depth):
            prefix = keys.block.format(
                index=index, stage=index + 1, next=index + 2, block=block, place=block + 1
            )
            projected = block == 0 and (stride != 1 or width_in != width)
            squeeze = model.squeeze_widths[index][block > 0]
            names += [f"{prefix}.{key}" for key in _block_names(keys, projected, squeeze)]
        width_in = width
    if keys.classifier is not None:
        names += [f"{keys.classifier}.{leaf}" for leaf in _DENSE]
    return names


def classifier_keys(model: Model) -> tuple[str, ...]:
    """Return the classifier's keys among our own names; none where a network has no classifier."""
    from designspace.networks import build_on_meta
    from designspace.networks.classifier import classifier_path

    if model.is_regnet_network:
        return tuple(f"fc.{leaf}" for leaf in _DENSE)
    network = build_on_meta(model)
    try:
        path = classifier_path(network, model)
    except InputError:
        return ()
    return tuple(key for key in network.state_dict() if key.rpartition(".")[0] == path)


def styles_of(model: Model) -> tuple[str, ...]:
    """Return the styles that have names for a model's keys: all for RegNets."""
    if model.is_regnet_network:
        return tuple(STYLES)
    return ("torchvision", "timm") if timm_class(model) else ("torchvision",)


def _other_keys(model: Model, style: str) -> list[str]:
    """List the state keys of a network that is no RegNet, in our own names or in timm's."""
    from designspace.networks import build_on_meta

    if style not in styles_of(model):
        raise InputError(f"{style} has no names for the weights of {model.name}")
    keys, kind = list(build_on_meta(model).state_dict()), timm_class(model)
    return timm_keys(kind, model, keys) if style == "timm" and kind else keys


def _block_names(style: KeyStyle, projected: bool, squeeze: int) -> list[str]:
    modules = style.modules
    if not squeeze and style.c_without_se is not None:
        modules = {**modules, "c": style.c_without_se}
    order = ("proj", "a", "b", "c") if projected else ("a", "b", "c")
    names = [name for part in order for name in _module_names(modules[part])]
    if squeeze:
        names += [f"{module}.{leaf}" for module in modules["se"] for leaf in _DENSE]
    return names


def _module_names(modules: tuple[str, str]) -> list[str]:
    """Names of a convolution's and its BatchNorm's arrays."""
    convolution, norm = modules
    return [*(f"{convolution}.{leaf}" for leaf in _CONV), *(f"{norm}.{leaf}" for leaf in _NORM)]


def key_map(model: Model, source: str, target: str) -> dict[str, str]:
    """Map every key of one style that has a counterpart to its name in another."""
    return dict(zip(key_names(model, source), key_names(model, target), strict=False))


def rename(
    state: "Mapping[str, torch.Tensor]", model: Model, style: str
) -> "dict[str, torch.Tensor]":
    """Return arrays in our own names under a library's, in its shapes.

    Those that the library's networks lack are left out.
    """
    names = key_map(model, "torchvision", style)
    return {
        names[key]: tensor[..., 0, 0] if style == "timm" and lacks_sides(names[key]) else tensor
        for key, tensor in state.items()
        if key in names
    }
