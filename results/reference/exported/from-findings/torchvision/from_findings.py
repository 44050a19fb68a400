"""from-findings: 3,965,222 multiply-adds at 16 pixels, 220,534 parameters with 10 classes."""

from torchvision.models.regnet import BlockParams, RegNet
from torchvision.ops.misc import Conv2dNormActivation

BLOCKS = BlockParams(
    depths=[1, 1, 1, 1],
    widths=[32, 64, 128, 256],
    group_widths=[4, 4, 4, 4],
    bottleneck_multipliers=[1.0, 1.0, 1.0, 1.0],
    strides=[1, 2, 2, 2],
    se_ratio=0.25,
)


def _stem(width_in, width_out, norm_layer, activation_layer):
    """A 3x3 convolution that keeps the size of small images."""
    return Conv2dNormActivation(
        width_in, width_out, 3, 1, norm_layer=norm_layer, activation_layer=activation_layer
    )


def from_findings(num_classes: int = 10, **kwargs) -> RegNet:
    """Build the network with fresh weights."""
    return RegNet(BLOCKS, num_classes, stem_width=16, stem_type=_stem, **kwargs)
