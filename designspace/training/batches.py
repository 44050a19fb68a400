"""Batches of a cache on the training device, in an order that (seed, epoch) decides."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from designspace.errors import InputError
from designspace.runs import Recipe
from designspace.training.augment import Normalizer, cut, draw
from designspace.training.cache import Cache
from designspace.training.decode import geometries

# Images for which random numbers are drawn, and moved to the device, at once.
_GROUP = 8192
# Big enough to be efficient, small enough that activations of a CPU batch stay in its cache.
_VAL_BATCH = {"cpu": 128}
_VAL_BATCH_ELSEWHERE = 512


@dataclass(frozen=True, eq=False)
class Arrays:
    """The arrays of a cache: records (n, side, side, 3) uint8 and labels (n,) int64."""

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor


class Batches:
    """The data of a trial."""

    def __init__(self, cache: Cache, recipe: Recipe, device: torch.device) -> None:
        """Open the cache on the device, for a recipe with its resolution resolved."""
        assert recipe.resolution is not None
        self._recipe = recipe
        self._device = device
        self._side = recipe.resolution
        self._geometry = geometries(recipe)[0]
        self._arrays = _open(cache.path, device)
        self._normalize = Normalizer(cache.mean, cache.std, self._side, device)
        self._batch = min(recipe.batch_size, cache.train_images)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training images; what is left over waits for another epoch."""
        return len(self._arrays.train) // self._batch

    def epoch(self, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch: images (batch, 3, side, side), labels (batch,)."""
        generator = torch.Generator().manual_seed(_epoch_seed(seed, epoch))
        used = self.steps_per_epoch * self._batch
        order = torch.randperm(len(self._arrays.train), generator=generator)[:used]
        group = max(1, _GROUP // self._batch) * self._batch
        for start in range(0, used, group):
            rows = order[start : start + group].to(self._device)
            drawn = draw(self._recipe.augmentation, self._geometry, len(rows), generator)
            drawn = drawn.to(self._device)
            labels = self._arrays.train_labels[rows]
            for first in range(0, len(rows), self._batch):
                part = slice(first, first + self._batch)
                images = cut(self._arrays.train, rows[part], drawn.take(part), self._side)
                yield self._normalize(images), labels[part]

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation images in their order, unaugmented."""
        size = _VAL_BATCH.get(self._device.type, _VAL_BATCH_ELSEWHERE)
        for start in range(0, len(self._arrays.val), size):
            part = slice(start, start + size)
            yield self._normalize(self._arrays.val[part]), self._arrays.val_labels[part]


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> 1)


@lru_cache(maxsize=1)
def _open(path: Path, device: torch.device) -> Arrays:
    """Open a cache's arrays once a process; the CPU maps them, other devices hold them."""

    def read(name: str) -> Tensor:
        try:
            # Copy-on-write: torch wants a writable array, the file stays as it is.
            array = np.load(path / f"{name}.npy", mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"the image cache {path} is damaged ({error}); remove it") from None
        return torch.from_numpy(array).to(device)

    return Arrays(read("train"), read("train_labels"), read("val"), read("val_labels"))
