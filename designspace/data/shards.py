"""Images in tar shards, read by the webdataset library and decoded in loader processes.

An epoch shuffles the shards, and the images within each. The sequence that results is cut into
equal lanes, which are read side by side; a batch takes equally many images from each. All of it
depends on seed and epoch alone, so that any iteration can be resumed: a lane starts in the middle
of a shard, without reading those before. Each image is seen once in an epoch, apart from a
remainder of less than a batch, which differs between epochs.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from designspace.data.decode import Geometry, decode_bytes
from designspace.data.shard_files import (
    check_shards,
    cut_note,
    expand_shards,
    is_image_file,
    is_remote,
    read_again,
    read_failure,
)
from designspace.errors import InputError, printable
from designspace.io.atomic_write import make_folder, write_text

# Lanes of a process: each holds a shard in memory, still encoded.
_MAX_LANES, _ALL_LANES = 8, 16
# A stream is normalized by ImageNet's statistics, as its own are unknown until all of it was read.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_SHARD_STREAM, _IMAGE_STREAM = 0, 1
# Shards of a sample: opening a remote one takes a while.
_SAMPLED_SHARDS = 1024

# Called with the numbers of counted shards and of all shards.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ShardIndex:
    """The shards of a data set.

    Attributes:
        urls: Paths or pipes, in the order of their names.
        counts: Complete images in each.
        cut: Why a shard can't be read to its end, by its path or pipe.
        content: Hash of names, sizes and counts.
        file: Where an earlier call wrote the counts of URLs and pipes, which may have changed
            since; "" if they were counted now.
    """

    urls: tuple[str, ...]
    counts: tuple[int, ...]
    cut: Mapping[str, str]
    content: str
    file: str = ""

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.counts)


def index_shards(
    spec: str, folder: Path, jobs: int = 1, progress: Progress = lambda done, total: None
) -> ShardIndex:
    """Count the images of each shard; the result is kept in a folder.

    Files are counted again when their size or time changes. What URLs and pipes have is not seen
    to change: their counts stay until the file in the folder is removed.

    Args:
        spec: webdataset:PATTERN: shards/{000..049}.tar, shards/*.tar or pipe:COMMAND.
        folder: Of the indices.
        jobs: Shards to count at once; of a local tar file only headers are read.
        progress: Called after each shard.

    Raises:
        InputError: There is no such shard, none has an image, or too many are cut.
    """
    urls = expand_shards(spec)
    stamps = [_stamp(url, spec) for url in urls]
    file = make_folder(folder) / _index_name(urls, stamps)
    kept = _read_index(file, urls)
    index = kept or _count_all(urls, stamps, jobs, progress)
    check_shards(spec, index.images, index.cut, len(urls))
    if kept is None:
        # A shard that failed is kept too: a resumed run, and its other processes, leave it out.
        write_text(file, json.dumps(asdict(index)) + "\n")
    return index


def _index_name(urls: Sequence[str], stamps: Sequence[list[Any]]) -> str:
    """Name of the file that keeps the counts of shards."""
    key = hashlib.sha256(json.dumps([urls, stamps]).encode()).hexdigest()[:20]
    return f"{key}.json"


def _read_index(file: Path, urls: Sequence[str]) -> ShardIndex | None:
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        counts, cut = tuple(map(int, data["counts"])), dict(data["cut"])
        earlier = str(file) if any(map(is_remote, urls)) else ""
        return ShardIndex(tuple(urls), counts, cut, str(data["content"]), earlier)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _stamp(url: str, spec: str) -> list[Any]:
    if is_remote(url):
        return [url]
    try:
        status = os.stat(url)
    except OSError as error:
        raise InputError(f"data is {spec!r}; {url}: {error.strerror}", "data") from None
    return [os.path.basename(url), status.st_size, status.st_mtime_ns]


def _count_all(
    urls: Sequence[str], stamps: Sequence[list[Any]], jobs: int, progress: Progress
) -> ShardIndex:
    counts: list[int] = []
    cut: dict[str, str] = {}
    with ThreadPoolExecutor(jobs) as threads:
        for url, (count, failure) in zip(urls, threads.map(_count, urls), strict=True):
            counts.append(count)
            cut |= {url: failure} if failure else {}
            progress(len(counts), len(urls))
    described = [[*stamp[:2], count] for stamp, count in zip(stamps, counts, strict=True)]
    content = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:20]
    return ShardIndex(tuple(urls), tuple(counts), cut, content)


def _count(url: str) -> tuple[int, str]:
    """Return the complete images of a shard, and why it can't be read to its end, or ""."""
    if is_remote(url) or not url.endswith(".tar"):
        return _count_by_reading(url)
    size, count = os.path.getsize(url), 0
    try:
        with tarfile.open(url, "r:") as archive:
            for member in archive:
                complete = member.offset_data + member.size <= size
                count += complete and _is_image(member)
    except (tarfile.TarError, OSError) as error:
        return count, read_failure(error, url)
    return count, ""


def _count_by_reading(url: str) -> tuple[int, str]:
    """Count the images of a shard without random access."""

    def count() -> tuple[int, str]:
        reader = ShardReader(url)
        return sum(1 for _ in reader), reader.error

    return read_again(url, count)


def _read_rows(
    url: str, rows: set[int], to_end: bool = True
) -> tuple[dict[int, tuple[str, bytes]], str]:
    """Return the images of these rows of a shard, and why it can't be read to its end, or ""."""
    reader = ShardReader(url)
    images: dict[int, tuple[str, bytes]] = {}
    for i, image in enumerate(reader):
        if i in rows:
            images[i] = image
        if not to_end and len(images) == len(rows):
            break
    return images, reader.error


def _has(number: int, images: Mapping[int, object]) -> bool:
    return len(images) == number


def _is_image(member: tarfile.TarInfo) -> bool:
    return member.isreg() and is_image_file(member.name)


class ShardReader:
    """Reads the images of a shard by the webdataset library, in order.

    Attributes:
        error: Why reading ended before the end of the shard, or "".
    """

    def __init__(self, url: str) -> None:
        """Prepare to read a path or a pipe."""
        self._url, self.error = url, ""

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and encoded bytes of each image."""
        from webdataset.tariterators import tar_file_expander, url_opener

        opened = url_opener([{"url": self._url}], handler=self._stop)
        files = tar_file_expander(
            opened, handler=self._stop, select_files=is_image_file, eof_value=None
        )
        for file in files:
            yield file["fname"], file["data"]

    def _stop(self, error: Exception) -> bool:
        self.error = read_failure(error, self._url)
        return False


@dataclass(frozen=True)
class EpochOrder:
    """The order of all images in an epoch.

    Attributes:
        counts: Images in each shard.
        seed: Of the run.
        epoch: From 0.
    """

    counts: tuple[int, ...]
    seed: int
    epoch: int

    @cached_property
    def shards(self) -> NDArray[np.int64]:
        """The shards in order."""
        return self._permutation(len(self.counts), _SHARD_STREAM)

    def rows(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each shard that the images from `start` to `stop` are in, and their rows in it."""
        ends = np.cumsum(np.array(self.counts)[self.shards])
        for k in range(int(np.searchsorted(ends, start, side="right")), len(ends)):
            shard, count = int(self.shards[k]), self.counts[self.shards[k]]
            begin = int(ends[k]) - count
            if begin >= stop:
                return
            order = self._permutation(count, _IMAGE_STREAM, shard)
            yield shard, order[max(start - begin, 0) : stop - begin]

    def _permutation(self, n: int, *stream: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.seed, self.epoch, *stream)).permutation(n)


def lane_count(batch: int, processes: int, shards: int) -> int:
    """Return the lanes of each process: a power of two that divides its part of the batch.

    One, two and four processes share the same 16 lanes, if there are so many shards and the batch
    can be divided: they see the same batches.
    """
    part, lanes = batch // processes, 1
    most = min(shards // processes, max(_MAX_LANES, _ALL_LANES) if processes == 1 else _MAX_LANES)
    most = min(most, max(4, _ALL_LANES // processes))
    while 2 * lanes <= most and part % (2 * lanes) == 0:
        lanes *= 2
    return lanes


# Records, which of them could not be decoded and are black, and why, by name of the image.
_Part = tuple[Tensor, Tensor, dict[str, str]]


class _Lanes(IterableDataset[_Part]):
    """The images that a loader process decodes: for each iteration, those of its lanes."""

    def __init__(
        self,
        index: ShardIndex,
        geometry: Geometry,
        order: EpochOrder,
        steps: range,
        lanes: range,
        size: int,
        per_lane: int,
    ) -> None:
        self._index, self._geometry, self._order = index, geometry, order
        self._steps, self._lanes, self._size, self._per_lane = steps, lanes, size, per_lane

    def __iter__(self) -> Iterator[_Part]:
        """Yield the records of (lanes * size) images."""
        worker = get_worker_info()
        lanes = list(self._lanes)
        if worker is not None:
            share = len(lanes) // worker.num_workers
            lanes = lanes[worker.id * share : (worker.id + 1) * share]
        readers = [self._read(lane) for lane in lanes]
        side, channels = self._geometry.side, self._geometry.channels
        black = np.zeros((side, side, channels), np.uint8)
        for _ in self._steps:
            records: list[NDArray[np.uint8] | None] = []
            problems: dict[str, str] = {}
            try:
                for name, data in (next(reader) for reader in readers for _ in range(self._size)):
                    try:
                        records.append(decode_bytes(data, self._geometry)[0])
                    except ValueError as error:
                        records.append(None)
                        problems[printable(name)] = str(error)
            except InputError as error:  # a loader process would lose its message
                yield torch.empty(0), torch.empty(0), {"": str(error)}
                return
            missing = torch.tensor([record is None for record in records])
            stacked = np.stack([black if record is None else record for record in records])
            yield torch.from_numpy(stacked), missing, problems

    def _read(self, lane: int) -> Iterator[tuple[str, bytes]]:
        start = lane * self._per_lane + self._steps.start * self._size
        for shard, rows in self._order.rows(start, (lane + 1) * self._per_lane):
            url, needed = self._index.urls[shard], set(rows.tolist())
            images, failure = read_again(
                url, partial(_read_rows, url, needed), partial(_has, len(needed))
            )
            if len(images) < len(needed):
                raise InputError(
                    f"data: {url} had {self._index.counts[shard]} images when training began; now "
                    f"some can't be read{': ' if failure else ''}{failure}",
                    "data",
                )
            for row in rows.tolist():
                name, data = images.pop(row)
                yield f"{url}: {name}", data


@dataclass(frozen=True)
class ShardStream:
    """Images that are decoded as they are needed.

    Attributes:
        index: The shards.
        geometry: Of the decoded images.
    """

    index: ShardIndex
    geometry: Geometry

    @property
    def train_images(self) -> int:
        """Number of images."""
        return self.index.images

    @property
    def content(self) -> str:
        """Hash of names, sizes and counts of the shards."""
        return self.index.content

    @property
    def mean(self) -> tuple[float, ...]:
        """ImageNet's mean of each channel; for other channels than RGB, their average."""
        channels = self.geometry.channels
        return _MEAN if channels == 3 else (float(np.mean(_MEAN)),) * channels

    @property
    def std(self) -> tuple[float, ...]:
        """ImageNet's standard deviation of each channel."""
        channels = self.geometry.channels
        return _STD if channels == 3 else (float(np.mean(_STD)),) * channels

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user."""
        index = self.index
        notes = [cut_note(index.cut, len(index.urls))] if index.cut else []
        if index.file:
            notes.append(
                f"the {index.images:,} images in {len(index.urls)} shards were counted earlier; if "
                f"they changed, remove {index.file}"
            )
        return tuple(notes)

    def batches(
        self, batch: int, seed: int, epoch: int, first: int, rank: int, processes: int, workers: int
    ) -> Iterator[tuple[Tensor, dict[str, str]]]:
        """Yield this process's part of each batch of an epoch, without the `first`.

        Args:
            batch: Images of all processes.
            seed: Of the run.
            epoch: From 0.
            first: Batches that were seen before.
            rank: Of this process.
            processes: Their number.
            workers: Loader processes; fewer are used if there are fewer lanes.

        Yields:
            Records (batch / processes, side, side, 3) uint8, and reasons by name of the images that
            could not be decoded; another of this process's part stands in for each.

        Raises:
            InputError: A shard can't be read.
        """
        own = lane_count(batch, processes, len(self.index.urls))
        size = batch // processes // own
        steps = range(first, self.train_images // batch)
        lanes = range(rank * own, (rank + 1) * own)
        order = EpochOrder(self.index.counts, seed, epoch)
        dataset = _Lanes(
            self.index, self.geometry, order, steps, lanes, size, len(range(steps.stop)) * size
        )
        workers = 1 << (max(1, min(workers, own)).bit_length() - 1)
        loader = iter(DataLoader(dataset, batch_size=None, num_workers=workers))
        for _ in steps:
            parts, masks, problems = zip(*(next(loader) for _ in range(workers)), strict=True)
            for part, own_problems in zip(parts, problems, strict=True):
                if not len(part):
                    raise InputError(own_problems[""], "data")
            records, missing = torch.cat(parts), torch.cat(masks)
            if missing.any() and not missing.all():
                records[missing] = records[~missing][0]
            yield records, {k: reason for own in problems for k, reason in own.items()}

    def sample(self, n: int) -> Tensor:
        """Return records of the first n decodable images, (n, side, side, 3); fewer if there are.

        They are taken from all shards or an even choice of them, equally many from each.
        """
        urls, n = self.index.urls, min(n, self.index.images)
        count = min(len(urls), _SAMPLED_SHARDS)
        each = -(-n // count)
        side, channels = self.geometry.side, self.geometry.channels
        records, filled = np.empty((n, side, side, channels), np.uint8), 0
        for url in (urls[i * len(urls) // count] for i in range(count)):
            if filled == n:
                break
            rows = set(range(each))
            images, _ = read_again(
                url, partial(_read_rows, url, rows, to_end=False), partial(_has, each)
            )
            for _, data in images.values():
                if filled == n:
                    break
                try:
                    records[filled] = decode_bytes(data, self.geometry)[0]
                except ValueError:  # named when training reads it
                    continue
                filled += 1
        if not filled:
            raise InputError("data: none of the first images can be decoded", "data")
        return torch.from_numpy(records if filled == n else records[:filled].copy())
