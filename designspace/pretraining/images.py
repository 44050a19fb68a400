"""The images of a pretraining, decoded."""

from pathlib import Path
from typing import Protocol

from designspace.data.cache import Cache, build_cache, default_cache_folder
from designspace.data.decode import Geometry
from designspace.data.sources import load_source
from designspace.data.splits import Split, split_unseen
from designspace.pretraining.recipe import SwavRecipe
from designspace.training.devices import available_cores


class DecodingObserver(Protocol):
    """Receives the progress of decoding."""

    def note(self, text: str) -> None:
        """Report something that the user should know."""

    def decoded(self, done: int, total: int) -> None:
        """Report the number of images in the cache."""


def count_images(data: str, cache: Path | None = None, download: bool = False) -> int:
    """Return the number of training images of a data set, without those held out.

    Args:
        data: digits, cifar10, cifar100, folder:PATH, imagenet:PATH or files:LIST.
        cache: Folder of image caches and downloads; None for the user's cache folder.
        download: Download the data set if it is missing.

    Raises:
        InputError: There is no such data set.
    """
    return len(_split(data, cache or default_cache_folder(), download).train)


def decode_images(
    data: str,
    recipe: SwavRecipe,
    cache: Path,
    download: bool = False,
    observer: DecodingObserver | None = None,
) -> Cache:
    """Return the image cache that a recipe's crops are cut from; decode what is missing.

    Args:
        data: digits, cifar10, cifar100, folder:PATH, imagenet:PATH or files:LIST.
        recipe: With the side of the decoded images.
        cache: Folder of image caches and downloads.
        download: Download the data set if it is missing.
        observer: Receives progress, and notes on the data.

    Raises:
        InputError: There is no such data set, or an image can't be read.
    """
    square = Geometry(recipe.record_side, recipe.record_side)
    split = _split(data, cache, download)
    progress = None
    if observer:
        progress = observer.decoded
        for text in split.notes:
            observer.note(text)
    return build_cache(split, (square, square), cache / "images", available_cores(), progress)


def _split(data: str, cache: Path, download: bool) -> Split:
    return split_unseen(load_source(data, download, cache / "data"))
