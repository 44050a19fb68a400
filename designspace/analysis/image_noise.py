"""How much of the spread between models is noise of few validation images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from designspace.analysis.compare_images import mcnemar
from designspace.analysis.population_results import PopulationResults
from designspace.stats.arrays import BoolArray
from designspace.stats.multiple_testing import holm

_ALPHA = 0.05


@dataclass(frozen=True)
class PairedNoise:
    """The noise of errors as estimated from single images, which all models share.

    Attributes:
        models: Number of models with results of single images.
        difference_std: Standard deviation of the difference of two models' errors over draws of
            the images, root mean square over pairs, percent.
        mean_std: That of the mean error of all models, percent.
        like_best: How many other models McNemar's test does not separate from the best of them at
            5 %, by Holm's method; the best is chosen by the same images, so rather too few.
    """

    models: int
    difference_std: float
    mean_std: float
    like_best: int


@dataclass(frozen=True)
class ImageNoise:
    """The noise of errors that are measured on a number of images.

    Attributes:
        images: Number of validation images.
        std: Standard deviation of one model's error over draws of such images, percent; as models
            are measured on the same images, part of it cancels between them.
        share: How much of the variance between the models' errors can be noise, at most 1. From
            single images where there are results of them, so that what cancels is left out; else
            binomial: an upper bound.
        paired: The noise as estimated from single images, or None without results of them.
    """

    images: int
    std: float
    share: float
    paired: PairedNoise | None = None

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
    std = 100 * math.sqrt(variance)
    if len(results.counted_images) > 1 and images > 1:
        return ImageNoise(images, std, *_paired_noise(results.counted_images))
    total = float(errors.var(ddof=1)) if len(errors) > 1 else 0.0
    share = min(1.0, variance / total) if total else 1.0
    return ImageNoise(images, std, share)


def _paired_noise(correct: Mapping[int, BoolArray]) -> tuple[float, PairedNoise]:
    """Return the share of noise in the variance between models, and the noise.

    By the analysis of variance of models and images with one observation each: what remains of a
    result after the means of its model and its image is what does not cancel.
    """
    hits = np.stack(list(correct.values()))
    models, images = hits.shape
    by_model, by_image = hits.mean(axis=1), hits.mean(axis=0)
    rest = hits - by_model[:, None] - by_image + hits.mean()
    noise = float((rest**2).sum()) / ((models - 1) * (images - 1)) / images
    total = float(by_model.var(ddof=1))
    best = hits[by_model.argmax()]
    others = np.delete(hits, by_model.argmax(), axis=0)
    p = holm([mcnemar(best, other).p for other in others])
    paired = PairedNoise(
        models=models,
        difference_std=100 * math.sqrt(2 * noise),
        mean_std=100 * float(by_image.std(ddof=1)) / math.sqrt(images),
        like_best=sum(one >= _ALPHA for one in p),
    )
    return min(1.0, noise / total) if total else 1.0, paired
