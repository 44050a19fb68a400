"""Encoded images that are not files: data sets of Hugging Face `datasets`, and labelled shards."""

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from designspace.data.shard_files import (
    check_shards,
    cut_note,
    expand_shards,
    is_image_file,
    read_again,
    read_failure,
)
from designspace.errors import InputError, MissingLabels

# Fraction of the images that may not be decodable.
MAX_UNDECODABLE = 0.01
# Shards are held in memory while their images are decoded into the cache.
_MAX_BYTES = 8 << 30


class EncodedImages(Protocol):
    """Images by index, still encoded."""

    def __getitem__(self, row: int) -> bytes:
        """Return the encoded bytes of an image.

        Raises:
            ValueError: There are none; the message says why.
        """

    def take(self, rows: NDArray[Any]) -> "EncodedImages":
        """Select images by index."""


@dataclass(frozen=True, eq=False)
class EncodedPart:
    """Images of a data set.

    Attributes:
        images: The images.
        names: Of each image.
        labels: Class of each, (n,) int64; -1 for images without labels.
        classes: Class names; empty for images without labels.
        stamps: What changes with the content of each image, (n, 2) int64; None where names do.
        notes: Messages for the user.
    """

    images: EncodedImages
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    stamps: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Column:
    """The image column of a data set of Hugging Face `datasets`, mapped from disk."""

    dataset: Any
    name: str

    def __getitem__(self, row: int) -> bytes:
        value = self.dataset[int(row)][self.name]
        if not value or not (value["bytes"] or value["path"]):
            raise ValueError("no image")
        try:
            data: bytes = value["bytes"] or Path(value["path"]).read_bytes()
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from None
        return data

    def take(self, rows: NDArray[Any]) -> "_Column":
        return _Column(self.dataset.select(rows.tolist()), self.name)


@dataclass(frozen=True)
class _InMemory:
    data: tuple[bytes, ...]

    def __getitem__(self, row: int) -> bytes:
        return self.data[row]

    def take(self, rows: NDArray[Any]) -> "_InMemory":
        return _InMemory(tuple(self.data[int(row)] for row in rows))


def load_saved_dataset(spec: str, path: str) -> tuple[EncodedPart, EncodedPart | None]:
    """Open a data set that `datasets` saved to disk; return its training and test images.

    Args:
        spec: hf:PATH, for messages.
        path: Folder that `save_to_disk` wrote: a data set, or one with the splits train and
            possibly test or validation.

    Raises:
        InputError: It isn't one, or has no column of images.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"data is {spec!r}; datasets is not installed: pip install "
            "'designspace-regnet[datasets]'",
            "data",
        ) from None
    try:
        saved = datasets.load_from_disk(os.path.expanduser(path))
    except (OSError, ValueError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"data is {spec!r}; not a saved data set: {text}", "data") from None
    if not isinstance(saved, datasets.DatasetDict):
        return _part(saved, spec), None
    if "train" not in saved:
        raise InputError(f"data is {spec!r}, with splits {', '.join(saved)}; none is train", "data")
    test = next((saved[name] for name in ("test", "validation") if name in saved), None)
    return _part(saved["train"], spec), None if test is None else _part(test, spec)


def _part(dataset: Any, spec: str) -> EncodedPart:
    import datasets

    columns = dataset.features.items()
    image = next((name for name, f in columns if isinstance(f, datasets.Image)), None)
    label = next((name for name, f in columns if isinstance(f, datasets.ClassLabel)), None)
    if image is None or not len(dataset):
        what = "no image" if image else f"no column of images among {', '.join(dataset.features)}"
        raise InputError(f"data is {spec!r}; it has {what}", "data")
    names = tuple(f"{dataset._fingerprint}/{row}" for row in range(len(dataset)))
    labels, classes = np.full(len(dataset), -1, np.int64), ()
    if label is not None:
        values = [-1 if value is None else int(value) for value in dataset[label][:]]
        labels, classes = np.array(values, np.int64), tuple(dataset.features[label].names)
    missing = int((labels < 0).sum())
    if 0 < missing < len(labels):
        raise InputError(
            f"data is {spec!r}; {missing} of {len(labels)} images have no {label}; remove them, or "
            f"the column {label} to use all without labels",
            "data",
        )
    classes = () if missing else classes
    encoded = dataset.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    return EncodedPart(_Column(encoded, image), names, labels, classes)


def load_labelled_shards(spec: str) -> EncodedPart:
    """Read shards into memory, with the class of each image from the `.cls` file beside it.

    Args:
        spec: webdataset:PATTERN, of paths or pipes.

    Raises:
        InputError: There is no such shard, it can't be read, they are too large, or too many of
            them are cut; of a few that are, the whole images are used.
    """
    samples: list[_Sample] = []
    cut: dict[str, str] = {}
    urls, size = expand_shards(spec), 0
    names = [os.path.basename(url) for url in urls]
    if len(set(names)) < len(names):  # shards of several folders
        names = urls
    for url, name in zip(urls, names, strict=True):
        read = partial(_read_shard, url, name, spec, _MAX_BYTES - size)
        own, failure = read_again(url, read)
        samples += own
        size += sum(len(sample.image) for sample in own)
        cut |= {url: failure} if failure else {}
    check_shards(spec, len(samples), cut, len(urls))
    if any(sample.text is not None for sample in samples):  # a shard may be cut before a .cls file
        samples = [s for s in samples if s.text is not None or s.url not in cut]
    labels, classes = _classes([sample.text for sample in samples])
    return EncodedPart(
        _InMemory(tuple(sample.image for sample in samples)),
        tuple(sample.name for sample in samples),
        labels,
        classes,
        stamps=np.array([_stamp(sample.image) for sample in samples], np.int64),
        notes=(cut_note(cut, len(urls)),) if cut else (),
    )


@dataclass(frozen=True)
class _Sample:
    url: str
    name: str
    image: bytes
    text: bytes | None


def _stamp(image: bytes) -> tuple[int, int]:
    """Return size and hash of an encoded image."""
    digest = hashlib.sha256(image).digest()
    return len(image), int.from_bytes(digest[:8], "little", signed=True)


def _read_shard(url: str, shard: str, spec: str, most: int) -> tuple[list[_Sample], str]:
    """Return the images of a shard, of at most so many bytes, and why it can't be read, or ""."""
    from webdataset.tariterators import tarfile_samples

    samples: list[_Sample] = []
    failure = ""

    def stop(error: Exception) -> bool:
        nonlocal failure
        failure = read_failure(error, url)
        return False

    for sample in tarfile_samples([{"url": url}], handler=stop):
        for suffix, image in sample.items():
            if not is_image_file(f"{sample['__key__']}.{suffix}"):
                continue
            most -= len(image)
            if most < 0 and all(one.text is None for one in samples) and "cls" not in sample:
                raise MissingLabels(
                    f"data is {spec!r}, whose images have no labels (.cls files); without labels "
                    f"only pretraining and task labelfree read more than {_MAX_BYTES >> 30} GiB",
                    "data",
                )
            if most < 0:
                raise InputError(
                    f"data is {spec!r}, of more than {_MAX_BYTES >> 30} GiB, which only "
                    "pretraining and task labelfree stream; unpack it, and write folder:PATH",
                    "data",
                )
            name = f"{shard}/{sample['__key__']}.{suffix}"
            samples.append(_Sample(url, name, image, sample.get("cls")))
    return samples, failure


def _classes(texts: list[bytes | None]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Number the classes in the order of their names, or of their numbers if all are numbers."""
    if any(text is None for text in texts):
        return np.full(len(texts), -1, np.int64), ()
    words = [text.decode("utf-8", "replace").strip() for text in texts if text is not None]
    numbers = all(word.isdecimal() for word in words)
    words = [str(int(word)) for word in words] if numbers else words
    classes = tuple(sorted(set(words), key=int if numbers else None))
    index = {word: i for i, word in enumerate(classes)}
    return np.array([index[word] for word in words], np.int64), classes
