"""Z: RegNet's bottleneck without the last activation, and with a shortcut only where shapes agree.

pycls' `res_bottleneck_linear_block`; the RegNetZ of arXiv 2103.06877, whose b is 1/4, and of timm.
"""

from typing import TYPE_CHECKING

from designspace.arch.layer_counter import LayerCounter
from designspace.blocks.staged_block import BlockShape, staged_block

if TYPE_CHECKING:
    from torch import nn

    from designspace.networks.layers import Layers


def _count(total: LayerCounter, block: BlockShape) -> None:
    total.conv(block.width_in, block.inner, 1, block.side_in)
    total.conv(block.group_width, block.inner, 3, block.side)
    total.squeeze_excitation(block.inner, block.squeeze_width)
    total.conv(block.inner, block.width, 1, block.side)


def _build(layers: "Layers", block: BlockShape) -> "nn.Module":
    groups = block.inner // block.group_width
    branch = layers.chain(
        a=layers.conv(block.width_in, block.inner, 1),
        b=layers.conv(block.inner, block.inner, 3, block.stride, groups),
        se=layers.squeeze_excitation(block.inner, block.squeeze_width),
        c=layers.conv(block.inner, block.width, 1, activation=False),
    )
    return branch if block.changes_shape else layers.residual(branch)


BLOCK = staged_block(
    "linear-bottleneck",
    "Z: RegNet's bottleneck without the last activation (pycls' res_bottleneck_linear_block)",
    _count,
    _build,
    body_axes=("b", "g"),
    squeeze=True,
)
