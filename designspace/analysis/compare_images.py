"""Comparisons image by image, where runs keep which images each model classified correctly."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from designspace.errors import InputError
from designspace.stats.arrays import BoolArray, FloatArray
from designspace.stats.intervals import Estimate

_REPEATS = 2000


@dataclass(frozen=True)
class McNemar:
    """Two models compared on the same images (McNemar 1947, exact).

    Attributes:
        only_first: Images that only the first classifies correctly.
        only_second: Images that only the second does.
        difference: Error of the second minus that of the first, percent.
        p: Two-sided exact binomial p-value of equal errors on all such images.
    """

    only_first: int
    only_second: int
    difference: float
    p: float


@dataclass(frozen=True)
class ImageComparison:
    """The means of two populations on the same images, with the chance of models and of images.

    Attributes:
        difference: Second minus first, percent; its 95 % interval redraws models and images.
        model_std: Standard error from the draw of the models alone, percent.
        image_std: Standard error from the draw of the images alone: the variance of the split.
        images: Number of images.
    """

    difference: Estimate
    model_std: float
    image_std: float
    images: int


def mcnemar(first: BoolArray, second: BoolArray) -> McNemar:
    """Compare two models by which images, (images,), each classifies correctly.

    Raises:
        InputError: The numbers of images differ.
    """
    from scipy.stats import binomtest

    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise InputError(f"first and second have {first.shape} and {second.shape} images")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total = only_first + only_second
    p = float(binomtest(only_first, total).pvalue) if total else 1.0
    return McNemar(only_first, only_second, 100 * (only_first - only_second) / len(first), p)


def compare_on_images(
    first: Mapping[int, BoolArray], second: Mapping[int, BoolArray], level: float = 0.95
) -> ImageComparison:
    """Compare the mean errors of two populations over the chance of both models and images.

    A difference between populations that holds for these images only is not worth much: images are
    redrawn for both populations at once, models within each.

    Args:
        first: Correct images of each model of the first population, as `read_correct` returns them.
        second: The same of the second, on the same images.
        level: Level of the interval.

    Raises:
        InputError: A population has fewer than two models, or the images differ in number.
    """
    a, b = (_wrong(one, name) for one, name in ((first, "first"), (second, "second")))
    if a.shape[1] != b.shape[1]:
        raise InputError(f"first and second have {a.shape[1]} and {b.shape[1]} images")
    rng, images = np.random.default_rng(0), a.shape[1]
    by_image = b.mean(axis=0) - a.mean(axis=0)
    value = float(by_image.mean())
    weights = rng.multinomial(images, np.full(images, 1 / images), _REPEATS) / images
    drawn = np.empty(_REPEATS)
    for i, weight in enumerate(weights):
        drawn[i] = _redrawn(b @ weight, rng) - _redrawn(a @ weight, rng)
    # Redrawing both adds the interaction of models and images once too often: conservative.
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    models = sum(float(x.mean(axis=1).var(ddof=1)) / len(x) for x in (a, b))
    return ImageComparison(
        difference=Estimate(value, float(low), float(high)),
        model_std=float(np.sqrt(models)),
        image_std=float(by_image.std(ddof=1) / np.sqrt(images)),
        images=images,
    )


def _wrong(correct: Mapping[int, BoolArray], name: str) -> FloatArray:
    """Percent of error of each model on each image, 0 or 100, (models, images)."""
    if len(correct) < 2:
        raise InputError(f"{name} has {len(correct)} models with results of single images", name)
    return np.asarray(100.0 * ~np.stack(list(correct.values())), dtype=np.float64)


def _redrawn(errors: FloatArray, rng: np.random.Generator) -> float:
    return float(errors[rng.integers(0, len(errors), len(errors))].mean())
