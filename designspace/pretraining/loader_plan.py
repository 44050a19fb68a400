"""What feeding a pretraining takes: cores that decode, network, and disk."""

import math
from dataclasses import dataclass

from designspace.pretraining.recipe import SwavRecipe

# Mean bytes of an encoded image: ImageNet's 1,281,167 training images take 138 GB.
IMAGE_BYTES = 108_000
# Images of that size, 500 x 375 pixels, that a core decodes and resizes per second: measured with
# Pillow on one core of an AMD EPYC.
DECODED_PER_CORE = 200


@dataclass(frozen=True)
class LoaderPlan:
    """What feeding the GPUs takes.

    Attributes:
        cores: Cores that decode a stream as fast as the GPUs train, over all machines.
        cores_per_gpu: The same for each GPU.
        network: Bytes of encoded images per second, over all machines.
        encoded: Bytes of all encoded images on disk.
        cached: Bytes of all decoded images: what a data set that is not streamed takes on disk.
    """

    cores: int
    cores_per_gpu: float
    network: int
    encoded: int
    cached: int

    def __str__(self) -> str:
        return (
            f"{self.cores:,} cores decode a stream ({self.cores_per_gpu:.2g} per GPU), which takes "
            f"{self.network / 1e9:.2f} GB/s from {self.encoded / 1e12:.3g} TB; decoded once, the "
            f"images take {self.cached / 1e12:.3g} TB of disk"
        )


def plan_loader(recipe: SwavRecipe, images: int, images_per_second: float, gpus: int) -> LoaderPlan:
    """Estimate what feeding a pretraining takes.

    Args:
        recipe: With the side of the decoded images.
        images: Images per epoch.
        images_per_second: Speed of training, over all GPUs.
        gpus: Number of GPUs.
    """
    cores = math.ceil(images_per_second / DECODED_PER_CORE)
    return LoaderPlan(
        cores=cores,
        cores_per_gpu=images_per_second / DECODED_PER_CORE / gpus,
        network=round(images_per_second * IMAGE_BYTES),
        encoded=images * IMAGE_BYTES,
        cached=images * recipe.record_side**2 * 3,
    )
