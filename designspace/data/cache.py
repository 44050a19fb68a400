"""Images decoded once, into memory-mapped uint8 arrays that all workers share.

A cache is a folder named after what is decoded (names, sizes and times of the files, and the bytes
of a few of them; or the pixels themselves), the split and the geometry. It is built in a
`.building` folder, chunk by chunk, and renamed when complete, so an interrupted build resumes.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from designspace.data.datasets import Items
from designspace.data.decode import Geometry, decode_bytes, decode_file, make_record
from designspace.data.splits import Split
from designspace.errors import InputError, name_some, printable
from designspace.io import journal
from designspace.io.atomic_write import make_folder, write_text
from designspace.io.file_lock import lock
from designspace.io.process_pool import TerminatedWorkerError, exit_codes, unordered

# Training images of more bytes are read in chunks. The order of the images depends on this number,
# so it is independent of the machine's memory.
LARGE = 4 << 30
_FORMAT = 2
_CHUNK_SIZE = 256
_PARTS = ("train", "val")
# Attempts to decode when its processes are killed.
_ATTEMPTS = 3
# Bytes of each image's SHA-256 digest that are kept to find identical images.
_DIGEST_BYTES = 16
# Files of each part whose bytes tell apart images of equal names, sizes and times, as unpacked
# archives may have.
_SAMPLED_FILES = 16

# Called with the numbers of decoded images and of all images.
Progress = Callable[[int, int], None]
# Name and reason by position of images that can't be decoded.
_Errors = dict[int, tuple[str, str]]
# Images and record geometry of the training and validation part.
Parts = dict[str, tuple[Items, Geometry]]


@dataclass(frozen=True)
class Cache:
    """A complete cache.

    Attributes:
        path: Its folder: train.npy and val.npy (n, side, side, channels) uint8, and their labels.
        content: Hash of images and labels, independent of their path and of the geometry.
        train_images: Number of training images.
        val_images: Number of validation images.
        mean: Mean of each channel over the training images, 0 to 255.
        std: Standard deviation of each channel.
        duplicates: Validation images that are identical to a training image.
    """

    path: Path
    content: str
    train_images: int
    val_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    duplicates: int

    @property
    def train_bytes(self) -> int:
        """Bytes of the training images."""
        return (self.path / "train.npy").stat().st_size

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user."""
        if not self.duplicates:
            return ()
        return (
            f"{self.duplicates} of {self.val_images} validation images are identical to training "
            "images; errors look lower than they are",
        )


class UndecodableImages(InputError):
    """Images can't be decoded.

    Attributes:
        rows: Their positions in each part.
        reasons: By name.
    """

    def __init__(
        self, rows: Mapping[str, list[int]], reasons: Mapping[str, str], total: int
    ) -> None:
        super().__init__(
            f"{sum(map(len, rows.values()))} of {total} images can't be read: "
            f"{name_some(reasons)}. Replace or remove them"
        )
        self.rows, self.reasons = rows, reasons


def default_cache_folder() -> Path:
    """Return the default folder of caches and downloads.

    It is in the user's cache folder or, if the user has no writable home, in the temporary folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    home = Path(base) if base else Path(os.path.expanduser("~")) / ".cache"
    try:
        if not home.is_absolute():  # the user has no home folder
            raise OSError
        home.mkdir(parents=True, exist_ok=True)
        writable = os.access(home, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        home = Path(tempfile.gettempdir()) / f"designspace-{os.getuid()}"
    return home / "designspace"


def build_cache(
    split: Split,
    geometry: tuple[Geometry, Geometry],
    home: Path,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Cache:
    """Return the cache of a split, decoding what it lacks.

    Args:
        split: Training and validation images.
        geometry: Geometry of the training and of the validation records.
        home: Folder of caches; created if missing.
        jobs: Processes that decode.
        progress: Called with the numbers of decoded images and of all images.

    Raises:
        UndecodableImages: Images can't be decoded.
        InputError: The disk is full or read-only.
    """
    parts = dict(zip(_PARTS, zip((split.train, split.val), geometry, strict=True), strict=True))
    path = _cache_folder(make_folder(home), parts)
    _raise_undecodable(path)
    if not (path / "meta.json").is_file():
        with lock(path.with_suffix(".lock"), f"the image cache {path}", wait=math.inf):
            if not (path / "meta.json").is_file():
                building = path.with_suffix(".building")
                _build(parts, building, jobs, progress or (lambda done, total: None))
                os.replace(building, path)
    return open_cache(path)


def open_cache(path: Path) -> Cache:
    """Open a complete cache.

    Raises:
        InputError: Its meta.json is missing or damaged.
    """
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        return Cache(
            path=path,
            content=str(meta["content"]),
            train_images=int(meta["train_images"]),
            val_images=int(meta["val_images"]),
            mean=tuple(meta["mean"]),
            std=tuple(meta["std"]),
            duplicates=int(meta["duplicates"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"the image cache {path} is damaged; remove that folder") from None


def _raise_undecodable(path: Path) -> None:
    """Raise UndecodableImages if an earlier call found some that can't be replaced."""
    try:
        record = json.loads(path.with_suffix(".undecodable").read_text(encoding="utf-8"))
        error = UndecodableImages(record["rows"], record["reasons"], record["total"])
    except (OSError, ValueError, KeyError):
        return
    raise error


def _cache_folder(home: Path, parts: Parts) -> Path:
    """Return the folder of the cache of these images, which need not exist."""
    key = _key(parts)
    samples = {part: _sample_digests(items) for part, (items, _) in parts.items()}
    if not any(samples.values()) or _has_digests(home / key, samples):
        return home / key  # earlier versions named all caches like this
    digests = b"".join(digest for sample in samples.values() for digest in sample.values())
    return home / hashlib.sha256(key.encode() + digests).hexdigest()[:20]


def _sample_digests(items: Items) -> dict[int, bytes]:
    """Return the digests of some files by row; none where the key has the whole content."""
    if not items.files or items.encoded is not None:
        return {}
    rows = np.linspace(0, len(items) - 1, _SAMPLED_FILES, dtype=int).tolist()
    return {row: _file_digest(os.path.join(items.root, items.files[row])) for row in rows}


def _file_digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()[:_DIGEST_BYTES]
    except OSError:  # decoding reports it
        return bytes(_DIGEST_BYTES)


def _has_digests(folder: Path, samples: Mapping[str, dict[int, bytes]]) -> bool:
    """Whether a cache is complete and has images of these digests in these rows."""
    if not (folder / "meta.json").is_file():
        return False
    try:
        return all(
            np.load(_digests_file(folder, part), mmap_mode="r")[list(sample)].tobytes()
            == b"".join(sample.values())
            for part, sample in samples.items()
        )
    except (OSError, ValueError, IndexError):  # damaged
        return False


def _key(parts: Parts) -> str:
    digest = hashlib.sha256(str(_FORMAT).encode())
    for name, (items, geometry) in parts.items():
        digest.update(json.dumps([name, asdict(geometry), len(items), items.files]).encode())
        for array in (items.labels, items.stamps, items.pixels):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:20]


@dataclass(frozen=True)
class _Chunk:
    """Checksum and pixel sums of consecutive images in the cache, as recorded in done.jsonl."""

    part: str
    start: int
    digest: str
    total: list[int]
    squares: list[int]


@dataclass(frozen=True, eq=False)
class _ChunkJob:
    """Consecutive images to decode into the rows of the part's arrays from `start`."""

    part: str
    start: int
    items: Items
    geometry: Geometry
    folder: Path


def _build(parts: Parts, folder: Path, jobs: int, progress: Progress) -> None:
    make_folder(folder)
    for name, (items, geometry) in parts.items():
        shape = (len(items), geometry.side, geometry.side, geometry.channels)
        _allocate(_records_file(folder, name), shape)
        _allocate(_digests_file(folder, name), (len(items), _DIGEST_BYTES))
        _save(folder / f"{name}_labels.npy", items.labels)
    done = folder / "done.jsonl"
    chunks = [_Chunk(**record) for record in journal.read(done, "cache").records]
    finished = {(chunk.part, chunk.start) for chunk in chunks}
    todo = [
        _ChunkJob(
            name,
            start,
            items.take(np.arange(start, min(start + _CHUNK_SIZE, len(items)))),
            geometry,
            folder,
        )
        for name, (items, geometry) in parts.items()
        for start in range(0, len(items), _CHUNK_SIZE)
        if (name, start) not in finished
    ]
    sizes = {(job.part, job.start): len(job.items) for job in todo}
    total = sum(len(items) for items, _ in parts.values())
    count = total - sum(sizes.values())
    rows: dict[str, list[int]] = {part: [] for part in parts}
    reasons: dict[str, str] = {}
    progress(count, total)
    for chunk, errors in _decode_all(todo, jobs):
        for row, (name, reason) in errors.items():
            rows[chunk.part].append(chunk.start + row)
            reasons[name] = reason
        if not errors:
            journal.append(done, [asdict(chunk)])
            chunks.append(chunk)
        count += sizes[chunk.part, chunk.start]
        progress(count, total)
    if reasons:
        reasons = dict(sorted(reasons.items()))
        if parts["train"][0].encoded is not None:  # no files that could be replaced
            record = {"rows": rows, "reasons": reasons, "total": total}
            write_text(folder.with_suffix(".undecodable"), json.dumps(record) + "\n")
        # Of replaced files the cache has another name: nothing would read or remove this folder.
        shutil.rmtree(folder)
        raise UndecodableImages(rows, reasons, total)
    meta = _describe(parts, chunks) | {"duplicates": _count_duplicates(folder)}
    write_text(folder / "meta.json", json.dumps(meta, indent=1) + "\n")
    done.unlink()


def _records_file(folder: Path, part: str) -> Path:
    return folder / f"{part}.npy"


def _digests_file(folder: Path, part: str) -> Path:
    return folder / f"{part}_digests.npy"


def _save(path: Path, array: NDArray[Any]) -> None:
    try:
        np.save(path, array)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _allocate(path: Path, shape: tuple[int, ...]) -> None:
    """Create an array file with all its blocks, so that a full disk is noticed here."""
    if path.exists():
        return
    size = int(np.prod(shape))
    try:
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise InputError(
                f"cache needs {size / 1e9:.1f} GB in {path.parent.parent}, where "
                f"{free / 1e9:.1f} GB are free; choose a folder on a larger disk",
                "cache",
            )
        temporary = path.with_suffix(".tmp")
        open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):
            with open(temporary, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, os.path.getsize(temporary))
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def _decode_all(todo: list[_ChunkJob], jobs: int) -> Iterator[tuple[_Chunk, _Errors]]:
    # Images in memory are resized faster here than sent to another process.
    if jobs == 1 or len(todo) <= 1 or any(job.items.pixels is not None for job in todo):
        yield from map(_decode_chunk, todo)
        return
    left = {(job.part, job.start): job for job in todo}
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            for chunk, errors in unordered(_decode_chunk, list(left.values()), jobs):
                del left[chunk.part, chunk.start]
                yield chunk, errors
            return
        except TerminatedWorkerError as error:
            if attempt == _ATTEMPTS:
                raise InputError(
                    f"decoding images: its processes died {attempt} times ({exit_codes(error)}); "
                    "is there too little memory? The same call resumes"
                ) from None


def _decode_chunk(job: _ChunkJob) -> tuple[_Chunk, _Errors]:
    """Decode images into their rows; also return which can't be read, and why."""
    items, geometry = job.items, job.geometry
    records = np.load(_records_file(job.folder, job.part), mmap_mode="r+")
    digests = np.load(_digests_file(job.folder, job.part), mmap_mode="r+")
    checksum = hashlib.sha256()
    errors: _Errors = {}
    inner = slice(geometry.pad, geometry.pad + geometry.crop)
    total, squares = np.zeros((2, geometry.channels), np.int64)
    for i, label in enumerate(items.labels):
        path = os.path.join(items.root, items.files[i]) if items.files else f"image {i}"
        try:
            if items.pixels is not None:
                record = make_record(Image.fromarray(items.pixels[i]), geometry)
                digest = hashlib.sha256(np.ascontiguousarray(items.pixels[i]).tobytes()).digest()
            elif items.encoded is not None:
                record, digest = decode_bytes(items.encoded[i], geometry)
            else:
                record, digest = decode_file(path, geometry)
        except ValueError as error:
            errors[i] = printable(path), str(error)
            continue
        checksum.update(digest + int(label).to_bytes(8, "little", signed=True))
        records[job.start + i] = record
        digests[job.start + i] = np.frombuffer(digest[:_DIGEST_BYTES], np.uint8)
        pixels = record[inner, inner].astype(np.int64)
        total += pixels.sum((0, 1))
        squares += (pixels * pixels).sum((0, 1))
    records.flush()
    digests.flush()
    sums = (total.tolist(), squares.tolist())
    return _Chunk(job.part, job.start, checksum.hexdigest(), *sums), errors


def _count_duplicates(folder: Path) -> int:
    """Count the validation images that are identical to a training image."""
    train, val = (
        np.load(_digests_file(folder, part)).view(f"V{_DIGEST_BYTES}").ravel().tolist()
        for part in _PARTS
    )
    known = set(train)
    return sum(digest in known for digest in val)


def _describe(parts: Parts, chunks: list[_Chunk]) -> dict[str, Any]:
    content = hashlib.sha256()
    for chunk in sorted(chunks, key=lambda chunk: (chunk.part, chunk.start)):
        content.update(bytes.fromhex(chunk.digest))
    items, geometry = parts["train"]
    training = [chunk for chunk in chunks if chunk.part == "train"]
    pixels = len(items) * geometry.crop**2
    # Exact integer sums: the order of the chunks can't change the result.
    mean = np.sum([chunk.total for chunk in training], axis=0) / pixels
    square = np.sum([chunk.squares for chunk in training], axis=0) / pixels
    std: NDArray[np.float64] = np.sqrt(np.maximum(square - mean**2, 1.0))
    return {
        "format": _FORMAT,
        "content": content.hexdigest()[:20],
        "train_images": len(items),
        "val_images": len(parts["val"][0]),
        "mean": mean.tolist(),
        "std": std.tolist(),
    }
