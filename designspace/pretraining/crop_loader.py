"""The crops of a pretraining; on a GPU they are made an iteration ahead, on a stream of their own.

Meanwhile the training step runs, so that neither reading images nor the launches of several hundred
kernels hold it up.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import torch
from torch import Tensor

from designspace.data.batches import Arrays, open_arrays
from designspace.data.cache import Cache
from designspace.data.encoded_images import MAX_UNDECODABLE
from designspace.data.shards import ShardStream
from designspace.errors import InputError, name_some
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.multicrop import CropMaker, copy_packed, draw_crops, epoch_order
from designspace.pretraining.recipe import SwavRecipe
from designspace.training.devices import available_cores


class CropLoader:
    """Makes this process's crops of each iteration.

    Attributes:
        undecodable: None: a cache holds only images that could be decoded.
    """

    undecodable: dict[str, str] | None = None

    def __init__(
        self,
        recipe: SwavRecipe,
        arrays: Arrays,
        images: Cache,
        seed: int,
        group: ProcessGroupInfo,
    ) -> None:
        """Prepare; everything random depends on the seed and the iteration alone."""
        self._recipe, self._seed, self._device = recipe, seed, group.device
        self._images = arrays.train
        self._maker = CropMaker(recipe, images.mean, images.std, group.device)
        self._slice = group.batch_slice(recipe.batch_size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[Tensor]]:
        """Yield the crops of an epoch's iterations, as from `CropMaker`, without the `first`."""
        order = epoch_order(len(self._images), self._recipe.batch_size, self._seed, epoch)

        def make(step: int) -> list[Tensor]:
            return self._make(order[step], epoch * len(order) + step)

        steps = range(first, len(order))
        if self._device.type == "cuda":
            return make_ahead(make, steps, self._device)
        return map(make, steps)

    def new_undecodable(self) -> dict[str, str]:
        """Return nothing; see `StreamCropLoader`."""
        return {}

    def _make(self, rows: Tensor, iteration: int) -> list[Tensor]:
        recipe = self._recipe
        records = select_images(self._images, rows[self._slice], self._device)
        draws = draw_crops(recipe, records.shape[1], recipe.batch_size, self._seed, iteration)
        return self._maker(records, [draw.take(self._slice) for draw in draws])


def crop_loader(
    recipe: SwavRecipe, images: Cache | ShardStream, seed: int, group: ProcessGroupInfo
) -> "CropLoader | StreamCropLoader":
    """Return the loader of images from a cache, or of images that are streamed."""
    if isinstance(images, Cache):
        return CropLoader(recipe, open_arrays(images.path, group.device), images, seed, group)
    return StreamCropLoader(recipe, images, seed, group)


class StreamCropLoader:
    """Makes this process's crops of each iteration from images that loader processes decode.

    Attributes:
        undecodable: Reasons by name of the images that no process could decode, as of the last
            `new_undecodable`; another of the batch stood in for each.
    """

    undecodable: dict[str, str] | None

    def __init__(
        self,
        recipe: SwavRecipe,
        images: ShardStream,
        seed: int,
        group: ProcessGroupInfo,
    ) -> None:
        """Prepare; everything random depends on the seed and the iteration alone.

        Raises:
            InputError: There are fewer shards than processes.
        """
        shards = len(images.index.urls)
        if shards < group.size:
            raise InputError(
                f"data has fewer shards ({shards}) than processes ({group.size}); each process "
                "needs at least one",
                "data",
            )
        self._recipe, self._images, self._seed, self._group = recipe, images, seed, group
        self._maker = CropMaker(recipe, images.mean, images.std, group.device)
        self._slice = group.batch_slice(recipe.batch_size)
        self._workers = max(1, available_cores() // group.local_size)
        self.undecodable = {}
        self._new: dict[str, str] = {}
        self._guard = Lock()

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[Tensor]]:
        """Yield the crops of an epoch's iterations, as from `CropMaker`, without the `first`.

        Raises:
            InputError: A shard can't be read, or too many images can't be decoded.
        """
        recipe, group = self._recipe, self._group
        per_epoch = self._images.train_images // recipe.batch_size
        batches = self._images.batches(
            recipe.batch_size, self._seed, epoch, first, group.rank, group.size, self._workers
        )

        def make(step: int) -> list[Tensor]:
            records, problems = next(batches)
            self._check(problems)
            (moved,) = copy_packed([records], group.device)
            side, iteration = records.shape[1], epoch * per_epoch + step
            draws = draw_crops(recipe, side, recipe.batch_size, self._seed, iteration)
            return self._maker(moved, [draw.take(self._slice) for draw in draws])

        steps = range(first, per_epoch)
        if group.device.type == "cuda":
            return make_ahead(make, steps, group.device)
        return map(make, steps)

    def new_undecodable(self) -> dict[str, str]:
        """Return what all processes could not decode since the last call; collective.

        Raises:
            InputError: Together they are too many.
        """
        with self._guard:
            own, self._new = self._new, {}
        met: dict[str, str] = {}
        for part in self._group.gather_objects(own):
            met |= part
        earlier = self.undecodable or {}
        new = {name: met[name] for name in sorted(met.keys() - earlier.keys())}
        self.undecodable = earlier | new
        self._check_count(self.undecodable)
        return new

    def _check(self, problems: dict[str, str]) -> None:
        if problems:
            with self._guard:
                self._new |= problems
                self._check_count((self.undecodable or {}) | self._new)

    def _check_count(self, undecodable: dict[str, str]) -> None:
        total = self._images.train_images
        if len(undecodable) > MAX_UNDECODABLE * total:
            raise InputError(
                f"data: more than {MAX_UNDECODABLE:.0%} of {total} images can't be decoded: "
                f"{name_some(undecodable)}. Replace or remove them",
                "data",
            )


def make_ahead(
    make: Callable[[int], list[Tensor]], steps: range, device: torch.device
) -> Iterator[list[Tensor]]:
    """Yield what `make` returns for each step, made in a thread during the step before.

    Args:
        make: Called once per step, in order, in a thread with a CUDA stream of its own.
        steps: The steps.
        device: A CUDA device, whose current stream uses the tensors.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(step: int) -> tuple[list[Tensor], torch.cuda.Event]:
        with torch.cuda.stream(stream):
            tensors = make(step)
            ready: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record(stream)
        return tensors, ready

    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(run, steps[0]) if steps else None
        for step in steps:
            assert ahead is not None
            tensors, ready = ahead.result()
            if step + 1 in steps:
                ahead = thread.submit(run, step + 1)
            current = torch.cuda.current_stream(device)
            current.wait_event(ready)
            for tensor in tensors:  # their memory is reused only after the step
                tensor.record_stream(current)
            yield tensors


def select_images(images: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Return images by row on a device; transfers to a GPU are from pinned memory."""
    if images.device.type == device.type:
        (rows,) = copy_packed([rows], images.device)
        return images[rows]
    (selected,) = copy_packed([images[rows]], device)
    return selected
