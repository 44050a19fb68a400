"""V: two 3x3 convolutions, each with BatchNorm and activation, and no residual connection."""

from typing import TYPE_CHECKING

from designspace.arch.layer_counter import LayerCounter
from designspace.blocks.staged_block import BlockShape, staged_block

if TYPE_CHECKING:
    from torch import nn

    from designspace.networks.layers import Layers


def _count(total: LayerCounter, block: BlockShape) -> None:
    total.conv(block.width_in, block.width, 3, block.side)
    total.conv(block.width, block.width, 3, block.side)


def _build(layers: "Layers", block: BlockShape) -> "nn.Module":
    return layers.chain(
        a=layers.conv(block.width_in, block.width, 3, block.stride),
        b=layers.conv(block.width, block.width, 3),
    )


BLOCK = staged_block(
    "vanilla",
    "V: two 3x3 convolutions without a residual connection (pycls' vanilla_block)",
    _count,
    _build,
)
