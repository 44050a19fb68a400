"""The crops of a pretraining; on a GPU they are made an iteration ahead, on a stream of their own.

Meanwhile the training step runs, so that neither reading images nor the launches of several hundred
kernels hold it up.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from designspace.data.batches import Arrays
from designspace.data.cache import Cache
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.multicrop import CropMaker, copy_packed, draw_crops, epoch_order
from designspace.pretraining.recipe import SwavRecipe


class CropLoader:
    """Makes this process's crops of each iteration."""

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

    def _make(self, rows: Tensor, iteration: int) -> list[Tensor]:
        recipe = self._recipe
        records = select_images(self._images, rows[self._slice], self._device)
        draws = draw_crops(recipe, records.shape[1], recipe.batch_size, self._seed, iteration)
        return self._maker(records, [draw.take(self._slice) for draw in draws])


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
