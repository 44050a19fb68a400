"""Sort the images of a data set by prototype: folders of links, contact sheets, and a table."""

import csv
import io
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from designspace.data.stored_source import choose_source
from designspace.errors import InputError, counted
from designspace.evaluation.backbone import load_backbone
from designspace.evaluation.classification import Classification, ImageFeatures
from designspace.evaluation.evaluation_options import (
    EvaluationObserver,
    EvaluationOptions,
    SilentObserver,
)
from designspace.evaluation.scores import Task
from designspace.io.atomic_write import make_folder, write_bytes
from designspace.runs.folder_kind import is_pretraining

# Images of a contact sheet, its columns, and the side of each in pixels.
_ON_SHEET, _COLUMNS, _SIDE = 64, 8, 64
# Longest name of a file on most file systems.
_NAME_BYTES = 255


@dataclass(frozen=True)
class Clusters:
    """Images sorted by prototype.

    Attributes:
        folder: With `prototype-N/`, `prototype-N.png` and `images.csv`.
        images: Number of images.
        sizes: Images nearest to each prototype that has any, by its number; largest first.
    """

    folder: Path
    images: int
    sizes: dict[int, int]

    def __str__(self) -> str:
        largest = next(iter(self.sizes.values()))
        return (
            f"{self.folder}: {counted(self.images, 'image')} by "
            f"{counted(len(self.sizes), 'prototype')}, "
            f"at most {largest} each"
        )


def cluster_images(
    run: Path | str,
    out: Path | str,
    *,
    data: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    download: bool = False,
    cache: Path | str | None = None,
    observer: EvaluationObserver | None = None,
) -> Clusters:
    """Sort images by the prototype that their features are nearest to.

    Args:
        run: Folder of a pretraining.
        out: New or empty folder. For each prototype it gets a folder of links to the image files
            (none for data sets without files) and a contact sheet, best images first;
            `images.csv` lists file, prototype and cosine similarity of each image.
        data: Data set; None for that of the pretraining.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; None for one per core.
        download: Download the data set if it is missing.
        cache: Folder of image caches and downloads; None for the user's cache folder.
        observer: Receives progress.

    Raises:
        InputError: It is not a pretraining, or `out` has content.
    """
    run, out = Path(run), Path(out)
    if not is_pretraining(run):
        raise InputError(
            f"run is {run}, which has no prototypes; pass the folder of a pretraining", "run"
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"out is {out}, a file; pass a new folder", "out")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"out is {out}, which has content; pass a new folder", "out")
    backbone = load_backbone(run, None, None)
    home = None if cache is None else Path(cache)
    if backbone.prototypes is None:
        raise InputError(
            f"run is {run}, whose checkpoints, which hold the prototypes, were removed", "run"
        )
    data = choose_source(data, backbone.data, run, home)
    assert data is not None
    options = EvaluationOptions(
        Task.FEATURES, data, device=device, threads=threads, download=download, cache=home
    )
    images = Classification(backbone, options, observer or SilentObserver())
    features = images.features()
    new = not out.exists()
    make_folder(out)
    try:
        return _write(out, features, images.pictures)
    except BaseException:  # a part of the clusters would refuse the next call
        _clear(out, new)
        raise


def _clear(out: Path, new: bool) -> None:
    """Remove what was written to an empty folder, and the folder itself if it is new."""
    for path in out.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if new:
        out.rmdir()


def _write(
    out: Path,
    features: ImageFeatures,
    pictures: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
) -> Clusters:
    assert features.prototype is not None
    assert features.similarity is not None
    prototype, similarity = features.prototype.numpy(), features.similarity.numpy()
    counts = np.bincount(prototype)
    sizes = {int(k): int(counts[k]) for k in np.argsort(-counts, kind="stable") if counts[k]}
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["image", "file", "prototype", "similarity"])
    for number in sorted(sizes):
        rows = np.flatnonzero(prototype == number)
        rows = rows[np.argsort(-similarity[rows], kind="stable")]
        name = f"prototype-{number:0{len(str(len(counts) - 1))}d}"
        _contact_sheet(pictures(rows[:_ON_SHEET])).save(out / f"{name}.png")
        if features.files and os.path.exists(features.files[rows[0]]):
            _link(make_folder(out / name), [features.files[row] for row in rows])
        for row in rows:
            file = features.files[row] if features.files else ""
            writer.writerow([row, file, number, f"{similarity[row]:.6f}"])
    # Names that are not UTF-8 are written as the bytes that they are.
    write_bytes(out / "images.csv", table.getvalue().encode(errors="surrogateescape"))
    return Clusters(out, len(prototype), sizes)


def _link(folder: Path, files: list[str]) -> None:
    """Link files in order; the numbers keep equal names of different folders apart."""
    digits = len(str(len(files)))
    for place, file in enumerate(files, start=1):
        number = f"{place:0{digits}d}-"
        # The beginning of a name is cut where both together are longer than a file system takes.
        name = os.fsencode(os.path.basename(file))[len(number) - _NAME_BYTES :]
        os.symlink(file, folder / f"{number}{name.decode(errors='ignore')}")


def _contact_sheet(pictures: NDArray[np.uint8]) -> Image.Image:
    columns = min(_COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * (_SIDE + 2), rows * (_SIDE + 2)), "white")
    for place, tile in enumerate(_tiles(pictures)):
        at = (place % columns * (_SIDE + 2) + 1, place // columns * (_SIDE + 2) + 1)
        sheet.paste(tile, at)
    return sheet


def _tiles(pictures: NDArray[np.uint8]) -> Iterator[Image.Image]:
    """Yield pictures (n, side, side, channels) as RGB; of other channels three are shown."""
    channels = pictures.shape[3]
    for picture in pictures[..., [0, 1 % channels, 2 % channels]]:
        method = Image.Resampling.BOX if len(picture) > _SIDE else Image.Resampling.NEAREST
        yield Image.fromarray(picture).resize((_SIDE, _SIDE), method)
