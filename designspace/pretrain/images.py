"""The images of a pretraining, decoded."""

from pathlib import Path

from designspace.data.cache import Cache, Progress, build_cache, default_home
from designspace.data.decode import Geometry
from designspace.data.sources import load_source
from designspace.data.splits import Split, split_unseen
from designspace.pretrain.recipe import SwavRecipe
from designspace.training.devices import available_cores


def count(data: str, home: Path | None, download: bool) -> int:
    """Return how many images a pretraining sees, those left out that are held out.

    Args:
        data: As a person named it.
        home: Folder of image caches and downloads, or None for the user's cache folder.
        download: Fetch the data set when it is missing.

    Raises:
        InputError: There is no such data set.
    """
    return len(_parts(data, home or default_home(), download).train)


def decoded(
    data: str, recipe: SwavRecipe, home: Path, download: bool, progress: Progress | None
) -> Cache:
    """Return the cache of the images that a recipe's crops are cut from, decoding what is missing.

    Args:
        data: As a person named it.
        recipe: With the side of the records.
        home: Folder of image caches and downloads.
        download: Fetch the data set when it is missing.
        progress: Told how many images are decoded.

    Raises:
        InputError: There is no such data set, or an image can't be read.
    """
    geometry = Geometry(recipe.record_side, recipe.record_side)
    parts = _parts(data, home, download)
    return build_cache(parts, (geometry, geometry), home / "images", available_cores(), progress)


def _parts(data: str, home: Path, download: bool) -> Split:
    return split_unseen(load_source(data, download, home / "data"))
