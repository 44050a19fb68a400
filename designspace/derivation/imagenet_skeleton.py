"""Input, stem, strides and head for ImageNet, by the rules of a network's block."""

from dataclasses import replace

from designspace.arch import BOTTLENECK, Skeleton, is_shipped, published
from designspace.errors import InputError, counted

# Blocks whose stems and strides are not RegNet's, and a published network that has theirs.
_PUBLISHED = {"mbconv": "MobileNetV2", "convnext": "ConvNeXt-T"}


def imagenet_skeleton(around: Skeleton | None, block: str, where: str) -> Skeleton:
    """Return what surrounds the stages of a network of 224 pixels and 1000 classes.

    What was made for large images keeps its own stem, strides and head. The others get those of
    MobileNetV2 or ConvNeXt where they are made of its block, else RegNet's.

    Args:
        around: What surrounds them now, or None where it is unknown.
        block: What the stages are made of.
        where: The network or findings, for messages.

    Raises:
        InputError: There are no rules for that block, or for that number of its stages.
    """
    name, size = _PUBLISHED.get(block), Skeleton()
    rule = None if name is None else published(name).skeleton
    if rule is None and (block == BOTTLENECK or is_shipped(block)):
        rule = size if around is None else replace(size, strides=(2,) * around.num_stages)
    if around is None:
        if rule is None:
            raise InputError(
                f"imagenet has no stem and strides for {block} blocks, and those of {where} are "
                "unknown; import the results again with their input, such as input='@32'",
                "imagenet",
            )
        return rule
    # Small images have a stem of stride 1, also where only the resolution was raised since.
    reduces = name is not None and rule is not None and _reduction(around) == _reduction(rule)
    if around.stem_stride > 1 and (around.resolution >= size.resolution or reduces):
        return replace(
            around, resolution=size.resolution, classes=size.classes, channels=size.channels
        )
    if rule is None or rule.num_stages != around.num_stages:
        only = f", only for {counted(rule.num_stages, 'stage')}" if rule else ""
        raise InputError(
            f"imagenet has no stem and strides for {counted(around.num_stages, 'stage')} of "
            f"{block} blocks, as {where} has{only}; leave it out and pass "
            f"resolution={size.resolution} and classes={size.classes}, which keep stem and strides "
            "as they are",
            "imagenet",
        )
    return rule


def imagenet_step(around: Skeleton) -> str:
    """Return what a network of that skeleton has for ImageNet, a sentence."""
    strides = " ".join(map(str, around.strides))
    head = f", head of {around.head_width} channels" if around.head_width else ""
    return (
        f"For ImageNet: {around.resolution} pixels, {around.classes} classes, {around.stem} stem "
        f"of {around.stem_width} channels and stride {around.stem_stride}, strides of the stages "
        f"{strides}{head}."
    )


def _reduction(around: Skeleton) -> tuple[str, int, tuple[int, ...]]:
    return around.stem, around.stem_stride, around.strides
