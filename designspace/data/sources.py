"""Where images come from: the built-in digits, torchvision's data sets, folders of classes."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.errors import InputError, printable
from designspace.runs.options import parse_source

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Items:
    """Labelled images, not yet decoded.

    Attributes:
        labels: Class of each image, (n,) int64.
        files: Paths below `root`, or empty where `pixels` holds the images.
        stamps: Size in bytes and modification time in ns of each file, (n, 2) int64.
        root: Folder of the files.
        pixels: Images in memory, (n, height, width, 3) uint8, or None.
    """

    labels: NDArray[np.int64]
    files: tuple[str, ...] = ()
    stamps: NDArray[np.int64] | None = None
    root: str = ""
    pixels: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> "Items":
        """Select images by index."""
        return Items(
            labels=self.labels[rows],
            files=tuple(self.files[i] for i in rows) if self.files else (),
            stamps=None if self.stamps is None else self.stamps[rows],
            root=self.root,
            pixels=None if self.pixels is None else self.pixels[rows],
        )


@dataclass(frozen=True, eq=False)
class Source:
    """A data set: its name as a person gave it, its classes, its images.

    Attributes:
        spec: digits, cifar10, cifar100, folder:PATH or imagenet:PATH.
        classes: Names, in the order of the labels.
        train: The images that may be trained on.
        test: The images that should stay unseen, or None where the data set has none.
        held_out: Share of `train` that is held out for model selection.
    """

    spec: str
    classes: tuple[str, ...]
    train: Items
    test: Items | None
    held_out: float = 0.1


def load_source(spec: str, download: bool = False, home: Path | None = None) -> Source:
    """Find a data set and list its images.

    Args:
        spec: digits, cifar10[:PATH], cifar100[:PATH], folder:PATH or imagenet:PATH.
        download: Fetch what torchvision can fetch (cifar10, cifar100) when it is missing.
        home: Folder of downloaded data sets.

    Raises:
        InputError: There is no such data set, or its folders are not as they should be.
    """
    if printable(spec) != spec:
        raise InputError(
            f"data {printable(spec)}: the path holds what is no text; rename the folder"
        )
    kind, path = parse_source(spec)
    if kind == "digits":
        return _digits(spec)
    if kind in ("cifar10", "cifar100"):
        return _cifar(spec, kind, Path(path) if path else home or Path("."), download)
    return _folder(spec, kind, Path(path).expanduser())


def _digits(spec: str) -> Source:
    from sklearn.datasets import load_digits

    data = load_digits()
    grey = np.rint(data.images * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=3)
    labels = data.target.astype(np.int64)
    return Source(spec, tuple("0123456789"), Items(labels, pixels=pixels), test=None, held_out=0.2)


def _cifar(spec: str, kind: str, root: Path, download: bool) -> Source:
    from torchvision import datasets

    make: Callable[..., Any] = datasets.CIFAR10 if kind == "cifar10" else datasets.CIFAR100
    try:
        parts = [make(str(root), train=train, download=download) for train in (True, False)]
    except RuntimeError:
        raise InputError(
            f"data {spec}: {kind} is not in {root}, or is damaged; --download fetches it there, "
            f"{kind}:PATH names another folder"
        ) from None
    except OSError as error:
        raise InputError(f"data {spec}: {kind} could not be fetched into {root}: {error}") from None
    train, test = (Items(np.asarray(part.targets, np.int64), pixels=part.data) for part in parts)
    return Source(spec, tuple(parts[0].classes), train, test)


def _folder(spec: str, kind: str, root: Path) -> Source:
    if not (root / "train").is_dir():
        archives = " (unpack the archives first)" if any(root.glob("ILSVRC*.tar*")) else ""
        raise InputError(
            f"data {spec}: {root} has no train folder{archives}; the layout is "
            "train/CLASS/IMAGE and test/CLASS/IMAGE (or val/)"
        )
    classes = _subfolders(root / "train")
    if len(classes) < 2:
        raise InputError(
            f"data {spec}: {root / 'train'} has {len(classes)} class folders; "
            "it must have at least two"
        )
    if kind == "imagenet" and len(classes) != _IMAGENET_CLASSES:
        raise InputError(
            f"data {spec}: {root / 'train'} has {len(classes)} classes, ImageNet has "
            f"{_IMAGENET_CLASSES}; write folder:PATH for other images"
        )
    train = _list_images(spec, root, "train", classes)
    for name in ("test", "val"):
        if (root / name).is_dir():
            strangers = sorted(set(_subfolders(root / name)) - set(classes))
            if strangers:
                raise InputError(
                    f"data {spec}: {root / name} has the class {strangers[0]!r}, "
                    "which train does not have"
                )
            return Source(spec, classes, train, _list_images(spec, root, name, classes))
    return Source(spec, classes, train, test=None)


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(e.name for e in folder.iterdir() if e.is_dir() and e.name[0] != "."))


def _refuse_again(spec: str, folder: str, seen: set[str]) -> None:
    """Links may lead elsewhere, but not in circles."""
    real = os.path.realpath(folder)
    if real in seen:
        raise InputError(
            f"data {spec}: {folder} is reached twice; remove the link that leads back to it"
        )
    seen.add(real)


def _list_images(spec: str, root: Path, part: str, classes: tuple[str, ...]) -> Items:
    files: list[str] = []
    stamps: list[tuple[int, int]] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        before = len(files)
        folder = root / part / name
        seen: set[str] = set()
        for top, below, names in os.walk(folder, followlinks=True):
            _refuse_again(spec, top, seen)
            below.sort()
            for file in sorted(n for n in names if n.lower().endswith(_EXTENSIONS)):
                path = os.path.join(top, file)
                try:
                    found = os.stat(path)
                except OSError as error:
                    raise InputError(f"data {spec}: {path}: {error.strerror}") from None
                if not stat.S_ISREG(found.st_mode):
                    raise InputError(f"data {spec}: {path} is not a file; remove it")
                files.append(os.path.relpath(path, root))
                stamps.append((found.st_size, found.st_mtime_ns))
        if len(files) == before and part == "train":
            raise InputError(
                f"data {spec}: no images in {folder}; known kinds: {', '.join(_EXTENSIONS)}"
            )
        labels += [label] * (len(files) - before)
    if not files:
        raise InputError(f"data {spec}: no images in {root / part}")
    return Items(
        labels=np.array(labels, np.int64),
        files=tuple(files),
        stamps=np.array(stamps, np.int64),
        root=str(root.resolve()),
    )
