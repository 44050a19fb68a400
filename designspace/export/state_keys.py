"""State keys of each library, one name for each array of a network.

`torchvision` names are ours too. A style is a list of prefixes; every network's key map follows
from its stages, so that a conversion is a look-up, and what is unknown or missing can be listed.
"""

from dataclasses import dataclass

from designspace.arch import Body

_CONV = ("weight",)
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_DENSE = ("weight", "bias")
CLASSIFIER = ("fc.weight", "fc.bias")


@dataclass(frozen=True)
class KeyStyle:
    """How a library names the parts of a RegNet.

    Attributes:
        name: The library.
        stem: Prefixes of the stem's convolution and BatchNorm.
        block: Prefix of a block: {index} of the stage from 0, {stage} from 1, {next} from 2;
            {block} from 0, {place} from 1.
        parts: Prefixes inside a block: convolutions and BatchNorms of the shortcut, of a (1x1), b
            (3x3) and c (1x1), and the two layers of squeeze-and-excitation.
        c_without_se: Prefixes of c in X blocks, where they differ.
        classifier: Prefix of the classifier, or None where the library's trunks have none.
    """

    name: str
    stem: tuple[str, str]
    block: str
    parts: dict[str, str]
    classifier: str | None
    c_without_se: tuple[str, str] | None = None


_TORCHVISION = KeyStyle(
    name="torchvision",
    stem=("stem.0", "stem.1"),
    block="trunk_output.block{stage}.block{stage}-{block}",
    parts={
        "proj": "proj.0",
        "proj_bn": "proj.1",
        "a": "f.a.0",
        "a_bn": "f.a.1",
        "b": "f.b.0",
        "b_bn": "f.b.1",
        "se1": "f.se.fc1",
        "se2": "f.se.fc2",
        "c": "f.c.0",
        "c_bn": "f.c.1",
    },
    classifier="fc",
)
_TIMM = KeyStyle(
    name="timm",
    stem=("stem.conv", "stem.bn"),
    block="s{stage}.b{place}",
    parts={
        "proj": "downsample.conv",
        "proj_bn": "downsample.bn",
        "a": "conv1.conv",
        "a_bn": "conv1.bn",
        "b": "conv2.conv",
        "b_bn": "conv2.bn",
        "se1": "se.fc1",
        "se2": "se.fc2",
        "c": "conv3.conv",
        "c_bn": "conv3.bn",
    },
    classifier="head.fc",
)
_TRANSFORMERS = KeyStyle(
    name="transformers",
    stem=("regnet.embedder.embedder.convolution", "regnet.embedder.embedder.normalization"),
    block="regnet.encoder.stages.{index}.layers.{block}",
    parts={
        "proj": "shortcut.convolution",
        "proj_bn": "shortcut.normalization",
        "a": "layer.0.convolution",
        "a_bn": "layer.0.normalization",
        "b": "layer.1.convolution",
        "b_bn": "layer.1.normalization",
        "se1": "layer.2.attention.0",
        "se2": "layer.2.attention.2",
        "c": "layer.3.convolution",
        "c_bn": "layer.3.normalization",
    },
    classifier="classifier.1",
    c_without_se=("layer.2.convolution", "layer.2.normalization"),
)
_VISSL = KeyStyle(
    name="vissl",
    stem=("_feature_blocks.conv1.stem.0", "_feature_blocks.conv1.stem.1"),
    block="_feature_blocks.res{next}.block{stage}-{block}",
    parts={
        "proj": "proj",
        "proj_bn": "bn",
        "a": "f.a.0",
        "a_bn": "f.a.1",
        "b": "f.b.0",
        "b_bn": "f.b.1",
        "se1": "f.se.excitation.0",
        "se2": "f.se.excitation.2",
        "c": "f.c",
        "c_bn": "f.final_bn",
    },
    classifier=None,
)
STYLES: dict[str, KeyStyle] = {
    style.name: style for style in (_TORCHVISION, _TIMM, _TRANSFORMERS, _VISSL)
}


def key_names(body: Body, strides: tuple[int, ...], stem_width: int, style: str) -> list[str]:
    """List a network's state keys in a library's names, in an order that all styles share.

    Where a library's trunks have no classifier, its two keys are left out of the end.

    Args:
        arch: The stages.
        strides: Stride of each stage's first block; with the width it decides on shortcuts.
        stem_width: Output channels of the stem.
        style: torchvision (ours too), timm, transformers or vissl.
    """
    made = STYLES[style]
    names = [f"{made.stem[0]}.{leaf}" for leaf in _CONV]
    names += [f"{made.stem[1]}.{leaf}" for leaf in _NORM]
    width_in = stem_width
    for index, (depth, width, stride) in enumerate(
        zip(body.depths, body.widths, strides, strict=True)
    ):
        for block in range(depth):
            prefix = made.block.format(
                index=index, stage=index + 1, next=index + 2, block=block, place=block + 1
            )
            projected = block == 0 and (stride != 1 or width_in != width)
            names += [f"{prefix}.{key}" for key in _block_keys(made, projected, body.se_ratio > 0)]
        width_in = width
    if made.classifier is not None:
        names += [f"{made.classifier}.{leaf}" for leaf in _DENSE]
    return names


def _block_keys(style: KeyStyle, projected: bool, squeezing: bool) -> list[str]:
    parts = dict(style.parts)
    if not squeezing and style.c_without_se is not None:
        parts["c"], parts["c_bn"] = style.c_without_se
    order = ["proj", "a", "b", "c"] if projected else ["a", "b", "c"]
    keys: list[str] = []
    for part in order:
        keys += [f"{parts[part]}.{leaf}" for leaf in _CONV]
        keys += [f"{parts[part + '_bn']}.{leaf}" for leaf in _NORM]
    if squeezing:
        keys += [f"{parts[part]}.{leaf}" for part in ("se1", "se2") for leaf in _DENSE]
    return keys


def key_map(
    body: Body, strides: tuple[int, ...], stem_width: int, source: str, target: str
) -> dict[str, str]:
    """Map every key of one style that has a counterpart to its name in another."""
    names = [key_names(body, strides, stem_width, style) for style in (source, target)]
    return dict(zip(*names, strict=False))
