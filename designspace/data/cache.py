"""Images decoded once: memory-mapped uint8 arrays that all workers share.

A cache is a folder named by its content: what is decoded (names, sizes and times of the files, or
the pixels themselves), the split and the geometry. It is built beside its place, chunk by chunk,
and renamed when it is whole: a build that is killed goes on where it was.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from designspace.data.decode import Geometry, decode_file, fit
from designspace.data.sources import Items
from designspace.data.splits import Split
from designspace.errors import InputError
from designspace.io import journal
from designspace.io.atomic_write import make_folder, write_text
from designspace.io.lock import lock
from designspace.io.process_pool import TerminatedWorkerError, unordered

_FORMAT = 1
_CHUNK = 256
_PARTS = ("train", "val")
_NAMED = 5
# Times that decoding starts anew when its processes are killed.
_ROUNDS = 3

# Called with (images done, images in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Cache:
    """A finished cache.

    Attributes:
        path: Its folder: train.npy and val.npy (n, side, side, 3) uint8, and their labels.
        content: Hash of the images and labels, the same wherever they lie and at any geometry.
        train_images: Number of training images.
        val_images: Number of validation images.
        mean: Mean of each channel over the training images, 0 to 255.
        std: Standard deviation of each channel.
    """

    path: Path
    content: str
    train_images: int
    val_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def train_bytes(self) -> int:
        """Bytes of the training images."""
        return (self.path / "train.npy").stat().st_size


@dataclass(frozen=True)
class _Chunk:
    """What is known of a run of images that lies in the cache."""

    part: str
    start: int
    digest: str
    total: tuple[int, ...]
    squares: tuple[int, ...]


def default_home() -> Path:
    """Return the folder that caches lie in unless a person names another.

    It is the user's cache folder or, for a user without a home to write in, one of the temporary
    folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    home = Path(base) if base else Path(os.path.expanduser("~")) / ".cache"
    try:
        if not home.is_absolute():  # nobody's: the system doesn't know this user's home
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
    """Return the cache of a split, decoding what isn't there yet.

    Args:
        split: Training and validation images.
        geometry: Of the training and of the validation records.
        home: Folder of caches; made when missing.
        jobs: Processes that decode.
        progress: Told how many images are done.

    Raises:
        InputError: An image can't be read (named, counted), or the disk is full or unwritable.
    """
    parts = dict(zip(_PARTS, zip((split.train, split.val), geometry, strict=True), strict=True))
    place = make_folder(home) / _key(parts)
    if (place / "meta.json").is_file():
        return open_cache(place)
    with lock(place.with_suffix(".lock"), f"the image cache {place}", wait=True):
        if not (place / "meta.json").is_file():
            building = place.with_suffix(".building")
            _build(parts, building, jobs, progress or (lambda done, total: None))
            os.replace(building, place)
    return open_cache(place)


def open_cache(path: Path) -> Cache:
    """Open a finished cache.

    Raises:
        InputError: Its description is missing or damaged.
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
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"the image cache {path} is damaged; remove that folder") from None


def _key(parts: dict[str, tuple[Items, Geometry]]) -> str:
    digest = hashlib.sha256(str(_FORMAT).encode())
    for name, (items, geometry) in parts.items():
        digest.update(json.dumps([name, asdict(geometry), len(items), items.files]).encode())
        for array in (items.labels, items.stamps, items.pixels):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:20]


def _build(
    parts: dict[str, tuple[Items, Geometry]], folder: Path, jobs: int, progress: Progress
) -> None:
    make_folder(folder)
    for name, (items, geometry) in parts.items():
        _reserve(folder / f"{name}.npy", (len(items), geometry.side, geometry.side, 3))
        _save_labels(folder / f"{name}_labels.npy", items)
    done = folder / "done.jsonl"
    chunks = {
        (c.part, c.start): c for c in (_Chunk(**r) for r in journal.read(done, "cache").records)
    }
    total = sum(len(items) for items, _ in parts.values())
    finished = sum(min(_CHUNK, len(parts[part][0]) - start) for part, start in chunks)
    todo = [
        (name, start)
        for name, (items, _) in parts.items()
        for start in range(0, len(items), _CHUNK)
        if (name, start) not in chunks
    ]
    bad: list[str] = []
    progress(finished, total)
    for chunk, problems in _decode_all(_slices(parts, todo, folder), jobs):
        bad += problems
        if not problems:
            record = {**asdict(chunk), "total": list(chunk.total), "squares": list(chunk.squares)}
            journal.append(done, [record])
            chunks[chunk.part, chunk.start] = chunk
        finished += min(_CHUNK, len(parts[chunk.part][0]) - chunk.start)
        progress(finished, total)
    if bad:
        more = f", and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise InputError(
            f"{len(bad)} of {total} images can't be read: {'; '.join(sorted(bad)[:_NAMED])}{more}. "
            "Replace or remove them"
        )
    write_text(folder / "meta.json", json.dumps(_describe(parts, chunks), indent=1) + "\n")
    done.unlink()


def _save_labels(path: Path, items: Items) -> None:
    try:
        np.save(path, items.labels)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    """Make an array file with all of its blocks, so that a full disk is met here and not later."""
    if path.exists():
        return
    need = int(np.prod(shape))
    try:
        free = shutil.disk_usage(path.parent).free
        if free < need:
            raise InputError(
                f"the image cache needs {need / 1e9:.1f} GB in {path.parent.parent}, where "
                f"{free / 1e9:.1f} GB are free; name a larger place with --cache"
            )
        temporary = path.with_suffix(".tmp")
        open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):
            with open(temporary, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, os.path.getsize(temporary))
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


@dataclass(frozen=True, eq=False)
class _Slice:
    """A run of images to be decoded into the rows of an array file that begin at `start`."""

    items: Items
    geometry: Geometry
    file: Path
    part: str
    start: int


def _slices(
    parts: dict[str, tuple[Items, Geometry]], todo: list[tuple[str, int]], folder: Path
) -> list[_Slice]:
    made: list[_Slice] = []
    for name, start in todo:
        items, geometry = parts[name]
        rows = np.arange(start, min(start + _CHUNK, len(items)))
        made.append(_Slice(items.take(rows), geometry, folder / f"{name}.npy", name, start))
    return made


def _decode_all(slices: list[_Slice], jobs: int) -> Iterator[tuple[_Chunk, list[str]]]:
    # What lies in memory is quicker resized here than sent to another process.
    if jobs == 1 or len(slices) <= 1 or any(s.items.pixels is not None for s in slices):
        yield from map(_decode_slice, slices)
        return
    left = {(s.part, s.start): s for s in slices}
    for _ in range(_ROUNDS):
        try:
            for chunk, problems in unordered(_decode_slice, list(left.values()), jobs):
                del left[chunk.part, chunk.start]
                yield chunk, problems
            return
        except TerminatedWorkerError:
            continue
    raise InputError(
        "decoding images: processes are killed again and again; is there too little memory? "
        "The same command goes on where it was"
    )


def _decode_slice(job: _Slice) -> tuple[_Chunk, list[str]]:
    """Decode a run of images into its rows; also return what can't be read."""
    items, geometry, start = job.items, job.geometry, job.start
    rows = np.load(job.file, mmap_mode="r+")
    digest, bad = hashlib.sha256(), []
    inner = slice(geometry.pad, geometry.pad + geometry.crop)
    total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for i, label in enumerate(items.labels):
        if items.pixels is not None:
            record = fit(Image.fromarray(items.pixels[i]), geometry)
            own = hashlib.sha256(np.ascontiguousarray(items.pixels[i]).tobytes()).digest()
        else:
            try:
                record, own = decode_file(os.path.join(items.root, items.files[i]), geometry)
            except ValueError as error:
                bad.append(f"{os.path.join(items.root, items.files[i])} ({error})")
                continue
        digest.update(own + int(label).to_bytes(8, "little"))
        rows[start + i] = record
        pixels = record[inner, inner].astype(np.int64)
        total += pixels.sum((0, 1))
        squares += (pixels * pixels).sum((0, 1))
    rows.flush()
    return _Chunk(
        job.part, start, digest.hexdigest(), tuple(total.tolist()), tuple(squares.tolist())
    ), bad


def _describe(
    parts: dict[str, tuple[Items, Geometry]], chunks: dict[tuple[str, int], _Chunk]
) -> dict[str, Any]:
    content = hashlib.sha256()
    for key in sorted(chunks):
        content.update(bytes.fromhex(chunks[key].digest))
    items, geometry = parts["train"]
    training = [chunk for (part, _), chunk in chunks.items() if part == "train"]
    count = len(items) * geometry.crop**2
    # Whole numbers until here: the order of the chunks can't change the result.
    mean = np.array([sum(c.total[k] for c in training) for k in range(3)]) / count
    square = np.array([sum(c.squares[k] for c in training) for k in range(3)]) / count
    std: NDArray[np.float64] = np.sqrt(np.maximum(square - mean**2, 1.0))
    return {
        "format": _FORMAT,
        "content": content.hexdigest()[:20],
        "train_images": len(items),
        "val_images": len(parts["val"][0]),
        "mean": mean.tolist(),
        "std": std.tolist(),
    }
