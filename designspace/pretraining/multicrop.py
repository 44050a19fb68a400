"""Multi-crop on whole batches, on the device that trains.

All that is drawn for an iteration follows from the seed and the iteration's number, for the whole
batch of all processes: a run that goes on, or goes on elsewhere, sees the same crops.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from designspace.data.augmentation import cut_resized, resized_boxes
from designspace.networks import numba_loops
from designspace.pretraining.color_jitter import ColourDraw, colour, draw_colours
from designspace.pretraining.recipe import SwavRecipe


@dataclass(frozen=True)
class CropDraw:
    """What is drawn for one crop of n images: boxes (n, 4) in pixels, flips (n,), colours."""

    size: int
    boxes: Tensor
    flips: Tensor
    colours: ColourDraw

    def take(self, rows: slice) -> "CropDraw":
        """Select images."""
        return CropDraw(self.size, self.boxes[rows], self.flips[rows], self.colours.take(rows))


def draw_crops(recipe: SwavRecipe, side: int, n: int, seed: int, iteration: int) -> list[CropDraw]:
    """Draw the crops of n images, square records of a side, for one iteration."""
    generator = torch.Generator().manual_seed(mixed_seed(seed, 1, iteration))
    drawn = []
    for group in recipe.crops:
        for _ in range(group.count):
            boxes = resized_boxes(side, n, generator, group.scale)
            flips = torch.rand(n, generator=generator) < recipe.augment.flip
            colours = draw_colours(recipe.augment, n, generator)
            drawn.append(CropDraw(group.size, boxes, flips, colours))
    return drawn


class CropMaker:
    """Turns records and draws into what the trunk sees."""

    def __init__(self, recipe: SwavRecipe, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Prepare, with the mean and deviation of each channel, 0 to 255."""
        self._augment = recipe.augment
        self._mean = torch.tensor(mean).view(3, 1, 1) / 255
        self._std = torch.tensor(std).view(3, 1, 1) / 255

    def __call__(self, records: Tensor, drawn: list[CropDraw]) -> list[Tensor]:
        """Cut and colour the crops.

        Args:
            records: (n, side, side, 3) uint8, on the device.
            drawn: What was drawn for each crop.

        Returns:
            One tensor a size, (count * n, 3, size, size), channels last: crop after crop.
        """
        compiled = records.device.type == "cpu" and numba_loops.available()
        make = self.one_by_one if compiled else self.batched
        made = []
        for size in dict.fromkeys(one.size for one in drawn):
            alike = [one for one in drawn if one.size == size]
            shape = (len(alike) * len(records), 3, size, size)
            crops = torch.empty(shape, device=records.device, memory_format=torch.channels_last)
            for part, one in zip(torch.split(crops, len(records)), alike, strict=True):
                make(records, one, part)
            made.append(crops)
        return made

    def batched(self, records: Tensor, drawn: CropDraw, made: Tensor) -> None:
        """Make one crop of all images at once, by torch, into (n, 3, size, size)."""
        device = records.device
        boxes, flips = drawn.boxes.to(device), drawn.flips.to(device)
        cut = cut_resized(records, boxes, flips, drawn.size)
        images = cut.permute(0, 3, 1, 2).contiguous().div_(255)
        colour(images, drawn.colours, self._augment)
        made.copy_(images.sub_(self._mean.to(device)).div_(self._std.to(device)))

    def one_by_one(self, records: Tensor, drawn: CropDraw, made: Tensor) -> None:
        """Make the same on a CPU, image after image, by compiled loops; needs numba."""
        from designspace.pretraining.multicrop_kernels import make_crops

        colours = drawn.colours
        make_crops(
            np.ascontiguousarray(records.numpy()),
            drawn.boxes.numpy(),
            drawn.flips.numpy(),
            colours.jitter.numpy(),
            colours.order.numpy(),
            colours.factors.numpy(),
            np.array(self._augment.jitter, np.float32),
            colours.grey.numpy(),
            colours.sigma.numpy(),
            self._mean.flatten().numpy(),
            self._std.flatten().numpy(),
            made.permute(0, 2, 3, 1).numpy(),
        )


def epoch_order(images: int, batch: int, seed: int, epoch: int) -> Tensor:
    """Return the rows of each whole batch of an epoch, (iterations, batch)."""
    generator = torch.Generator().manual_seed(mixed_seed(seed, 0, epoch))
    steps = images // batch
    return torch.randperm(images, generator=generator)[: steps * batch].view(steps, batch)


def mixed_seed(*parts: int) -> int:
    """Return one seed that depends on all parts."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
