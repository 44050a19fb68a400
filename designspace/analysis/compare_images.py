"""Comparisons image by image, where runs keep which images each model classified correctly."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from designspace.errors import InputError
from designspace.stats.arrays import BoolArray, FloatArray
from designspace.stats.intervals import Estimate

_REPEATS = 2000
# About this many counts of redrawn images are held at a time.
_CHUNK = 1 << 24


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
        n: Number of models of the first and of the second.
        best: The best model of each compared; as they are the best of many, of these two alone.
    """

    difference: Estimate
    model_std: float
    image_std: float
    images: int
    n: tuple[int, int]
    best: McNemar


class ImageErrors:
    """The errors of a population's models on single images, and on redrawn images.

    Attributes:
        wrong: Which images each model classifies wrongly, (models, images).
    """

    def __init__(self, correct: Mapping[int, BoolArray]) -> None:
        """Take the correct images of each model, as `read_correct` returns them."""
        self.wrong: BoolArray = ~np.stack(list(correct.values()))
        self._redrawn: FloatArray | None = None

    @property
    def best(self) -> BoolArray:
        """The correct images of the model with the fewest errors, (images,)."""
        return np.asarray(~self.wrong[self.wrong.sum(axis=1).argmin()], dtype=bool)

    @property
    def redrawn(self) -> FloatArray:
        """Number of errors of each model on redrawn images, the same for every population with as
        many images, (repeats, models)."""
        if self._redrawn is None:
            models, images = self.wrong.shape
            rng, rows = np.random.default_rng(0), max(1, _CHUNK // images)
            columns = self.wrong.T.astype(np.float64)
            self._redrawn = np.empty((_REPEATS, models))
            for start in range(0, _REPEATS, rows):
                count = min(rows, _REPEATS - start)
                times = rng.multinomial(images, np.full(images, 1 / images), count)
                # Whole numbers, so that the sums are exact in any order.
                self._redrawn[start : start + count] = times @ columns
        return self._redrawn


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
    first: ImageErrors, second: ImageErrors, level: float = 0.95
) -> ImageComparison:
    """Compare the mean errors of two populations over the chance of both models and images.

    A difference between populations that holds for these images only is not worth much: images are
    redrawn for both populations at once, models within each.

    Args:
        first: Errors of the first population's models, at least two.
        second: Those of the second, on the same images.
        level: Level of the interval.

    Raises:
        InputError: The images differ in number.
    """
    a, b = first.wrong, second.wrong
    if a.shape[1] != b.shape[1]:
        raise InputError(f"first and second have {a.shape[1]} and {b.shape[1]} images")
    rng, images = np.random.default_rng(1), a.shape[1]
    by_image = 100 * (b.mean(axis=0) - a.mean(axis=0))
    value = 100 * (b.mean() - a.mean())
    drawn = 100 * (_redraw_models(second, rng) - _redraw_models(first, rng))
    # Redrawing both adds the interaction of models and images once too often: conservative.
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    models = sum(float((100 * x.mean(axis=1)).var(ddof=1)) / len(x) for x in (a, b))
    return ImageComparison(
        difference=Estimate(float(value), float(low), float(high)),
        model_std=float(np.sqrt(models)),
        image_std=float(by_image.std(ddof=1) / np.sqrt(images)) if images > 1 else 0.0,
        images=images,
        n=(len(a), len(b)),
        best=mcnemar(first.best, second.best),
    )


def _redraw_models(errors: ImageErrors, rng: np.random.Generator) -> FloatArray:
    """Mean error of redrawn models on redrawn images, (repeats,)."""
    models, images = errors.wrong.shape
    times = rng.multinomial(models, np.full(models, 1 / models), _REPEATS)
    return np.asarray((times * errors.redrawn).sum(axis=1) / (models * images))
