"""Batches of a cache on the training device, in an order that (seed, epoch) decides."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from designspace.data.augmentation import Normalizer, cut, draw
from designspace.data.cache import Cache
from designspace.data.decode import geometries
from designspace.errors import InputError
from designspace.runs import Recipe

# Training images of more bytes than this are read in chunks. The order of the images follows from
# it, so it is a fixed number and not what this machine's memory holds.
LARGE = 4 << 30
# Images side by side that a large data set is read in, and bytes of such chunks in memory at once.
_CHUNK = 32
_WINDOW = 128 << 20
# Images for which random numbers are drawn, and moved to the device, at once.
_GROUP = 8192
# Big enough to be efficient, small enough that activations of a CPU batch stay in its cache.
_VAL_BATCH = {"cpu": 128}
_VAL_BATCH_ELSEWHERE = 512
# A GPU holds data sets of up to this share of its free memory; others may hold theirs beside it.
_HELD_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Arrays:
    """The arrays of a cache: records (n, side, side, 3) uint8, labels (n,) int64 on the device."""

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor


class Batches:
    """The data of a trial."""

    def __init__(
        self,
        cache: Cache,
        recipe: Recipe,
        device: torch.device,
        large: int = LARGE,
        rows: Tensor | None = None,
    ) -> None:
        """Open the cache.

        Args:
            cache: The images.
            recipe: With its resolution resolved.
            device: Where batches are wanted.
            large: Bytes of training images above which they are read in chunks.
            rows: The training images to use, for all of them None; they are copied to memory.
        """
        assert recipe.resolution is not None
        self._recipe = recipe
        self._device = device
        self._side = recipe.resolution
        self._geometry = geometries(recipe)[0]
        self._arrays = open_arrays(cache.path, device)
        self._normalize = Normalizer(cache.mean, cache.std, self._side, device)
        if rows is not None:
            train, labels = self._arrays.train, self._arrays.train_labels
            self._arrays = replace(
                self._arrays,
                train=train[rows.to(train.device)],
                train_labels=labels[rows.to(labels.device)],
            )
        self._batch = min(recipe.batch_size, len(self._arrays.train))
        self._chunked = cache.train_bytes > large
        self._window = max(1, _WINDOW // self._arrays.train[0].nbytes // self._batch) * self._batch

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training images; what is left over waits for another epoch."""
        return len(self._arrays.train) // self._batch

    def epoch(self, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch: images (batch, 3, side, side), labels (batch,)."""
        generator = torch.Generator().manual_seed(_epoch_seed(seed, epoch))
        used = self.steps_per_epoch * self._batch
        order = self._order(generator)[:used]
        for rows, records, places in self._groups(order):
            drawn = draw(self._recipe.augmentation, self._geometry, len(rows), generator)
            drawn = drawn.to(self._device)
            labels = self._arrays.train_labels[rows.to(self._device)]
            for first in range(0, len(rows), self._batch):
                part = slice(first, first + self._batch)
                images = cut(records, places[part], drawn.take(part), self._side)
                yield self._normalize(images), labels[part]

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation images in their order, unaugmented."""
        size = _VAL_BATCH.get(self._device.type, _VAL_BATCH_ELSEWHERE)
        for start in range(0, len(self._arrays.val), size):
            part = slice(start, start + size)
            images = self._arrays.val[part].to(self._device, non_blocking=True)
            yield self._normalize(images), self._arrays.val_labels[part]

    def _order(self, generator: torch.Generator) -> Tensor:
        """Order of the training images: any, or for large data any within windows of any chunks."""
        n = len(self._arrays.train)
        if not self._chunked:
            return torch.randperm(n, generator=generator)
        chunks = torch.randperm(-(-n // _CHUNK), generator=generator)
        rows = (chunks[:, None] * _CHUNK + torch.arange(_CHUNK)).flatten()
        windows = torch.split(rows[rows < n], self._window)
        return torch.cat([w[torch.randperm(len(w), generator=generator)] for w in windows])

    def _groups(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield images to be cut into batches: their rows, records, and places in the records."""
        train = self._arrays.train
        on_cpu = self._device.type == "cpu"
        if train.device.type == self._device.type and not (self._chunked and on_cpu):
            size = max(1, _GROUP // self._batch) * self._batch
            for rows in torch.split(order, size):
                yield rows, train, rows.to(self._device)
            return
        windows = torch.split(order, self._window)
        # A thread reads the next window while this one is trained on.
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, windows[0])
            for i, rows in enumerate(windows):
                records, places = ahead.result()
                if i + 1 < len(windows):
                    ahead = reader.submit(self._read, windows[i + 1])
                yield rows, records, places

    def _read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Read records in the order in which they lie; return them and where each row's is."""
        ascending, by_rank = rows.sort()
        records = self._arrays.train[ascending]
        if self._device.type == "cuda":
            records = records.pin_memory()
        records = records.to(self._device, non_blocking=True)
        return records, by_rank.argsort().to(self._device)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> 1)


@lru_cache(maxsize=1)
def open_arrays(path: Path, device: torch.device) -> Arrays:
    """Open a cache's arrays once a process: in the device's memory, or mapped where they lie."""

    def read(name: str) -> Tensor:
        try:
            # Copy-on-write: torch wants a writable array, the file stays as it is.
            array = np.load(path / f"{name}.npy", mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"the image cache {path} is damaged ({error}); remove it") from None
        return torch.from_numpy(array)

    arrays = Arrays(
        train=read("train"),
        train_labels=read("train_labels").to(device),
        val=read("val"),
        val_labels=read("val_labels").to(device),
    )
    size = arrays.train.nbytes + arrays.val.nbytes
    if device.type == "cpu" or size > _room(device):
        return arrays
    return Arrays(
        arrays.train.to(device), arrays.train_labels, arrays.val.to(device), arrays.val_labels
    )


def _room(device: torch.device) -> float:
    """Bytes of a device that may hold data."""
    if device.type == "cuda":
        return _HELD_SHARE * torch.cuda.mem_get_info(device)[0]
    return _HELD_SHARE * torch.mps.recommended_max_memory()
