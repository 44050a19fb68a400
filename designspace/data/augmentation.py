"""Augmentation of whole batches on the training device.

What is drawn at random is drawn on the CPU from a generator that is handed in, so that every device
sees the same images; the pixels are moved where the records lie.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from designspace.data.decode import Geometry

_ATTEMPTS = 10
_AREA = (0.08, 1.0)
_LOG_ASPECT = (math.log(3 / 4), math.log(4 / 3))


@dataclass(frozen=True)
class Draw:
    """What is drawn for n images.

    Attributes:
        boxes: Row, column, height and width in pixels of the part that is kept, (n, 4) int64.
        flips: Whether it is mirrored, (n,) bool, or None for no flips at all.
        resized: Whether the part is resized to the resolution, or has its size already.
    """

    boxes: Tensor
    flips: Tensor | None
    resized: bool

    def to(self, device: torch.device) -> "Draw":
        """Move to a device."""
        flips = None if self.flips is None else self.flips.to(device, non_blocking=True)
        return Draw(self.boxes.to(device, non_blocking=True), flips, self.resized)

    def take(self, rows: slice) -> "Draw":
        """Select images."""
        flips = None if self.flips is None else self.flips[rows]
        return Draw(self.boxes[rows], flips, self.resized)


def draw(augmentation: str, geometry: Geometry, n: int, generator: torch.Generator) -> Draw:
    """Draw for n images what the augmentation of a recipe asks for."""
    resized = augmentation == "resized-crop-flip"
    if resized:
        boxes = resized_boxes(geometry.crop, n, generator)
    else:
        shifts = torch.randint(0, 2 * geometry.pad + 1, (n, 2), generator=generator)
        boxes = torch.cat([shifts, torch.full((n, 2), geometry.crop)], dim=1)
    flips = torch.rand(n, generator=generator) < 0.5 if augmentation.endswith("flip") else None
    return Draw(boxes, flips, resized)


def cut(records: Tensor, rows: Tensor, drawn: Draw, side: int) -> Tensor:
    """Cut the drawn parts out of records.

    Args:
        records: (n, height, width, 3) uint8.
        rows: Which records, (batch,).
        drawn: What was drawn for each of them.
        side: Side of the result in pixels.

    Returns:
        (batch, side, side, 3): uint8 where nothing is resized, else float32, both 0 to 255.
    """
    if drawn.resized:
        return cut_resized(records[rows], drawn.boxes, drawn.flips, side).contiguous()
    n, height, width, _ = records.shape
    # Every window of a record as a view; one indexing copies the windows that were drawn.
    windows = records.as_strided(
        (n, height - side + 1, width - side + 1, side, side * 3),
        (height * width * 3, width * 3, 3, width * 3, 1),
    )
    images = windows[rows, drawn.boxes[:, 0], drawn.boxes[:, 1]].view(-1, side, side, 3)
    if drawn.flips is None:
        return images
    if images.device.type == "cpu":
        images[drawn.flips] = images[drawn.flips].flip(2)
        return images
    # A mask as an index would make the processor wait for the device.
    return torch.where(drawn.flips[:, None, None, None], images.flip(2), images)


class Normalizer:
    """Turns uint8 images into what networks see: mean 0, deviation 1 in each channel."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], side: int, device: torch.device
    ) -> None:
        """Prepare for images of a side, with the mean and deviation of each channel (0 to 255)."""
        deviation = torch.tensor(std, dtype=torch.float64)
        shift = -torch.tensor(mean, dtype=torch.float64) / deviation
        # One value for each number of an image's row: the inner loop stays long and contiguous.
        self._scale = (1 / deviation).float().repeat(side).to(device)
        self._shift = shift.float().repeat(side).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Turn (batch, side, side, 3) of 0 to 255 into (batch, 3, side, side), channels last."""
        batch, side = images.shape[0], images.shape[1]
        values = images.reshape(batch, side, side * 3).to(torch.float32)
        values = values.mul_(self._scale).add_(self._shift)
        return values.view(batch, side, side, 3).permute(0, 3, 1, 2)


def resized_boxes(
    side: int, n: int, generator: torch.Generator, area: tuple[float, float] = _AREA
) -> Tensor:
    """Draw boxes in squares as torchvision's RandomResizedCrop does, aspect 3/4 to 4/3.

    Of ten attempts the first that lies inside the square counts; without one, the whole square.

    Args:
        side: Of the square, in pixels.
        n: How many.
        generator: Of the random numbers.
        area: Lowest and highest share of the square.

    Returns:
        Row, column, height and width in pixels, (n, 4) int64.
    """
    low, high = area
    pixels = (low + (high - low) * torch.rand(n, _ATTEMPTS, generator=generator)) * side**2
    low, high = _LOG_ASPECT
    aspect = torch.exp(low + (high - low) * torch.rand(n, _ATTEMPTS, generator=generator))
    width, height = torch.sqrt(pixels * aspect).round(), torch.sqrt(pixels / aspect).round()
    inside = (width >= 1) & (width <= side) & (height >= 1) & (height <= side)
    first = inside.to(torch.int8).argmax(1, keepdim=True)
    found = inside.gather(1, first)
    width = torch.where(found, width.gather(1, first), side)[:, 0]
    height = torch.where(found, height.gather(1, first), side)[:, 0]
    places = torch.rand(n, 2, generator=generator)
    top = (places[:, 0] * (side - height + 1)).floor()
    left = (places[:, 1] * (side - width + 1)).floor()
    return torch.stack([top, left, height, width], dim=1).to(torch.int64)


def cut_resized(images: Tensor, boxes: Tensor, flips: Tensor | None, side: int) -> Tensor:
    """Cut a box out of each image and resize it, bilinear without antialias.

    What lies outside a box plays no part, as if it were cut first.

    Args:
        images: (n, whole, whole, 3), 0 to 255.
        boxes: Row, column, height and width, (n, 4).
        flips: Which are mirrored, (n,), or None.
        side: Side of the result in pixels.

    Returns:
        (n, side, side, 3) float32, a view of channels first.
    """
    whole = images.shape[1]
    top, left, height, width = boxes.to(torch.float32).unbind(1)
    # Centres of the result's pixels, in pixels of the box, then -1 to 1 along the whole image.
    steps = (torch.arange(side, device=images.device, dtype=torch.float32) + 0.5) / side
    y, x = (
        (start[:, None] + (length[:, None] * steps).clamp(min=0.5).minimum(length[:, None] - 0.5))
        * (2 / whole)
        - 1
        for start, length in ((top, height), (left, width))
    )
    if flips is not None:
        x = torch.where(flips[:, None], x.flip(1), x)
    grid = torch.stack(
        [x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=-1
    )
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    made = functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return made.permute(0, 2, 3, 1)
