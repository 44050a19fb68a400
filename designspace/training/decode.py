"""From an image file to an array of the size that a recipe trains at."""

import hashlib
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from designspace.runs import Recipe


@dataclass(frozen=True)
class Geometry:
    """How an image becomes a record of the cache.

    Attributes:
        resize: Its shorter side is resized to this many pixels (bilinear, antialiased).
        crop: Side of the central square that is kept.
        pad: Black pixels around that square, room for shifted crops.
    """

    resize: int
    crop: int
    pad: int = 0

    @property
    def side(self) -> int:
        """Side of the whole record in pixels."""
        return self.crop + 2 * self.pad


def geometries(recipe: Recipe) -> tuple[Geometry, Geometry]:
    """Return the records that a recipe trains on, and those that it measures errors on.

    Random resized crops are cut from squares 8/7 of the resolution (256 for 224).
    """
    side, pad = recipe.resolution, recipe.pad
    assert side is not None
    assert pad is not None
    if recipe.augmentation == "resized-crop-flip":
        room = round(side * 8 / 7)
        train = Geometry(room, room)
    elif recipe.augmentation == "none":
        train = Geometry(side, side)
    else:
        train = Geometry(side, side, pad)
    return train, Geometry(max(side, round(side * recipe.eval_resize)), side)


def fit(image: Image.Image, geometry: Geometry) -> NDArray[np.uint8]:
    """Resize, crop and pad one image to (side, side, 3)."""
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
    """Read an image file; return its record and the SHA-256 of its bytes.

    Raises:
        ValueError: It can't be read as an image; the message says why.
    """
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0, os.SEEK_SET)
            with Image.open(file) as image:
                # A JPEG decoder can halve its work while both sides stay at twice the need.
                image.draft("RGB", (2 * geometry.resize, 2 * geometry.resize))
                return fit(image.convert("RGB"), geometry), digest
    except UnidentifiedImageError:
        raise ValueError("not an image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
