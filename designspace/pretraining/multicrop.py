"""Multi-crop on whole batches, on the device that trains.

The random numbers of an iteration depend only on the seed and the iteration, and are drawn for the
whole batch of all processes: a resumed run sees the same crops, on any number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from designspace.data.augmentation import cut_resized, resized_boxes
from designspace.networks import numba_loops
from designspace.pretraining.color_jitter import (
    ColorDraw,
    apply_color_ops,
    color_ops,
    draw_colors,
)
from designspace.pretraining.recipe import SwavRecipe

# Tensors of a packed copy begin at multiples of this many bytes.
_ALIGNMENT = 8


@dataclass(frozen=True)
class CropDraw:
    """Random numbers for one crop of n images: boxes (n, 4) in pixels, flips (n,), colors."""

    size: int
    boxes: Tensor
    flips: Tensor
    colors: ColorDraw

    def take(self, rows: slice | Tensor) -> "CropDraw":
        """Select images."""
        return CropDraw(self.size, self.boxes[rows], self.flips[rows], self.colors.take(rows))


def draw_crops(recipe: SwavRecipe, side: int, n: int, seed: int, iteration: int) -> list[CropDraw]:
    """Draw the crops of n square images of a side for one iteration."""
    generator = torch.Generator().manual_seed(mixed_seed(seed, 1, iteration))
    draws = []
    for group in recipe.crops:
        for _ in range(group.count):
            boxes = resized_boxes(side, n, generator, group.scale)
            flips = torch.rand(n, generator=generator) < recipe.augment.flip
            colors = draw_colors(recipe.augment, n, generator)
            draws.append(CropDraw(group.size, boxes, flips, colors))
    return draws


class CropMaker:
    """Cuts and augments crops."""

    def __init__(
        self,
        recipe: SwavRecipe,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device | None = None,
    ) -> None:
        """Prepare; mean and std of each channel are from 0 to 255, device defaults to the CPU."""
        self._augment, self._device = recipe.augment, device or torch.device("cpu")
        self._mean, self._std = (
            torch.tensor(values, device=self._device).view(-1, 1, 1) / 255 for values in (mean, std)
        )

    def __call__(self, records: Tensor, draws: list[CropDraw]) -> list[Tensor]:
        """Make crops.

        Args:
            records: (n, side, side, channels) uint8, on the device.
            draws: One for each crop.

        Returns:
            One tensor per size, (count * n, channels, size, size) in channels_last, crop after
            crop.
        """
        channels = records.shape[3]
        sizes = list(dict.fromkeys(draw.size for draw in draws))
        crops: list[Tensor] = []
        parts: list[Tensor] = []
        for size in sizes:
            count = sum(draw.size == size for draw in draws)
            shape = (count * len(records), channels, size, size)
            crops.append(torch.empty(shape, device=self._device, memory_format=torch.channels_last))
            parts += torch.split(crops[-1], len(records))
        ordered = sorted(draws, key=lambda draw: sizes.index(draw.size))
        if self._device.type == "cpu" and channels == 3 and numba_loops.available():
            for draw, out in zip(ordered, parts, strict=True):
                self.one_by_one(records, draw, out)
        else:
            self.batched(records, ordered, parts)
        return crops

    def batched(self, records: Tensor, draws: Sequence[CropDraw], outs: Sequence[Tensor]) -> None:
        """Make one crop of all images at a time with torch, into (n, channels, size, size) each.

        All random numbers reach the device in one copy; nothing waits for it.
        """
        channels = records.shape[3]
        ops = [color_ops(draw.colors, self._augment, draw.size, channels) for draw in draws]
        tensors: list[Tensor] = []
        for draw, own in zip(draws, ops, strict=True):
            tensors += [draw.boxes, draw.flips]
            tensors += [tensor for op in own for tensor in (op.rows, op.numbers)]
        moved = iter(copy_packed(tensors, self._device))
        for draw, own, out in zip(draws, ops, outs, strict=True):
            cut = cut_resized(records, next(moved), next(moved), draw.size)
            images = cut.permute(0, 3, 1, 2).contiguous().div_(255)
            apply_color_ops(
                images, [replace(op, rows=next(moved), numbers=next(moved)) for op in own]
            )
            out.copy_(images.sub_(self._mean).div_(self._std))

    def one_by_one(self, records: Tensor, draw: CropDraw, out: Tensor) -> None:
        """Do the same for one crop of RGB images on a CPU, image by image; needs numba."""
        from designspace.pretraining.multicrop_kernels import make_crops

        colors = draw.colors
        make_crops(
            np.ascontiguousarray(records.numpy()),
            draw.boxes.numpy(),
            draw.flips.numpy(),
            colors.jitter.numpy(),
            colors.order.numpy(),
            colors.factors.numpy(),
            np.array(self._augment.jitter, np.float32),
            colors.grey.numpy(),
            colors.sigma.numpy(),
            self._mean.flatten().numpy(),
            self._std.flatten().numpy(),
            out.permute(0, 2, 3, 1).numpy(),
        )


def copy_packed(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Copy CPU tensors to a device in a single transfer, from pinned memory if it is a GPU."""
    if device.type == "cpu":
        return list(tensors)
    flat = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors]
    lengths = [-(-len(part) // _ALIGNMENT) * _ALIGNMENT for part in flat]
    pinned = device.type == "cuda" and torch.cuda.is_available()
    packed = torch.empty(sum(lengths), dtype=torch.uint8, pin_memory=pinned)
    for part, place in zip(flat, torch.split(packed, lengths), strict=True):
        place[: len(part)] = part
    parts = torch.split(packed.to(device, non_blocking=True), lengths)
    return [
        place[: len(part)].view(tensor.dtype).view(tensor.shape)
        for place, part, tensor in zip(parts, flat, tensors, strict=True)
    ]


def epoch_order(images: int, batch: int, seed: int, epoch: int) -> Tensor:
    """Return the image rows of each full batch of an epoch, (iterations, batch)."""
    generator = torch.Generator().manual_seed(mixed_seed(seed, 0, epoch))
    steps = images // batch
    return torch.randperm(images, generator=generator)[: steps * batch].view(steps, batch)


def mixed_seed(*parts: int) -> int:
    """Return a seed that depends on all parts."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
