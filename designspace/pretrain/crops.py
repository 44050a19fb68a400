"""Multi-crop on whole batches, on the device that trains.

All that is drawn for an iteration follows from the seed and the iteration's number, for the whole
batch of all processes: a run that goes on, or goes on elsewhere, sees the same crops.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from designspace.pretrain.colour import ColourDraw, colour, draw_colours
from designspace.pretrain.recipe import SwavRecipe
from designspace.training.augment import cut_resized, resized_boxes

# Side from which crops are made one by one on a CPU.
_LARGE = 64


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
        sizes = list(dict.fromkeys(one.size for one in drawn))
        return [self._of_size(records, [one for one in drawn if one.size == s]) for s in sizes]

    def _of_size(self, records: Tensor, drawn: list[CropDraw]) -> Tensor:
        n, size, device = len(records), drawn[0].size, records.device
        mean, std = self._mean.to(device), self._std.to(device)
        shape = (len(drawn) * n, 3, size, size)
        made = torch.empty(shape, device=device, memory_format=torch.channels_last)
        # On a CPU large crops one by one, each of which stays in its cache from first to last.
        few = 1 if device.type == "cpu" and size >= _LARGE else n
        for crop, one in enumerate(drawn):
            for first in range(0, n, few):
                some = one.take(slice(first, first + few))
                images = _cut(records[first : first + few], some)
                colour(images, some.colours, self._augment)
                start = crop * n + first
                made[start : start + few].copy_(images.sub_(mean).div_(std))
        return made


def _cut(records: Tensor, drawn: CropDraw) -> Tensor:
    """Cut and resize crops, (n, 3, size, size) from 0 to 1."""
    if len(records) == 1 and records.device.type == "cpu":
        return cut_one(records[0], drawn.boxes[0], bool(drawn.flips[0]), drawn.size)
    device = records.device
    made = cut_resized(records, drawn.boxes.to(device), drawn.flips.to(device), drawn.size)
    return made.permute(0, 3, 1, 2).contiguous().div_(255)


def cut_one(record: Tensor, box: Tensor, flip: bool, size: int) -> Tensor:
    """Cut and resize one crop as `cut_resized` does, rows first and then columns.

    Two passes over contiguous memory take half the time of picking four neighbours for each pixel.

    Args:
        record: (side, side, 3) uint8, on the CPU.
        box: Row, column, height and width in pixels.
        flip: Whether it is mirrored.
        size: Side of the result.

    Returns:
        (1, 3, size, size) from 0 to 1.
    """
    top, left, height, width = box.tolist()
    part = record[top : top + height, left : left + width].to(torch.float32).div_(255)
    rows = _between(part.reshape(height, width * 3), size, False)
    turned = rows.view(size, width, 3).permute(1, 2, 0).reshape(width, 3 * size)
    columns = _between(turned, size, flip)
    return columns.view(size, 3, size).permute(1, 2, 0).contiguous()[None]


def _between(lines: Tensor, size: int, flip: bool) -> Tensor:
    """Resize (length, n) to (size, n), linear between the centres of lines."""
    length = len(lines)
    places = (torch.arange(size) + 0.5).mul_(length / size).sub_(0.5).clamp_(0, length - 1)
    if flip:
        places = places.flip(0)
    first = places.floor()
    before = first.to(torch.int64)
    after = (before + 1).clamp_(max=length - 1)
    shares = (places - first)[:, None]
    return torch.lerp(lines.index_select(0, before), lines.index_select(0, after), shares)


def epoch_order(images: int, batch: int, seed: int, epoch: int) -> Tensor:
    """Return the rows of each whole batch of an epoch, (iterations, batch)."""
    generator = torch.Generator().manual_seed(mixed_seed(seed, 0, epoch))
    steps = images // batch
    return torch.randperm(images, generator=generator)[: steps * batch].view(steps, batch)


def mixed_seed(*parts: int) -> int:
    """Return one seed that depends on all parts."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
