"""Find, split and decode a data set, and report what the user should know about it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from joblib import cpu_count

from designspace.data.cache import Cache, UndecodableImages, build_cache, default_cache_folder
from designspace.data.datasets import Items, Source, load_source
from designspace.data.decode import Geometry, narrow_range_note
from designspace.data.encoded_images import MAX_UNDECODABLE
from designspace.data.splits import (
    NoValidation,
    Split,
    check_labels,
    split,
    split_unseen,
    without_labels,
)
from designspace.errors import name_some


class DecodingObserver(Protocol):
    """Receives the progress of decoding."""

    def note(self, text: str) -> None:
        """Report something that the user should know."""

    def decoded(self, done: int, total: int) -> None:
        """Report the number of images in the cache."""


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """A data set, its split, and the cache of its decoded images."""

    source: Source
    split: Split
    cache: Cache


def split_data(data: str, home: Path, val: str | None = None, download: bool = False) -> Split:
    """Find a data set and split it; see `prepare_images`."""
    return _split(load_source(data, download, home / "data"), val, labeled=False)[1]


def prepare_images(
    data: str,
    geometry: tuple[Geometry, Geometry],
    home: Path | None,
    *,
    val: str | None = None,
    labeled: bool = False,
    download: bool = False,
    observer: DecodingObserver | None = None,
) -> PreparedImages:
    """Find, split and decode a data set, or open the cache of an earlier call.

    Of shards and saved data sets, images that can't be decoded are left out if they are few; files
    must be replaced or removed.

    Args:
        data: A data set, as `parse_source` takes it.
        geometry: Of the training and of the validation records.
        home: Folder of image caches and downloads; None for the user's cache folder.
        val: held-out or test; None for the test images, or held-out ones if there are none.
        labeled: Refuse images without labels, which only pretraining can use, and labels that
            leave no images to validate on.
        download: Download the data set if it is missing.
        observer: Receives progress, and notes on source, split and images.

    Raises:
        InputError: There is no such data set, it can't be split, or an image can't be read.
    """
    home = home or default_cache_folder()
    source = load_source(data, download, home / "data")
    if labeled:
        check_labels(source)
    source, parts = _split(source, val, labeled)
    progress = observer.decoded if observer else None
    folder, jobs = home / "images", int(cpu_count())
    try:
        cache = build_cache(parts, geometry, folder, jobs, progress)
    except UndecodableImages as error:
        parts = _without(error, parts)
        cache = build_cache(parts, geometry, folder, jobs, progress)
    if observer:
        for note in (*parts.notes, *cache.notes, narrow_range_note(parts.train)):
            if note:
                observer.note(note)
    return PreparedImages(source, parts, cache)


def _without(error: UndecodableImages, parts: Split) -> Split:
    """Leave out the images of an error, or raise it if they are files or too many."""
    count, total = sum(map(len, error.rows.values())), len(parts.train) + len(parts.val)
    if parts.train.encoded is None or count > MAX_UNDECODABLE * total:
        raise error

    def keep(items: Items, part: str) -> Items:
        return items.take(np.delete(np.arange(len(items)), error.rows[part]))

    note = f"{count} of {total} images can't be decoded and are left out: "
    return replace(
        parts,
        train=keep(parts.train, "train"),
        val=keep(parts.val, "val"),
        notes=(*parts.notes, note + name_some(error.reasons)),
    )


def _split(source: Source, val: str | None, labeled: bool) -> tuple[Source, Split]:
    """Split a data set; where labels are of no use and leave none to validate on, without them."""
    if val is not None:
        return source, split(source, val)
    try:
        return source, split_unseen(source)
    except NoValidation as error:
        if labeled:
            raise
        source = without_labels(source, error.reason)
        return source, split_unseen(source)
