"""Decode image files to arrays of the size that a recipe trains at."""

import contextlib
import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from designspace.data.sources import Items
from designspace.errors import printable
from designspace.runs import Recipe

# Larger images take a gigabyte to decode.
_MAX_PIXELS = 1 << 27
# Images with a larger aspect ratio are cropped to it.
_MAX_ASPECT = 8


@dataclass(frozen=True)
class Geometry:
    """How an image is turned into a record of the cache.

    Attributes:
        resize: Length in pixels that the shorter side is resized to (bilinear, antialiased).
        crop: Side of the centre crop.
        pad: Black padding around the crop, for random crops.
    """

    resize: int
    crop: int
    pad: int = 0

    @property
    def side(self) -> int:
        """Side of the record in pixels."""
        return self.crop + 2 * self.pad


def geometries(recipe: Recipe) -> tuple[Geometry, Geometry]:
    """Return the geometry of a recipe's training and validation records.

    Random resized crops are taken from squares of 8/7 of the resolution (256 for 224).
    """
    side, pad = recipe.resolution, recipe.pad
    assert side is not None
    assert pad is not None
    if recipe.augmentation == "resized-crop-flip":
        square = round(side * 8 / 7)
        train = Geometry(square, square)
    elif recipe.augmentation == "none":
        train = Geometry(side, side)
    else:
        train = Geometry(side, side, pad)
    return train, Geometry(max(side, round(side * recipe.eval_resize)), side)


def make_record(image: Image.Image, geometry: Geometry) -> NDArray[np.uint8]:
    """Resize, crop and pad an image to (side, side, 3)."""
    image = _limit_aspect(image)
    width, height = image.size
    shorter = min(width, height)
    if shorter != geometry.resize:
        scale = geometry.resize / shorter
        size = (max(geometry.crop, round(width * scale)), max(geometry.crop, round(height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
        width, height = image.size
    left, top = round((width - geometry.crop) / 2), round((height - geometry.crop) / 2)
    pixels = np.asarray(image)[top : top + geometry.crop, left : left + geometry.crop]
    record = np.zeros((geometry.side, geometry.side, 3), np.uint8)
    inside = slice(geometry.pad, geometry.pad + geometry.crop)
    record[inside, inside] = pixels
    return record


def decode_file(path: str, geometry: Geometry) -> tuple[NDArray[np.uint8], bytes]:
    """Read an image file; return its record and the SHA-256 digest of its bytes.

    Raises:
        ValueError: It can't be decoded; the message says why.
    """
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            digest = hashlib.file_digest(file, "sha256").digest()
            if file.tell() == 0:
                raise ValueError("empty file")
            file.seek(0, os.SEEK_SET)
            with Image.open(file) as image:
                # Lets a JPEG decoder downscale while both sides stay above twice the target.
                return make_record(to_rgb(image, 2 * geometry.resize), geometry), digest
    except UnidentifiedImageError:
        raise ValueError("not an image") from None
    except Exception as error:  # decoders raise many types for a damaged file
        raise ValueError(printable(str(error)) or type(error).__name__) from None


def median_side(items: Items, count: int = 16) -> int:
    """Return the median length of the shorter side of some of the images, in pixels."""
    if items.pixels is not None:
        return int(min(items.pixels.shape[1:3]))
    sides = []
    for name in items.files[:count]:
        with contextlib.suppress(OSError, ValueError), Image.open(Path(items.root, name)) as image:
            sides.append(min(image.size))
    return round(float(np.median(sides))) if sides else 0


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > _MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels; at most {_MAX_PIXELS:,} are decoded")


def to_rgb(image: Image.Image, min_side: int | None = None) -> Image.Image:
    """Convert an opened image to RGB; of an animation, the first frame.

    Args:
        image: An image that is not yet decoded.
        min_side: A JPEG may be decoded at a lower resolution with at least this shorter side.

    Raises:
        ValueError: It is too large, or its pixels have an unknown range.
    """
    _check_size(image)
    if min_side is not None:
        image.draft("RGB", (min_side, min_side))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels, of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        # Pillow would clip the values at 255.
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    return image.convert("RGB")


def _limit_aspect(image: Image.Image) -> Image.Image:
    """Crop very long images, whose longer side would be resized to millions of pixels."""
    width, height = image.size
    limit = _MAX_ASPECT * min(width, height)
    if max(width, height) <= limit:
        return image
    left, top = max(0, width - limit) // 2, max(0, height - limit) // 2
    return image.crop((left, top, left + min(width, limit), top + min(height, limit)))
