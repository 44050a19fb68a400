"""Batches of cached images on the training device, in an order given by (seed, epoch)."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from designspace.data.augmentation import (
    Draw,
    Normalizer,
    concatenate,
    copy_to_device,
    cut,
    draw,
)
from designspace.data.cache import LARGE, Cache
from designspace.data.decode import geometries
from designspace.errors import InputError
from designspace.runs import Recipe

# Adjacent images of a large data set that are read together, and bytes of chunks in memory at once.
_CHUNK = 32
_WINDOW = 128 << 20
# Images for which random numbers are drawn and copied to the device together.
_GROUP = 8192
# On a CPU, small enough that activations fit in its cache.
_VAL_BATCH_CPU, _VAL_BATCH_GPU = 128, 512
# A data set is copied to the device if it fits in this fraction of the free memory, as other
# processes may hold theirs beside it.
_MEMORY_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class Arrays:
    """A cache: records (n, side, side, channels) uint8, and labels (n,) int64 on the device."""

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor


_OPENING = threading.Lock()
_IN_USE: WeakValueDictionary[tuple[Path, torch.device], Arrays] = WeakValueDictionary()
_LAST: deque[Arrays] = deque(maxlen=1)


class Batches:
    """Training and validation batches of a trial."""

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
            recipe: A recipe with its resolution filled in.
            device: Device of the batches.
            large: Bytes of training images above which they are read in chunks.
            rows: Indices of the training images to use, ascending; None for all. They are copied to
                memory unless they are large.
        """
        assert recipe.resolution is not None
        self._recipe = recipe
        self._device = device
        self._side = recipe.resolution
        self._geometry = geometries(recipe)[0]
        self._arrays = open_arrays(cache.path, device)
        self._normalize = Normalizer(cache.mean, cache.std, self._side, device)
        self._rows: Tensor | None = None
        train, labels = self._arrays.train, self._arrays.train_labels
        if rows is not None and len(rows) * train[0].nbytes > large:
            self._rows = rows.cpu()
        elif rows is not None:
            self._arrays = replace(
                self._arrays,
                train=train[rows.to(train.device)],
                train_labels=labels[rows.to(labels.device)],
            )
        self._batch = min(recipe.batch_size, self._size)
        self._chunked = cache.train_bytes > large
        self._window = max(1, _WINDOW // self._arrays.train[0].nbytes // self._batch) * self._batch

    @property
    def _size(self) -> int:
        """Number of training images in use."""
        return len(self._arrays.train if self._rows is None else self._rows)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches per epoch; a remainder is left out, and differs between epochs."""
        return self._size // self._batch

    def epoch(self, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch: images (batch, channels, side, side), labels (batch,)."""
        order, groups = self._begin(seed, epoch)
        records = self._records(order)
        for rows, draws in groups:
            drawn = draws.to(self._device)
            labels = self._arrays.train_labels[self._to_device(rows)]
            for first in range(0, len(rows), self._batch):
                part = slice(first, first + self._batch)
                images = cut(*next(records), drawn.take(part), self._side)
                yield self._normalize(images), labels[part]

    @property
    def batch_size(self) -> int:
        """Images per training step: the recipe's, or all if there are fewer."""
        return self._batch

    @property
    def resident(self) -> bool:
        """Whether all images lie on the training device, in memory."""
        arrays = (self._arrays.train, self._arrays.val)
        return not self._chunked and all(a.device.type == self._device.type for a in arrays)

    def draw_epoch(self, seed: int, epoch: int) -> tuple[Tensor, Draw]:
        """Return the rows (n,) and draws of a whole epoch on the CPU, equal to those of `epoch`."""
        order, groups = self._begin(seed, epoch)
        return order, concatenate([draws for _, draws in groups])

    def take(self, rows: Tensor, drawn: Draw) -> tuple[Tensor, Tensor]:
        """Return training images (batch, 3, side, side) and labels of rows on the device."""
        images = cut(self._arrays.train, rows, drawn, self._side)
        return self._normalize(images), self._arrays.train_labels[rows]

    def take_validation(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return validation images (batch, 3, side, side) and labels of rows on the device."""
        return self._normalize(self._arrays.val[rows]), self._arrays.val_labels[rows]

    @property
    def validation_size(self) -> int:
        """Number of validation images."""
        return len(self._arrays.val)

    @property
    def validation_batch(self) -> int:
        """Images per step of validation; on a GPU, as equal parts of all as possible."""
        if self._device.type == "cpu":
            return _VAL_BATCH_CPU
        n = len(self._arrays.val)
        return -(-n // -(-n // _VAL_BATCH_GPU))

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation images in order, without augmentation.

        On a GPU all batches have one shape, as cuDNN would search algorithms for another one: the
        last is filled up with images of label -1.
        """
        size = self.validation_batch
        for start in range(0, len(self._arrays.val), size):
            part = slice(start, start + size)
            images, labels = self._arrays.val[part], self._arrays.val_labels[part]
            missing = size - len(images)
            if missing and self._device.type != "cpu":
                images = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)])
                labels = functional.pad(labels, (0, missing), value=-1)
            yield self._normalize(self._to_device(images)), labels

    def _begin(self, seed: int, epoch: int) -> tuple[Tensor, Iterator[tuple[Tensor, Draw]]]:
        """Return the rows of an epoch, and its groups of rows, each with its draws, on the CPU.

        The groups, and so the draws, are the same wherever the images lie.
        """
        generator = torch.Generator().manual_seed(_epoch_seed(seed, epoch))
        order = self._order(generator)[: self.steps_per_epoch * self._batch]
        groups = (
            (rows, draw(self._recipe.augmentation, self._geometry, len(rows), generator))
            for rows in self._groups(order)
        )
        return order, groups

    def _groups(self, order: Tensor) -> tuple[Tensor, ...]:
        """Split the rows of an epoch into groups of whole batches."""
        return torch.split(order, max(1, _GROUP // self._batch) * self._batch)

    def _order(self, generator: torch.Generator) -> Tensor:
        """Return the training images in random order."""
        order = self._positions(generator)
        return order if self._rows is None else self._rows[order]

    def _positions(self, generator: torch.Generator) -> Tensor:
        """Return a random order; of large data, shuffled chunks and then images within windows."""
        n = self._size
        if not self._chunked:
            return torch.randperm(n, generator=generator)
        chunks = torch.randperm(-(-n // _CHUNK), generator=generator)
        rows = (chunks[:, None] * _CHUNK + torch.arange(_CHUNK)).flatten()
        windows = torch.split(rows[rows < n], self._window)
        return torch.cat([w[torch.randperm(len(w), generator=generator)] for w in windows])

    @property
    def _streamed(self) -> bool:
        """Whether images are read in windows, as they are elsewhere or fill the memory."""
        train = self._arrays.train
        on_cpu = self._device.type == "cpu"
        return train.device.type != self._device.type or (self._chunked and on_cpu)

    def _records(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield records and the positions of each batch in them."""
        if not self._streamed:
            for rows in self._groups(order):
                for positions in torch.split(self._to_device(rows), self._batch):
                    yield self._arrays.train, positions
            return
        windows = torch.split(order, self._window)
        stream = torch.cuda.current_stream(self._device) if self._device.type == "cuda" else None
        # A thread reads the next window during training on this one.
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, windows[0], stream)
            for i in range(len(windows)):
                records, where = ahead.result()
                if i + 1 < len(windows):
                    ahead = reader.submit(self._read, windows[i + 1], stream)
                for positions in torch.split(where, self._batch):
                    yield records, positions

    def _read(self, rows: Tensor, stream: torch.cuda.Stream | None) -> tuple[Tensor, Tensor]:
        """Read records in ascending order; return them and the position of each row.

        Training on the stream waits for the copies to the device.
        """
        ascending, by_rank = rows.sort()
        records = self._arrays.train[ascending]
        with torch.cuda.stream(stream):  # None changes nothing
            return self._to_device(records), self._to_device(by_rank.argsort())

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Copy a tensor that may be elsewhere, to a GPU from pinned memory and without waiting."""
        return copy_to_device(tensor, self._device)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> 1)


def open_arrays(path: Path, device: torch.device) -> Arrays:
    """Open a cache's arrays, on the device if they fit, else memory-mapped.

    A process holds one copy of those in use, and of the last ones, which the next model may need.
    """
    with _OPENING:  # a GPU's process trains several models in threads
        arrays = _IN_USE.get((path, device))
        if arrays is None:
            _LAST.clear()  # before memory is taken for others
            arrays = _IN_USE[path, device] = _open_arrays(path, device)
        _LAST.append(arrays)
        return arrays


def _open_arrays(path: Path, device: torch.device) -> Arrays:
    def read(name: str) -> Tensor:
        try:
            # Copy-on-write: torch needs a writable array, and the file stays unchanged.
            array = np.load(path / f"{name}.npy", mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"the image cache {path} is damaged ({error}); remove it") from None
        return torch.from_numpy(array)

    arrays = Arrays(
        train=read("train"),
        train_labels=read("train_labels").to(device),
        val=read("val"),
        val_labels=read("val_labels").to(device),
    )
    size = arrays.train.nbytes + arrays.val.nbytes
    if device.type == "cpu" or size > _memory_budget(device):
        return arrays
    train, val = arrays.train.to(device), arrays.val.to(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # other threads read them on streams of their own
    return Arrays(train, arrays.train_labels, val, arrays.val_labels)


def _memory_budget(device: torch.device) -> float:
    """Return the bytes of device memory that data may take."""
    if device.type == "cuda":
        return _MEMORY_FRACTION * torch.cuda.mem_get_info(device)[0]
    return _MEMORY_FRACTION * torch.mps.recommended_max_memory()
