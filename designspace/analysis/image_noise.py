"""How much of the spread between models is noise of few validation images."""

import math
from dataclasses import dataclass

import numpy as np

from designspace.analysis.population_results import PopulationResults


@dataclass(frozen=True)
class ImageNoise:
    """The noise of errors that are measured on a number of images.

    Attributes:
        images: Number of validation images.
        std: Standard deviation of one model's error over draws of such images, percent; as models
            are measured on the same images, part of it cancels between them.
        share: Its variance over that between the models' errors: how much of their spread can be
            noise, at most 1.
    """

    images: int
    std: float
    share: float

    @property
    def half_width(self) -> float:
        """Half of one model's 95 % interval, percent."""
        return 1.96 * self.std


def image_noise(results: PopulationResults) -> ImageNoise | None:
    """Return the noise of a population's errors, or None where the number of images is unknown."""
    images, errors = results.provenance.val_images, results.counted_errors / 100
    if not images or not len(errors):
        return None
    variance = float(np.mean(errors * (1 - errors))) / images
    total = float(errors.var(ddof=1)) if len(errors) > 1 else 0.0
    share = min(1.0, variance / total) if total else 1.0
    return ImageNoise(images, 100 * math.sqrt(variance), share)
