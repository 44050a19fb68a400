"""RegNetY-256GF-derived: 254,384,928,298 multiply-adds at 224 pixels, 1,282,601,138 parameters with 1000 classes."""

from torchvision.models.regnet import BlockParams, RegNet

BLOCKS = BlockParams(
    depths=[2, 7, 17, 1],
    widths=[746, 1492, 4103, 10444],
    group_widths=[373, 373, 373, 373],
    bottleneck_multipliers=[1.0, 1.0, 1.0, 1.0],
    strides=[2, 2, 2, 2],
    se_ratio=0.25,
)


def regnety_256gf_derived(num_classes: int = 1000, **kwargs) -> RegNet:
    """Build the network with fresh weights."""
    return RegNet(BLOCKS, num_classes, stem_width=32, **kwargs)
