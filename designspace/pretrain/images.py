"""The images of a pretraining, decoded."""

from pathlib import Path

from designspace.pretrain.recipe import SwavRecipe
from designspace.training.cache import Cache, Progress, build_cache
from designspace.training.decode import Geometry
from designspace.training.devices import available_cores
from designspace.training.sources import load_source
from designspace.training.splits import split_unseen


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
    source = load_source(data, download, home / "data")
    parts = split_unseen(source)
    return build_cache(parts, (geometry, geometry), home / "images", available_cores(), progress)
