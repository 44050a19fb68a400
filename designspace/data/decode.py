"""Decode image files to arrays of the size that a recipe trains at."""

import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from designspace.data.datasets import Items
from designspace.errors import printable
from designspace.runs import Recipe

# Larger images take a gigabyte to decode.
_MAX_PIXELS = 1 << 27
# Images with a larger aspect ratio are cropped to it.
_MAX_ASPECT = 8
# 16-bit images whose values all stay below it (12 bits) lose most of their detail at 8 bits.
_NARROW = 4095


@dataclass(frozen=True)
class Geometry:
    """How an image is turned into a record of the cache.

    Attributes:
        resize: Length in pixels that the shorter side is resized to (bilinear, antialiased).
        crop: Side of the centre crop.
        pad: Black padding around the crop, for random crops.
        channels: Channels of the record: 1 is grey, 3 is RGB, others are as the file has them.
    """

    resize: int
    crop: int
    pad: int = 0
    channels: int = 3

    @property
    def side(self) -> int:
        """Side of the record in pixels."""
        return self.crop + 2 * self.pad


def geometries(recipe: Recipe, channels: int = 3) -> tuple[Geometry, Geometry]:
    """Return the geometry of a recipe's training and validation records.

    Random resized crops are taken from squares of 8/7 of the resolution (256 for 224).
    """
    side, pad = recipe.resolution, recipe.pad
    assert side is not None
    assert pad is not None
    if recipe.augmentation == "resized-crop-flip":
        square = round(side * 8 / 7)
        train = Geometry(square, square, channels=channels)
    else:
        train = Geometry(side, side, 0 if recipe.augmentation == "none" else pad, channels)
    return train, Geometry(max(side, round(side * recipe.eval_resize)), side, channels=channels)


def make_record(image: Image.Image, geometry: Geometry) -> NDArray[np.uint8]:
    """Resize, crop and pad an opened image to (side, side, channels).

    Raises:
        ValueError: It is too large, or has other channels.
    """
    # Lets a JPEG decoder downscale while both sides stay above twice the target.
    bands = _bands(image, geometry.channels, 2 * geometry.resize)
    return _stack([_fit(band, geometry) for band in bands], geometry)


def _stack(bands: list[NDArray[np.uint8]], geometry: Geometry) -> NDArray[np.uint8]:
    """Join fitted bands to a record with padding."""
    record = np.zeros((geometry.side, geometry.side, geometry.channels), np.uint8)
    inside = slice(geometry.pad, geometry.pad + geometry.crop)
    record[inside, inside] = np.concatenate(bands, axis=2)
    return record


def _fit(image: Image.Image, geometry: Geometry) -> NDArray[np.uint8]:
    """Resize and crop an image to (crop, crop, bands)."""
    image = _limit_aspect(image)
    width, height = image.size
    shorter = min(width, height)
    if shorter != geometry.resize:
        scale = geometry.resize / shorter
        size = (max(geometry.crop, round(width * scale)), max(geometry.crop, round(height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
        width, height = image.size
    left, top = round((width - geometry.crop) / 2), round((height - geometry.crop) / 2)
    pixels = np.asarray(image).reshape(height, width, -1)
    return pixels[top : top + geometry.crop, left : left + geometry.crop]


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
            if path.lower().endswith(".npy"):
                bands = _array_bands(np.load(path, mmap_mode="r"), geometry.channels)
                return _stack([_fit(band, geometry) for band in bands], geometry), digest
            with Image.open(file) as image:
                return make_record(image, geometry), digest
    except UnidentifiedImageError:
        tiff = path.lower().endswith((".tif", ".tiff"))
        hint = "; save one of more than 4 channels as a .npy file" if tiff else ""
        raise ValueError(f"not an image{hint}") from None
    except Exception as error:  # decoders raise many types for a damaged file
        raise ValueError(printable(str(error)) or type(error).__name__) from None


def decode_bytes(data: bytes, geometry: Geometry) -> tuple[NDArray[np.uint8], bytes]:
    """Decode an image in memory; return its record and the SHA-256 digest of its bytes.

    Raises:
        ValueError: It can't be decoded; the message says why.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                return make_record(image, geometry), hashlib.sha256(data).digest()
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


def narrow_range_note(items: Items, count: int = 16) -> str | None:
    """Return a message if the first images have 16 bits, but use few of their values."""
    highest = [value for name in items.files[:count] if (value := _highest_of_16_bits(items, name))]
    if not highest or max(highest) > _NARROW:
        return None
    return (
        f"images of 16 bits have values up to {max(highest)} only: at 8 bits they become "
        f"{max(highest) // 257 + 1} shades; save them scaled to 65535, or with 8 bits"
    )


def _highest_of_16_bits(items: Items, name: str) -> int:
    """Return the highest value of a 16-bit image; 0 for any other file."""
    path = Path(items.root, name)
    with contextlib.suppress(OSError, ValueError):
        if path.suffix.lower() == ".npy":
            array = np.load(path, mmap_mode="r")
            return int(array.max()) if getattr(array, "dtype", None) == np.uint16 else 0
        with Image.open(path) as image:
            if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):
                return int(np.asarray(image).max())
    return 0


def _check_size(width: int, height: int) -> None:
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
    return _convert(image, "RGB", min_side)


def _convert(image: Image.Image, mode: str, min_side: int | None) -> Image.Image:
    _check_size(*image.size)
    if min_side is not None:
        image.draft(mode, (min_side, min_side))
    if image.mode == "I" and image.format == "PPM":  # scaled to 16 bits by Pillow
        image = Image.fromarray(np.asarray(image).astype(np.uint16))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels, of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        # Pillow would clip the values at 255.
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    return image.convert(mode)


def _to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _bands(image: Image.Image, channels: int, min_side: int) -> Sequence[Image.Image]:
    """Return images that together have the channels."""
    if channels in (1, 3):
        return (_convert(image, "L" if channels == 1 else "RGB", min_side),)
    _check_size(*image.size)
    if len(image.getbands()) != channels:
        raise ValueError(_other_channels(len(image.getbands()), channels))
    return image.split()


def _array_bands(array: NDArray[Any], channels: int) -> list[Image.Image]:
    """Return the channels of an array (height, width), (height, width, n) or (n, height, width)."""
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3):
        raise ValueError("not an array (height, width, channels)")
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{array.dtype} values, of unknown range; save it as uint8 or uint16")
    if array.ndim == 2:
        array = np.repeat(array[..., None], channels if channels in (1, 3) else 1, axis=2)
    if array.shape[2] != channels and array.shape[0] == channels:
        array = array.transpose(1, 2, 0)
    if array.shape[2] != channels:
        raise ValueError(_other_channels(array.shape[2], channels))
    _check_size(array.shape[1], array.shape[0])
    pixels = _to_8_bits(array) if array.dtype == np.uint16 else array
    return [Image.fromarray(np.ascontiguousarray(pixels[..., c])) for c in range(channels)]


def _other_channels(count: int, channels: int) -> str:
    return f"has {count} channels where the network takes {channels}"


def _limit_aspect(image: Image.Image) -> Image.Image:
    """Crop very long images, whose longer side would be resized to millions of pixels."""
    width, height = image.size
    limit = _MAX_ASPECT * min(width, height)
    if max(width, height) <= limit:
        return image
    left, top = max(0, width - limit) // 2, max(0, height - limit) // 2
    return image.crop((left, top, left + min(width, limit), top + min(height, limit)))
