"""X and Y: RegNet's residual bottleneck block (DDS §3.1 and figure 20).

1x1, 3x3 in groups, squeeze-and-excitation if any, 1x1.
"""

from collections.abc import Iterator

from torch import nn

from designspace.arch import Model
from designspace.networks.layers import Layers


def bottleneck_stages(model: Model, layers: Layers) -> Iterator[list[nn.Module]]:
    """Build the blocks of one stage after the other.

    They are built when they are needed, after the stem: what a seed draws depends on the order.
    """
    body, width = model.body, model.skeleton.stem_width
    for i, (depth, width_out) in enumerate(zip(body.depths, body.widths, strict=True)):
        inner, group_width = round(width_out / body.bottleneck_ratios[i]), body.group_widths[i]
        yield [
            _block(
                layers,
                width if first else width_out,
                width_out,
                inner,
                inner // group_width,
                model.skeleton.strides[i] if first else 1,
                model.squeeze_widths[i][0 if first else 1],
            )
            for first in (True, *[False] * (depth - 1))
        ]
        width = width_out


def _block(
    layers: Layers,
    width_in: int,
    width_out: int,
    inner: int,
    groups: int,
    stride: int,
    squeeze_width: int,
) -> nn.Module:
    shortcut = None
    if width_in != width_out or stride != 1:
        shortcut = layers.conv(width_in, width_out, 1, stride, activation=False)
    branch = layers.chain(
        a=layers.conv(width_in, inner, 1),
        b=layers.conv(inner, inner, 3, stride, groups),
        se=layers.squeeze_excitation(inner, squeeze_width),
        c=layers.conv(inner, width_out, 1, activation=False),
    )
    return layers.residual(branch, shortcut, activation=True)
