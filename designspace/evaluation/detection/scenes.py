"""Images with objects, annotated as COCO does, whether read from files or made by pasting."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.errors import InputError

Pixels = NDArray[np.uint8]
Mask = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Scenes:
    """Annotated images.

    Attributes:
        name: What they are, in words.
        content: Hash of images and annotations, or of what decides them.
        categories: COCO's identifier and the name of each kind of object.
        images: COCO's record of each image: id, height, width.
        annotations: COCO's annotations of each image, by its id: bbox (x, y, width, height in
            pixels), segmentation, area, category_id, iscrowd.
        pixels: Returns an image by its index, (height, width, 3).
    """

    name: str
    content: str
    categories: tuple[tuple[int, str], ...]
    images: tuple[Mapping[str, Any], ...]
    annotations: Mapping[int, tuple[Mapping[str, Any], ...]]
    pixels: Callable[[int], Pixels]

    def __len__(self) -> int:
        return len(self.images)

    def objects(self, index: int) -> tuple[Mapping[str, Any], ...]:
        """Return the annotations of an image, by its index."""
        return self.annotations.get(self.images[index]["id"], ())


@dataclass(frozen=True, eq=False)
class Targets:
    """What a detector learns of an image.

    Attributes:
        boxes: Left, top, right and bottom in pixels, (n, 4).
        labels: Class of each object from 1, in the order of the categories, (n,).
        masks: 1 where the object is, (n, height, width).
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: Mask


def targets(scenes: Scenes, index: int) -> Targets:
    """Return the objects of an image that are trained on: no crowds, no boxes without area."""
    image = scenes.images[index]
    height, width = image["height"], image["width"]
    places = {identifier: row for row, (identifier, _) in enumerate(scenes.categories, start=1)}
    boxes, labels, masks = [], [], []
    for found in scenes.objects(index):
        x, y, w, h = found["bbox"]
        left, top = max(0.0, x), max(0.0, y)
        right, bottom = min(float(width), x + w), min(float(height), y + h)
        if found.get("iscrowd") or right - left < 1 or bottom - top < 1:
            continue
        boxes.append((left, top, right, bottom))
        labels.append(places[found["category_id"]])
        masks.append(to_mask(found["segmentation"], height, width))
    return Targets(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        masks=np.array(masks, np.uint8).reshape(-1, height, width),
    )


def to_mask(segmentation: Any, height: int, width: int) -> Mask:
    """Return a segmentation that was checked as a mask of (height, width)."""
    from pycocotools import mask as coco

    if isinstance(segmentation, list):
        outlines = [np.asarray(part, np.float64).reshape(-1, 2) for part in segmentation]
        inside = [np.clip(part, 0, (width, height)).ravel().tolist() for part in outlines]
        made = coco.merge(coco.frPyObjects(inside, height, width))
    elif isinstance(segmentation["counts"], list):
        made = coco.frPyObjects(segmentation, height, width)
    else:
        made = segmentation
    return np.asarray(coco.decode(made), np.uint8)


def to_runs(mask: Mask) -> dict[str, Any]:
    """Return a mask of (height, width) as COCO's compressed runs."""
    from pycocotools import mask as coco

    made = coco.encode(np.asfortranarray(mask))
    return {"size": [int(side) for side in made["size"]], "counts": made["counts"].decode("ascii")}


def require_pycocotools() -> None:
    """Refuse detection where its extra is not installed.

    Raises:
        InputError: It isn't.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError:
        raise InputError(
            "task detect needs pycocotools: pip install 'designspace-regnet[detect]'"
        ) from None
