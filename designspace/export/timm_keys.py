"""Which class of timm builds a network, and timm's state keys of networks other than RegNets."""

import re
from dataclasses import dataclass
from typing import Literal

from designspace.arch import BOTTLENECK, Model

TimmClass = Literal["RegNet", "ConvNeXt"]
# For each block, timm's class by our name of the stem.
CLASSES: dict[str, dict[str, TimmClass]] = {
    BOTTLENECK: {"conv3": "RegNet"},
    "linear-bottleneck": {"conv3": "RegNet"},
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
_IN_BLOCK = re.compile(r"trunk_output\.block(\d+)\.block\d+-(\d+)\.(?:block\.)?(.+)")
# timm's ConvNeXt computes 1x1 convolutions as linear layers, and scales without a map's two sides.
_WITHOUT_SIDES = re.compile(r"stages\.\d+\.blocks\.\d+\.(?:gamma|mlp\.fc[12]\.weight)")


def timm_class(model: Model) -> TimmClass | None:
    """Return the class of timm that has a model's block and stem, or None if there is none."""
    return CLASSES.get(model.body.block, {}).get(model.skeleton.stem)


def timm_key(kind: TimmClass, key: str) -> str:
    """Return the name that a class of timm has for one of our state keys."""
    names = _NAMES[kind]
    match = _IN_BLOCK.fullmatch(key)
    module, _, leaf = (match[3] if match else key).rpartition(".")
    if match is None:
        return f"{names.around[module]}.{leaf}"
    stage, block = int(match[1]), int(match[2])
    name = names.modules.get(module) or names.modules[module.removeprefix("f.")]
    name = name.format(index=stage - 1, stage=stage, block=block, place=block + 1)
    return name if name.endswith(".gamma") else f"{name}.{leaf}"


def lacks_sides(key: str) -> bool:
    """Whether timm's array of a key lacks the two last axes of ours, which are of size 1."""
    return _WITHOUT_SIDES.fullmatch(key) is not None
