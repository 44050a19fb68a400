"""Images annotated in COCO's format, read from files or made by pasting."""

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
        name: Description.
        content: Hash of images and annotations, or of what determines them.
        categories: COCO's id and the name of each category.
        images: COCO's record of each image: id, height, width.
        annotations: COCO's annotations by image id: bbox (x, y, width, height in pixels),
            segmentation, area, category_id, iscrowd.
        pixels: Maps an index to an image, (height, width, 3).
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
        """Return the annotations of an image by its index."""
        return self.annotations.get(self.images[index]["id"], ())


@dataclass(frozen=True, eq=False)
class Targets:
    """Training targets of an image.

    Attributes:
        boxes: Left, top, right and bottom in pixels, (n, 4).
        labels: Category of each object from 1, in the order of the categories, (n,).
        masks: 1 inside the object, (n, height, width).
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: Mask


def targets(scenes: Scenes, index: int) -> Targets:
    """Return the targets of an image, without crowds and empty boxes."""
    height, width = scenes.images[index]["height"], scenes.images[index]["width"]
    numbers = {identifier: n for n, (identifier, _) in enumerate(scenes.categories, start=1)}
    boxes, labels, masks = [], [], []
    for annotation in scenes.objects(index):
        x, y, w, h = annotation["bbox"]
        left, top = max(0.0, x), max(0.0, y)
        right, bottom = min(float(width), x + w), min(float(height), y + h)
        if annotation.get("iscrowd") or right - left < 1 or bottom - top < 1:
            continue
        boxes.append((left, top, right, bottom))
        labels.append(numbers[annotation["category_id"]])
        masks.append(decode_mask(annotation["segmentation"], height, width))
    return Targets(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        masks=np.array(masks, np.uint8).reshape(-1, height, width),
    )


def decode_mask(segmentation: Any, height: int, width: int) -> Mask:
    """Return a valid segmentation as a mask of (height, width)."""
    from pycocotools import mask as coco

    if isinstance(segmentation, list):
        polygons = [np.asarray(part, np.float64).reshape(-1, 2) for part in segmentation]
        clipped = [np.clip(part, 0, (width, height)).ravel().tolist() for part in polygons]
        segmentation = coco.merge(coco.frPyObjects(clipped, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco.frPyObjects(segmentation, height, width)
    return np.asarray(coco.decode(segmentation), np.uint8)


def encode_mask(mask: Mask) -> dict[str, Any]:
    """Return a mask of (height, width) as COCO's compressed runs."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def require_pycocotools() -> None:
    """Raise InputError if the extra `detect` is not installed."""
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError:
        raise InputError(
            "task detect needs pycocotools: pip install 'designspace-regnet[detect]'"
        ) from None
