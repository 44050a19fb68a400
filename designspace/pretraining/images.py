"""The images of a pretraining, decoded."""

import os
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from designspace.data.batches import open_arrays
from designspace.data.cache import default_cache_folder
from designspace.data.decode import Geometry
from designspace.data.prepare import (
    DecodingObserver,
    PreparedImages,
    prepare_images,
    split_data,
)
from designspace.data.shards import ShardStream, index_shards
from designspace.pretraining.loader_plan import ImageSizes
from designspace.pretraining.recipe import SwavRecipe
from designspace.runs.training_options import parse_source
from designspace.training.devices import available_cores


def measure_images(data: str, cache: Path | None = None, download: bool = False) -> ImageSizes:
    """Return number and encoded size of the training images of a data set.

    Args:
        data: A data set, as `parse_source` takes it.
        cache: Folder of image caches and downloads; None for the user's cache folder.
        download: Download the data set if it is missing.

    Raises:
        InputError: There is no such data set.

    Returns:
        Without the images that are held out, except for those that the cache holds.
    """
    cache = cache or default_cache_folder()
    encoded: float | None = None
    if is_stream(data):
        index = index_shards(data, cache / "shards", available_cores())
        with suppress(OSError):  # pipes and addresses
            encoded = sum(map(os.path.getsize, index.urls)) / index.images
        return ImageSizes(index.images, encoded, streamed=True)
    parts = split_data(data, cache, download=download)
    if parts.train.pixels is not None:
        encoded = parts.train.pixels.nbytes / len(parts.train)
    elif parts.train.stamps is not None:
        encoded = float(parts.train.stamps[:, 0].mean())
    count = len(parts.train)
    return ImageSizes(count, encoded, streamed=False, decoded=count + len(parts.val))


def is_stream(data: str) -> bool:
    """Whether images are decoded as they are needed, rather than once into a cache."""
    return parse_source(data)[0] == "webdataset"


def open_stream(
    data: str,
    recipe: SwavRecipe,
    channels: int,
    cache: Path | None,
    observer: DecodingObserver | None = None,
) -> ShardStream:
    """Return the stream that a recipe's crops are cut from; count its images if that is new.

    Args:
        data: webdataset:PATTERN.
        recipe: With the side of the decoded images.
        channels: Of the trunk's input.
        cache: Folder of image caches and downloads; None for the user's cache folder.
        observer: Receives notes on the data.

    Raises:
        InputError: There are no such shards, or no image in them.
    """
    square = Geometry(recipe.record_side, recipe.record_side, channels=channels)
    index = index_shards(data, (cache or default_cache_folder()) / "shards", available_cores())
    stream = ShardStream(index, square)
    if observer:
        for text in stream.notes:
            observer.note(text)
    return stream


def decode_images(
    data: str,
    recipe: SwavRecipe,
    channels: int,
    cache: Path | None,
    download: bool = False,
    observer: DecodingObserver | None = None,
) -> PreparedImages:
    """Return the images, in a cache, that a recipe's crops are cut from; decode what is missing.

    Args:
        data: A data set, as `parse_source` takes it.
        recipe: With the side of the decoded images.
        channels: Of the trunk's input.
        cache: Folder of image caches and downloads; None for the user's cache folder.
        download: Download the data set if it is missing.
        observer: Receives progress, and notes on the data.

    Raises:
        InputError: There is no such data set, or an image can't be read.
    """
    square = Geometry(recipe.record_side, recipe.record_side, channels=channels)
    return prepare_images(data, (square, square), cache, download=download, observer=observer)


def training_sample(
    data: str, n: int, recipe: SwavRecipe, channels: int, cache: Path | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return training images in random order, and their labels; fewer than n if there are.

    Args:
        data: Any source; of shards the first images of each are taken.
        n: Number of images.
        recipe: With the side of the decoded images.
        channels: Of the trunk's input.
        cache: Folder of image caches and downloads; None for the user's cache folder.
        device: Where the images of a cache are kept.

    Returns:
        Images (n, side, side, channels) uint8, and classes (n,) on the CPU, -1 without labels.

    Raises:
        InputError: The images can't be read.
    """
    if is_stream(data):
        records = open_stream(data, recipe, channels, cache).sample(n)
        order = torch.randperm(len(records), generator=torch.Generator().manual_seed(0))
        return records[order], torch.full((len(records),), -1)
    arrays = open_arrays(decode_images(data, recipe, channels, cache).cache.path, device)
    return arrays.train[:n], arrays.train_labels[:n].cpu()
