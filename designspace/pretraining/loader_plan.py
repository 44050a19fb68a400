"""What feeding a pretraining takes: cores that decode, network, and disk."""

import math
from dataclasses import dataclass

from designspace.arch.unit_suffix import format_bytes
from designspace.pretraining.recipe import SwavRecipe

# Mean bytes of an encoded image: ImageNet's 1,281,167 training images take 138 GB.
IMAGE_BYTES = 108_000
# Images of that size, 500 x 375 pixels, that a core decodes and resizes per second: measured with
# Pillow on one core of an AMD EPYC.
DECODED_PER_CORE = 200


@dataclass(frozen=True)
class ImageSizes:
    """Number and size of the images of a pretraining.

    Attributes:
        images: Images per epoch.
        encoded: Mean bytes of an encoded image; None if unknown.
        streamed: Whether images are decoded whenever they are needed, rather than once into a
            cache; None if no data set was named.
        decoded: Images in that cache, with those held out; None for `images`.
    """

    images: int
    encoded: float | None = None
    streamed: bool | None = None
    decoded: int | None = None


@dataclass(frozen=True)
class LoaderPlan:
    """What feeding the GPUs takes.

    Attributes:
        cores: Cores that decode a stream as fast as the GPUs train, over all machines; 0 for a data
            set that is decoded once.
        cores_per_gpu: The same for each GPU.
        network: Bytes of encoded images per second, over all machines; 0 likewise.
        encoded: Bytes of all encoded images on disk.
        cached: Bytes of all decoded images: what a data set that is not streamed takes on disk.
        image_bytes: Mean bytes of an encoded image.
        measured: Whether they are those of the data set, rather than ImageNet's.
        streamed: As of `ImageSizes`.
    """

    cores: int
    cores_per_gpu: float
    network: int
    encoded: int
    cached: int
    image_bytes: float
    measured: bool
    streamed: bool | None

    def __str__(self) -> str:
        size = f"at {format_bytes(self.image_bytes)} an image{', measured' * self.measured}"
        encoded, cached = format_bytes(self.encoded), format_bytes(self.cached)
        if self.streamed is False:
            return f"images are decoded once, from {encoded} ({size}) into a cache of {cached}"
        each = self.cores_per_gpu
        stream = (
            f"{self.cores:,} cores decode a stream "
            f"({f'{each:,.0f}' if each >= 10 else f'{each:.2g}'} per GPU), which takes "
            f"{format_bytes(self.network)}/s from {encoded} ({size})"
        )
        if self.streamed:
            return stream
        return f"{stream}; decoded once, the images take {cached} of disk"


def plan_loader(
    recipe: SwavRecipe, sizes: ImageSizes, channels: int, images_per_second: float, gpus: int
) -> LoaderPlan:
    """Estimate what feeding a pretraining takes.

    Args:
        recipe: With the side of the decoded images.
        sizes: Of the images; ImageNet's size is assumed where none is known.
        channels: Of the trunk's input.
        images_per_second: Speed of training, over all GPUs.
        gpus: Number of GPUs.
    """
    cores = images_per_second / DECODED_PER_CORE if sizes.streamed is not False else 0.0
    image_bytes = IMAGE_BYTES if sizes.encoded is None else sizes.encoded
    return LoaderPlan(
        cores=math.ceil(cores),
        cores_per_gpu=cores / gpus,
        network=round(cores * DECODED_PER_CORE * image_bytes),
        encoded=round(sizes.images * image_bytes),
        cached=(sizes.decoded or sizes.images) * recipe.record_side**2 * channels,
        image_bytes=image_bytes,
        measured=sizes.encoded is not None,
        streamed=sizes.streamed,
    )
