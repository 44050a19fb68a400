"""MBConv: MobileNetV2's inverted residual (Sandler et al. 2018, arXiv 1801.04381, §3.3).

A 1x1 convolution widens the input t times, a k x k depthwise one follows, then
squeeze-and-excitation, if any (MnasNet, EfficientNet), and a 1x1 without activation narrows again.
"""

from typing import TYPE_CHECKING

from designspace.arch import BlockAxis
from designspace.arch.layer_counter import LayerCounter
from designspace.blocks.staged_block import BlockShape, staged_block

if TYPE_CHECKING:
    from torch import nn

    from designspace.networks.layers import Layers


def _count(total: LayerCounter, block: BlockShape) -> None:
    inner = block.width_in * block.axes["t"]
    total.conv(block.width_in, inner, 1, block.side_in, where=block.axes["t"] != 1)
    total.conv(1, inner, block.axes["k"], block.side)
    total.squeeze_excitation(inner, block.squeeze_width)
    total.conv(inner, block.width, 1, block.side)


def _build(layers: "Layers", block: BlockShape) -> "nn.Module":
    inner = block.width_in * block.axes["t"]
    branch = layers.chain(
        expansion=None if inner == block.width_in else layers.conv(block.width_in, inner, 1),
        depthwise=layers.conv(inner, inner, block.axes["k"], block.stride, inner),
        se=layers.squeeze_excitation(inner, block.squeeze_width),
        projection=layers.conv(inner, block.width, 1, activation=False),
    )
    return branch if block.changes_shape else layers.residual(branch)


BLOCK = staged_block(
    "mbconv",
    "MobileNetV2's inverted residual, with squeeze-and-excitation that of EfficientNet",
    _count,
    _build,
    axes=(
        BlockAxis("t", "expansion: how many times wider the block is inside", 1, 12),
        BlockAxis("k", "side of the depthwise kernel", 1, 15, odd=True),
    ),
    squeeze=True,
    activations=("silu", "relu6", "relu", "gelu"),
)
