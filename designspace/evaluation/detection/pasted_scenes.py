"""A small detection data set, made by pasting real images on synthetic backgrounds.

It shows on a laptop whether a trunk suits a detector; its scores say nothing about photographs.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from designspace.evaluation.detection.scenes import Mask, Pixels, Scenes, encode_mask

# Grey level from which a pixel of a handwritten digit is ink.
_INK = 64
# Largest brightness of backgrounds.
_BACKGROUND = 150
# Tries to place an object, and the fraction of every object that must stay visible.
_TRIES, _MIN_VISIBLE = 20, 0.7
# Pixels of the smallest object.
_MIN_PIXELS = 12


@dataclass(frozen=True)
class PasteOptions:
    """How scenes are made.

    Attributes:
        side: Side of a scene in pixels.
        smallest: Smallest side of a pasted image.
        largest: Largest side.
        most: Largest number of objects per scene.
        ink: Paste only bright pixels (handwritten digits), not the ellipse in the square.
        seed: Of everything random.
    """

    side: int
    smallest: int
    largest: int
    most: int = 5
    ink: bool = False
    seed: int = 0


def paste_scenes(
    records: Pixels,
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    count: int,
    options: PasteOptions,
    split: int,
    name: str,
) -> Scenes:
    """Make scenes.

    Args:
        records: Square images, (n, side, side, 3).
        labels: Class of each, (n,).
        classes: Names.
        count: Number of scenes.
        options: See `PasteOptions`.
        split: Number of the split (training, validation), which the random draws depend on.
        name: Description of the scenes.
    """
    pixels, images, annotations = [], [], {}
    for index in range(count):
        rng = np.random.default_rng((options.seed, split, index))
        scene, objects = _scene(records, labels, options, rng)
        pixels.append(scene)
        images.append({"id": index, "height": options.side, "width": options.side})
        annotations[index] = tuple(
            {**annotation, "id": index * options.most + number, "image_id": index}
            for number, annotation in enumerate(objects, start=1)
        )
    stacked = np.stack(pixels)
    text = repr([annotations[index] for index in range(count)]).encode()
    return Scenes(
        name=name,
        content=hashlib.sha256(stacked.tobytes() + text).hexdigest()[:20],
        categories=tuple(enumerate(classes, start=1)),
        images=tuple(images),
        annotations=annotations,
        pixels=lambda row: stacked[row],
    )


def _scene(
    records: Pixels, labels: NDArray[np.int64], options: PasteOptions, rng: np.random.Generator
) -> tuple[Pixels, list[dict[str, Any]]]:
    """Paste one scene; later objects occlude earlier ones."""
    scene = _background(options.side, rng)
    owner = np.full((options.side, options.side), -1)
    sizes: list[int] = []
    categories: list[int] = []
    for _ in range(int(rng.integers(1, options.most, endpoint=True))):
        for _ in range(_TRIES):
            row = int(rng.integers(len(records)))
            side = int(rng.integers(options.smallest, options.largest, endpoint=True))
            x, y = (int(rng.integers(0, options.side - side, endpoint=True)) for _ in "xy")
            image = np.asarray(
                Image.fromarray(records[row]).resize((side, side), Image.Resampling.BILINEAR)
            )
            mask = _shape(image, options.ink)
            new_owner = owner.copy()
            new_owner[y : y + side, x : x + side][mask] = len(sizes)
            visible = [int((new_owner == i).sum()) for i in range(len(sizes))]
            hidden = any(a < _MIN_VISIBLE * b for a, b in zip(visible, sizes, strict=True))
            if mask.sum() < _MIN_PIXELS or hidden:
                continue
            scene[y : y + side, x : x + side][mask] = image[mask]
            owner = new_owner
            sizes.append(int(mask.sum()))
            categories.append(int(labels[row]) + 1)
            break
    masks = [(owner == i).astype(np.uint8) for i in range(len(sizes))]
    return scene, [_annotation(*pair) for pair in zip(masks, categories, strict=True)]


def _background(side: int, rng: np.random.Generator) -> Pixels:
    """A smooth gradient of a few colors with noise."""
    coarse = rng.integers(0, _BACKGROUND, (4, 4, 3), endpoint=True).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    noise = rng.integers(-8, 8, (side, side, 1), endpoint=True)
    background: Pixels = np.clip(np.asarray(smooth, np.int64) + noise, 0, 255).astype(np.uint8)
    return background


def _shape(image: Pixels, ink: bool) -> NDArray[np.bool_]:
    """The pixels of an image that are pasted."""
    if ink:
        return np.asarray(image.max(axis=2) >= _INK)
    side = len(image)
    y, x = np.ogrid[:side, :side]
    middle = (side - 1) / 2
    return np.asarray((x - middle) ** 2 + (y - middle) ** 2 <= (side / 2) ** 2)


def _annotation(mask: Mask, category: int) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
    return {
        "bbox": [float(value) for value in box],
        "area": float(mask.sum()),
        "category_id": category,
        "iscrowd": 0,
        "segmentation": encode_mask(mask),
    }
