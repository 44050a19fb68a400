"""ConvNeXt's block (Liu et al. 2022, arXiv 2201.03545, figure 4).

A k x k depthwise convolution, LayerNorm, a 1x1 that widens t times, GELU, a 1x1 back, a scale of
each channel (initially 1e-6), and the shortcut. Where the shape changes, LayerNorm and a strided
convolution of non-overlapping patches come first.
"""

from typing import TYPE_CHECKING

from designspace.arch import BlockAxis
from designspace.arch.layer_counter import LayerCounter
from designspace.blocks.staged_block import BlockShape, staged_block

if TYPE_CHECKING:
    from torch import nn

    from designspace.networks.layers import Layers


def _count(total: LayerCounter, block: BlockShape) -> None:
    changes, width, side = block.changes_shape, block.width, block.side
    total.scale(block.width_in, 2, where=changes)
    total.conv(block.width_in, width, block.stride, side, bias=True, norm=False, where=changes)
    total.conv(1, width, block.axes["k"], side, bias=True)
    inner = width * block.axes["t"]
    total.conv(width, inner, 1, side, bias=True, norm=False)
    total.conv(inner, width, 1, side, bias=True, norm=False)
    total.scale(width)


def _build(layers: "Layers", block: BlockShape) -> "nn.Module":
    width, inner = block.width, block.width * block.axes["t"]
    branch = layers.chain(
        depthwise=layers.plain_conv(width, width, block.axes["k"], groups=width),
        norm=layers.norm(width),
        expansion=layers.plain_conv(width, inner),
        activation=layers.activation(),
        projection=layers.plain_conv(inner, width),
        scale=layers.channel_scale(width, 1e-6),
    )
    if not block.changes_shape:
        return layers.residual(branch)
    return layers.chain(
        norm=layers.norm(block.width_in),
        downsample=layers.patches(block.width_in, width, block.stride),
        block=layers.residual(branch),
    )


BLOCK = staged_block(
    "convnext",
    "ConvNeXt's block: depthwise convolution, LayerNorm, two 1x1, layer scale",
    _count,
    _build,
    axes=(
        BlockAxis("t", "expansion: how many times wider the block is inside", 1, 8),
        BlockAxis("k", "side of the depthwise kernel", 1, 31, odd=True),
    ),
    activations=("gelu", "relu", "silu", "relu6"),
    layer_norm=True,
)
