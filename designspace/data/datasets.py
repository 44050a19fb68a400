"""Data sets: scikit-learn's digits, torchvision's CIFAR, folders of images, and lists of files."""

import importlib.util
import math
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.data.encoded_images import (
    EncodedImages,
    EncodedPart,
    load_labelled_shards,
    load_saved_dataset,
)
from designspace.errors import InputError, counted, printable
from designspace.io.atomic_write import make_folder
from designspace.io.file_lock import lock
from designspace.runs.training_options import parse_source

_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"),
    ".npy",
)
# Images that are not read, which a note counts.
_OTHER_IMAGES = (
    *(".heic", ".heif", ".avif", ".gif", ".jxl", ".jp2", ".svg", ".psd", ".dng", ".cr2", ".nef"),
    *(".arw", ".exr", ".hdr", ".tga"),
)
_SYSTEM_NAMES = {
    *("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "lost+found"),
    "System Volume Information",
}
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Items:
    """Images, not yet decoded.

    Attributes:
        labels: Class of each image, (n,) int64; -1 for images without labels.
        files: Paths below `root`, or empty if `pixels` holds the images.
        stamps: Size in bytes and modification time in ns of each file, (n, 2) int64.
        root: Folder of the files.
        pixels: Images in memory, (n, height, width, 3) uint8, or None.
        encoded: Images that are no files of their own, named by `files`; or None.
    """

    labels: NDArray[np.int64]
    files: tuple[str, ...] = ()
    stamps: NDArray[np.int64] | None = None
    root: str = ""
    pixels: NDArray[np.uint8] | None = None
    encoded: EncodedImages | None = None

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
            encoded=None if self.encoded is None else self.encoded.take(rows),
        )


@dataclass(frozen=True, eq=False)
class Source:
    """A data set.

    Attributes:
        spec: Specification, as `parse_source` takes it.
        classes: Class names, in the order of the labels; none for images without labels.
        train: Images for training.
        test: Images that should stay unseen, or None.
        held_out: Fraction of `train` that is held out for model selection.
        no_test: Why there are no usable test images.
        no_labels: Why there are no labels; empty if there are.
        notes: Messages for the user.
    """

    spec: str
    classes: tuple[str, ...]
    train: Items
    test: Items | None
    held_out: float = 0.1
    no_test: str = ""
    no_labels: str = ""
    notes: tuple[str, ...] = ()


def load_source(spec: str, download: bool = False, home: Path | None = None) -> Source:
    """Find a data set and list its images.

    Args:
        spec: Specification, as `parse_source` takes it.
        download: Download cifar10 or cifar100 if it is missing.
        home: Folder of downloaded data sets.

    Raises:
        InputError: There is no such data set, or its folders have another layout.
    """
    if printable(spec) != spec:
        raise InputError(
            f"data is {printable(spec)!r}, a path with unprintable characters; rename the folder",
            "data",
        )
    kind, path = parse_source(spec)
    if kind == "digits":
        return _digits(spec)
    if kind in ("cifar10", "cifar100"):
        return _cifar(spec, kind, Path(path) if path else home or Path("."), download)
    if kind == "hf":
        return _encoded(spec, *load_saved_dataset(spec, path))
    if kind == "webdataset":
        return _encoded(spec, load_labelled_shards(spec))
    root = Path(path).expanduser()
    if kind == "files":
        # Paths relative to the folder lead elsewhere from where a link to it is.
        return _ImageFolder(spec, kind, root.parent.resolve()).load_list(root)
    return _ImageFolder(spec, kind, root).load()


def _digits(spec: str) -> Source:
    table = np.loadtxt(_digits_file(), delimiter=",", dtype=np.int64)
    grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=3)
    train = Items(table[:, -1].copy(), pixels=pixels)
    return Source(spec, tuple("0123456789"), train, test=None, held_out=0.2)


def _digits_file() -> Path:
    """Return scikit-learn's file of digits, without its import, which takes a second."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _cifar(spec: str, kind: str, root: Path, download: bool) -> Source:
    from torchvision import datasets

    dataset_class: Any = datasets.CIFAR10 if kind == "cifar10" else datasets.CIFAR100

    def load(download: bool) -> list[Any]:
        return [dataset_class(str(root), train=t, download=download) for t in (True, False)]

    try:
        parts = _downloaded(root, load) if download else load(False)
    except RuntimeError:
        raise InputError(
            f"data is {spec!r}; {kind} is missing or damaged in {root}; download=True fetches it, "
            f"{kind}:PATH selects another folder",
            "data",
        ) from None
    except OSError as error:
        raise InputError(
            f"data is {spec!r}; {kind} could not be downloaded to {root}: {error}", "data"
        ) from None
    train, test = (Items(np.asarray(part.targets, np.int64), pixels=part.data) for part in parts)
    return Source(spec, tuple(parts[0].classes), train, test)


def _downloaded(root: Path, load: Callable[[bool], list[Any]]) -> list[Any]:
    """Load a data set, and download it if it is missing, while other processes wait for it."""
    try:
        return load(False)  # the folder of one that is there may be read-only
    except RuntimeError:
        make_folder(root)
        with lock(root / ".lock", f"the downloads in {root}", wait=math.inf):
            return load(True)


def _encoded(spec: str, train: EncodedPart, test: EncodedPart | None = None) -> Source:
    def items(part: EncodedPart) -> Items:
        return Items(part.labels, files=part.names, stamps=part.stamps, encoded=part.images)

    if not train.classes or len(np.unique(train.labels)) < 2:
        reason = "it has no column of classes, or no .cls files"
        if train.classes:
            reason = f"all are of one class, {train.classes[train.labels[0]]}"
            train = replace(train, labels=np.full(len(train.labels), -1), classes=())
        return Source(spec, (), items(train), None, no_labels=reason, notes=train.notes)
    unseen, no_test = None, ""
    if test is not None:
        unknown = sorted(set(test.classes) - set(train.classes))
        if not test.classes:
            no_test = f"data is {spec!r}; its test split has no classes"
        elif unknown:
            no_test = (
                f"data is {spec!r}; its test split has the class {unknown[0]!r}, "
                "which train does not have"
            )
        else:  # the order of the classes may be another
            numbers = np.array([train.classes.index(name) for name in test.classes])
            unseen = items(replace(test, labels=numbers[test.labels]))
    return Source(spec, train.classes, items(train), unseen, no_test=no_test, notes=train.notes)


@dataclass
class _ImageFolder:
    """Lists the images of train/CLASS and of test/CLASS or val/CLASS, or all without labels."""

    spec: str
    kind: str
    root: Path
    skipped: list[str] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)

    def load(self) -> Source:
        train_folder = self.root / "train"
        if not train_folder.is_dir():
            archives = " (unpack the archives first)" if any(self.root.glob("ILSVRC*.tar*")) else ""
            return self.unlabelled(
                self.root,
                f"{self.root} has no train folder{archives}; the layout is train/CLASS/IMAGE and "
                "test/CLASS/IMAGE (or val/)",
            )
        classes = self.subfolders(train_folder)
        if len(classes) < 2:
            return self.unlabelled(
                train_folder,
                f"{train_folder} has {len(classes)} class folders; it needs at least two",
            )
        if self.kind == "imagenet" and len(classes) != _IMAGENET_CLASSES:
            raise self.error(
                f"{train_folder} has {len(classes)} classes, ImageNet has {_IMAGENET_CLASSES}; "
                "write folder:PATH for other images"
            )
        train = self.list_images("train", classes)
        test, no_test = None, ""
        part = next((name for name in ("test", "val") if (self.root / name).is_dir()), None)
        if part is not None:
            # Only a run that uses these images fails because of them.
            try:
                test = self.list_images(part, classes)
            except InputError as error:
                no_test = str(error)
        return Source(self.spec, classes, train, test, no_test=no_test, notes=self.notes())

    def unlabelled(self, folder: Path, reason: str) -> Source:
        """List all images below a folder, which has no class folders for a reason."""
        if self.kind == "imagenet":
            raise self.error(reason)
        paths = list(self.image_files(folder))
        if not paths:
            raise self.error(
                f"{reason}; nor has it an image at any depth; file types: {', '.join(_EXTENSIONS)}"
            )
        return self.without_labels(paths, reason)

    def load_list(self, file: Path) -> Source:
        """Read the paths in a text file, relative to its folder."""
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()  # possibly with a BOM
        except (OSError, ValueError) as error:
            raise self.error(f"{file} is not a readable text file: {error}") from None
        numbers: dict[str, int] = {}
        for number, line in enumerate(map(str.strip, lines), start=1):
            path = os.path.normpath(os.path.join(self.root, line))
            if line and numbers.setdefault(path, number) != number:
                raise self.error(
                    f"{file} names {path} in line {numbers[path]} and again in line {number}; "
                    "remove one of the lines"
                )
        if not numbers:
            raise self.error(f"{file} is empty; write the path of an image on each line")
        where = [f"line {number}: " for number in numbers.values()]
        return self.without_labels(list(numbers), "a list of files has no classes", where)

    def without_labels(self, paths: list[str], reason: str, where: Sequence[str] = ()) -> Source:
        files, stamps = self.stat_images(paths, where)
        train = self.items(files, stamps, [-1] * len(files))
        return Source(self.spec, (), train, None, no_labels=reason, notes=self.notes())

    def notes(self) -> tuple[str, ...]:
        notes = [
            f"{counted(count, f'{suffix} file')} can't be read; convert them to one of "
            f"{', '.join(_EXTENSIONS)}"
            for suffix, count in sorted(self.unread.items())
        ]
        if self.skipped:
            count, first = len(self.skipped), self.skipped[0]
            notes.append(f"{count} hidden or system files and folders skipped, such as {first}")
        return tuple(notes)

    def error(self, message: str) -> InputError:
        return InputError(f"data is {self.spec!r}; {message}", "data")

    def keeps(self, folder: Path | str, name: str) -> bool:
        """Return whether an entry is neither hidden nor a system file; count it otherwise."""
        if name[0] != "." and name not in _SYSTEM_NAMES:
            return True
        self.skipped.append(os.path.join(folder, name))
        return False

    def subfolders(self, folder: Path) -> tuple[str, ...]:
        names = (entry.name for entry in folder.iterdir() if entry.is_dir())
        return tuple(sorted(name for name in names if self.keeps(folder, name)))

    def list_images(self, part: str, classes: tuple[str, ...]) -> Items:
        names = classes if part == "train" else self.subfolders(self.root / part)
        unknown = sorted(set(names) - set(classes))
        if unknown:
            raise self.error(
                f"{self.root / part} has the class {unknown[0]!r}, which train does not have"
            )
        files: list[str] = []
        stamps: list[tuple[int, int]] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            own, own_stamps = self.stat_images(self.image_files(self.root / part / name))
            if not own and part == "train":
                raise self.error(
                    f"no images in {self.root / part / name}; file types: {', '.join(_EXTENSIONS)}"
                )
            files += own
            stamps += own_stamps
            labels += [label] * len(own)
        if not files:
            raise self.error(f"no images in class folders of {self.root / part}")
        return self.items(files, stamps, labels)

    def stat_images(
        self, paths: Iterable[str], where: Sequence[str] = ()
    ) -> tuple[list[str], list[tuple[int, int]]]:
        """Return the paths of files below the root, and their sizes and times.

        Args:
            paths: The files.
            where: What messages say before each path.
        """
        files: list[str] = []
        stamps: list[tuple[int, int]] = []
        for i, path in enumerate(paths):
            before = where[i] if where else ""
            try:
                status = os.stat(path)
            except OSError as error:
                raise self.error(f"{before}{path}: {error.strerror}") from None
            if not stat.S_ISREG(status.st_mode):
                raise self.error(f"{before}{path} is not a file; remove it")
            files.append(os.path.relpath(path, self.root))
            stamps.append((status.st_size, status.st_mtime_ns))
        return files, stamps

    def items(self, files: list[str], stamps: list[tuple[int, int]], labels: list[int]) -> Items:
        return Items(
            labels=np.array(labels, np.int64),
            files=tuple(files),
            stamps=np.array(stamps, np.int64),
            root=str(self.root.resolve()),
        )

    def image_files(self, folder: Path) -> Iterator[str]:
        """Yield the image files below a folder, following links but not in circles."""
        visited: set[str] = set()
        for top, folders, names in os.walk(folder, followlinks=True):
            real = os.path.realpath(top)
            if real in visited:
                raise self.error(f"{top} is reached twice; remove the link that leads back to it")
            visited.add(real)
            folders[:] = sorted(name for name in folders if self.keeps(top, name))
            for name in sorted(names):
                suffix = os.path.splitext(name.lower())[1]
                if name.lower().endswith(_EXTENSIONS) and self.keeps(top, name):
                    yield os.path.join(top, name)
                elif suffix in _OTHER_IMAGES and name[0] != ".":
                    self.unread[suffix] += 1
