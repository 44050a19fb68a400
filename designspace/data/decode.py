"""From an image file to an array of the size that a recipe trains at."""

import hashlib
import os
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from designspace.errors import printable
from designspace.runs import Recipe

# Larger images are refused: they take a gigabyte, and may be made to.
_MOST_PIXELS = 1 << 27
# Of images that are longer than so many times their width, the middle is taken.
_LONGEST = 8


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
    image = _middle(image)
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
        with open(path, "rb") as file, warnings.catch_warnings():
            # What is refused is said here; the rest is of no use to a person.
            warnings.simplefilter("ignore")
            digest = hashlib.file_digest(file, "sha256").digest()
            if file.tell() == 0:
                raise ValueError("empty file")
            file.seek(0, os.SEEK_SET)
            with Image.open(file) as image:
                # A JPEG decoder can halve its work while both sides stay at twice the need.
                return fit(in_colour(image, 2 * geometry.resize), geometry), digest
    except UnidentifiedImageError:
        raise ValueError("not an image") from None
    except Exception as error:  # the decoders raise a dozen kinds for a damaged file
        raise ValueError(printable(str(error)) or type(error).__name__) from None


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels; at most {_MOST_PIXELS:,} are decoded")


def in_colour(image: Image.Image, least: int | None = None) -> Image.Image:
    """Return an opened image in RGB; of an animation, its first picture.

    Args:
        image: Not yet decoded.
        least: Pixels that both sides must have at least, where fewer than all will do.

    Raises:
        ValueError: It is too large, or its pixels have no known range.
    """
    _check_size(image)
    if least is not None:
        image.draft("RGB", (least, least))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels, whose range is not known; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        # Pillow would cut the values off at 255.
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    return image.convert("RGB")


def _middle(image: Image.Image) -> Image.Image:
    """Cut very long images, whose longer side would be resized to millions of pixels."""
    width, height = image.size
    most = _LONGEST * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, width - most) // 2, max(0, height - most) // 2
    return image.crop((left, top, left + min(width, most), top + min(height, most)))
