"""A small data set for detection, made from real images by pasting them on made-up grounds.

It shows on a laptop whether a trunk serves a detector. Its scores say nothing about photographs.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from designspace.evaluation.detection.scenes import Mask, Pixels, Scenes, to_runs

# Grey level from which a pixel of a written digit is ink.
_INK = 64
# Grounds are no brighter than this.
_GROUND = 150
# Tries to place an object, and the share of every object that must stay visible.
_TRIES, _VISIBLE = 20, 0.7
# Pixels of the smallest object.
_LEAST = 12


@dataclass(frozen=True)
class PasteOptions:
    """How scenes are made.

    Attributes:
        side: Side of a scene in pixels.
        smallest: Least side of a pasted image.
        largest: Its greatest side.
        most: Objects in a scene, from 1 to this many.
        ink: Paste bright pixels only (written digits); otherwise the ellipse in the square.
        seed: Of all that is drawn.
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
    how: PasteOptions,
    part: int,
    name: str,
) -> Scenes:
    """Make scenes.

    Args:
        records: Square images, (n, side, side, 3).
        labels: Class of each, (n,).
        classes: Names.
        count: Scenes to be made.
        how: See PasteOptions.
        part: Number of the part (training, validation), which draws differ by.
        name: What the scenes are called.
    """
    pixels, images, annotations = [], [], {}
    for index in range(count):
        generator = np.random.default_rng((how.seed, part, index))
        scene, objects = _scene(records, labels, how, generator)
        pixels.append(scene)
        images.append({"id": index, "height": how.side, "width": how.side})
        annotations[index] = tuple(
            {**found, "id": index * how.most + number + 1, "image_id": index}
            for number, found in enumerate(objects)
        )
    whole = np.stack(pixels)
    told = repr([annotations[index] for index in range(count)]).encode()
    return Scenes(
        name=name,
        content=hashlib.sha256(whole.tobytes() + told).hexdigest()[:20],
        categories=tuple(enumerate(classes, start=1)),
        images=tuple(images),
        annotations=annotations,
        pixels=lambda row: whole[row],
    )


def _scene(
    records: Pixels, labels: NDArray[np.int64], how: PasteOptions, generator: np.random.Generator
) -> tuple[Pixels, list[dict[str, Any]]]:
    """Paste one scene; what is pasted later lies in front."""
    scene = _ground(how.side, generator)
    owner = np.full((how.side, how.side), -1)
    wholes: list[int] = []
    kinds: list[int] = []
    for _ in range(int(generator.integers(1, how.most, endpoint=True))):
        for _ in range(_TRIES):
            row = int(generator.integers(len(records)))
            side = int(generator.integers(how.smallest, how.largest, endpoint=True))
            x, y = (int(generator.integers(0, how.side - side, endpoint=True)) for _ in "xy")
            small = np.asarray(
                Image.fromarray(records[row]).resize((side, side), Image.Resampling.BILINEAR)
            )
            mask = _shape(small, how.ink)
            under = owner.copy()
            place = under[y : y + side, x : x + side]
            place[mask] = len(wholes)
            seen = [int((under == i).sum()) for i in range(len(wholes))]
            hidden = any(a < _VISIBLE * b for a, b in zip(seen, wholes, strict=True))
            if mask.sum() < _LEAST or hidden:
                continue
            scene[y : y + side, x : x + side][mask] = small[mask]
            owner = under
            wholes.append(int(mask.sum()))
            kinds.append(int(labels[row]) + 1)
            break
    made = [(owner == i).astype(np.uint8) for i in range(len(wholes))]
    return scene, [_annotation(mask, kind) for mask, kind in zip(made, kinds, strict=True)]


def _ground(side: int, generator: np.random.Generator) -> Pixels:
    """A smooth ground of a few colours, with grain."""
    coarse = generator.integers(0, _GROUND, (4, 4, 3), endpoint=True).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    grain = generator.integers(-8, 8, (side, side, 1), endpoint=True)
    made: Pixels = np.clip(np.asarray(smooth, np.int64) + grain, 0, 255).astype(np.uint8)
    return made


def _shape(image: Pixels, ink: bool) -> NDArray[np.bool_]:
    """Where an image is pasted."""
    if ink:
        return np.asarray(image.max(axis=2) >= _INK)
    side = len(image)
    y, x = np.ogrid[:side, :side]
    middle = (side - 1) / 2
    return np.asarray((x - middle) ** 2 + (y - middle) ** 2 <= (side / 2) ** 2)


def _annotation(mask: Mask, kind: int) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
    return {
        "bbox": [float(value) for value in box],
        "area": float(mask.sum()),
        "category_id": kind,
        "iscrowd": 0,
        "segmentation": to_runs(mask),
    }
