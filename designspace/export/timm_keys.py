"""Which class of timm builds a network, and timm's state keys of networks other than RegNets."""

import re
from dataclasses import dataclass
from typing import Literal

from designspace.arch import BOTTLENECK, Model

TimmClass = Literal["RegNet", "ResNet", "EfficientNet", "ConvNeXt"]
# For each block, timm's class by our name of the stem.
CLASSES: dict[str, dict[str, TimmClass]] = {
    BOTTLENECK: {"conv3": "RegNet", "conv7_pool": "ResNet"},
    "residual-basic": {"conv7_pool": "ResNet"},
    "linear-bottleneck": {"conv3": "RegNet"},
    "mbconv": {"conv3": "EfficientNet"},
    "convnext": {"patch": "ConvNeXt"},
}


@dataclass(frozen=True)
class _Names:
    """How a class of timm names the modules of our network.

    Attributes:
        around: Modules of the stem and the head.
        modules: Modules of a block, formatted with {index} of the stage from 0, {stage} from 1,
            {block} from 0 and {place} from 1. In ours, those of a branch start with `f.`, which
            may be left out here.
    """

    around: dict[str, str]
    modules: dict[str, str]


_NAMES: dict[TimmClass, _Names] = {
    "RegNet": _Names(
        {
            "stem.0": "stem.conv",
            "stem.1": "stem.bn",
            "avgpool.conv.0": "final_conv.conv",
            "avgpool.conv.1": "final_conv.bn",
            "fc": "head.fc",
        },
        {
            "proj.0": "s{stage}.b{place}.downsample.conv",
            "proj.1": "s{stage}.b{place}.downsample.bn",
            "a.0": "s{stage}.b{place}.conv1.conv",
            "a.1": "s{stage}.b{place}.conv1.bn",
            "b.0": "s{stage}.b{place}.conv2.conv",
            "b.1": "s{stage}.b{place}.conv2.bn",
            "se.fc1": "s{stage}.b{place}.se.fc1",
            "se.fc2": "s{stage}.b{place}.se.fc2",
            "c.0": "s{stage}.b{place}.conv3.conv",
            "c.1": "s{stage}.b{place}.conv3.bn",
        },
    ),
    "ResNet": _Names(
        {"stem.0": "conv1", "stem.1": "bn1", "fc": "fc"},
        {
            "proj.0": "layer{stage}.{block}.downsample.0",
            "proj.1": "layer{stage}.{block}.downsample.1",
            "a.0": "layer{stage}.{block}.conv1",
            "a.1": "layer{stage}.{block}.bn1",
            "b.0": "layer{stage}.{block}.conv2",
            "b.1": "layer{stage}.{block}.bn2",
            "c.0": "layer{stage}.{block}.conv3",
            "c.1": "layer{stage}.{block}.bn3",
        },
    ),
    "EfficientNet": _Names(
        {
            "stem.0": "conv_stem",
            "stem.1": "bn1",
            "avgpool.conv.0": "conv_head",
            "avgpool.conv.1": "bn2",
            "fc": "classifier",
        },
        {
            "expansion.0": "blocks.{index}.{block}.conv_pw",
            "expansion.1": "blocks.{index}.{block}.bn1",
            "depthwise.0": "blocks.{index}.{block}.conv_dw",
            "depthwise.1": "blocks.{index}.{block}.bn2",
            "se.fc1": "blocks.{index}.{block}.se.conv_reduce",
            "se.fc2": "blocks.{index}.{block}.se.conv_expand",
            "projection.0": "blocks.{index}.{block}.conv_pwl",
            "projection.1": "blocks.{index}.{block}.bn3",
        },
    ),
    "ConvNeXt": _Names(
        {"stem.0": "stem.0", "stem.1": "stem.1", "avgpool.norm": "head.norm", "fc": "head.fc"},
        {
            "norm": "stages.{index}.downsample.0",
            "downsample": "stages.{index}.downsample.1",
            "f.depthwise": "stages.{index}.blocks.{block}.conv_dw",
            "f.norm": "stages.{index}.blocks.{block}.norm",
            "f.expansion": "stages.{index}.blocks.{block}.mlp.fc1",
            "f.projection": "stages.{index}.blocks.{block}.mlp.fc2",
            "f.scale": "stages.{index}.blocks.{block}.gamma",
        },
    ),
}
# timm's blocks without expansion are of another type, with names of their own.
_WITHOUT_EXPANSION = {
    "depthwise.1": "blocks.{index}.{block}.bn1",
    "projection.0": "blocks.{index}.{block}.conv_pw",
    "projection.1": "blocks.{index}.{block}.bn2",
}
_IN_BLOCK = re.compile(r"trunk_output\.block(\d+)\.block\d+-(\d+)\.(?:block\.)?(.+)")
# timm's ConvNeXt computes 1x1 convolutions as linear layers, and scales without a map's two sides.
_WITHOUT_SIDES = re.compile(r"stages\.\d+\.blocks\.\d+\.(?:gamma|mlp\.fc[12]\.weight)")


def timm_class(model: Model) -> TimmClass | None:
    """Return the class of timm that has a model's block and stem, or None if there is none."""
    return CLASSES.get(model.body.block, {}).get(model.skeleton.stem)


def timm_keys(kind: TimmClass, model: Model, keys: list[str]) -> list[str]:
    """Return the names that a class of timm has for our state keys of a model."""
    expansions = dict(model.body.extras).get("t", ()) if kind == "EfficientNet" else ()
    unexpanded = {stage for stage, t in enumerate(expansions, start=1) if t == 1}
    return [_timm_key(_NAMES[kind], key, unexpanded) for key in keys]


def _timm_key(names: _Names, key: str, unexpanded: set[int]) -> str:
    match = _IN_BLOCK.fullmatch(key)
    module, _, leaf = (match[3] if match else key).rpartition(".")
    if match is None:
        return f"{names.around[module]}.{leaf}"
    stage, block = int(match[1]), int(match[2])
    modules = names.modules | (_WITHOUT_EXPANSION if stage in unexpanded else {})
    name = modules.get(module) or modules[module.removeprefix("f.")]
    name = name.format(index=stage - 1, stage=stage, block=block, place=block + 1)
    return name if name.endswith(".gamma") else f"{name}.{leaf}"


def lacks_sides(key: str) -> bool:
    """Whether timm's array of a key lacks the two last axes of ours, which are of size 1."""
    return _WITHOUT_SIDES.fullmatch(key) is not None
