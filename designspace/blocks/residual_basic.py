"""VR: two 3x3 convolutions with a residual connection (He et al. 2016, figure 5 left)."""

from typing import TYPE_CHECKING

from designspace.arch.layer_counter import LayerCounter
from designspace.blocks.staged_block import BlockShape, staged_block

if TYPE_CHECKING:
    from torch import nn

    from designspace.networks.layers import Layers


def _count(total: LayerCounter, block: BlockShape) -> None:
    total.conv(block.width_in, block.width, 3, block.side)
    total.conv(block.width, block.width, 3, block.side)
    total.conv(block.width_in, block.width, 1, block.side, where=block.changes_shape)


def _build(layers: "Layers", block: BlockShape) -> "nn.Module":
    branch = layers.chain(
        a=layers.conv(block.width_in, block.width, 3, block.stride),
        b=layers.conv(block.width, block.width, 3, activation=False),
    )
    shortcut = None
    if block.changes_shape:
        shortcut = layers.conv(block.width_in, block.width, 1, block.stride, activation=False)
    return layers.residual(branch, shortcut, activation=True)


BLOCK = staged_block(
    "residual-basic",
    "VR: two 3x3 convolutions with a residual connection (pycls' res_basic_block)",
    _count,
    _build,
)
