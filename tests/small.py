"""A trunk that is pretrained in seconds."""

from designspace.arch import Body, Model, Skeleton

SMALL = Model(
    "small",
    Body((1, 1), (8, 16), (1.0, 1.0), (8, 8), 0.25),
    Skeleton(resolution=16, classes=10, stem_width=8, stem_stride=1, strides=(2, 2)),
)
