"""Augmentation of whole batches on the training device.

Random numbers come from a CPU generator that is passed in, so all devices see the same images;
pixels are processed on the device of the records.
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
    """Random crops and flips of n images.

    Attributes:
        boxes: Row, column, height and width of the crop in pixels, (n, 4) int64.
        flips: Whether the crop is mirrored, (n,) bool, or None for no flips.
        resized: Whether crops are resized to the resolution, or have that size already.
    """

    boxes: Tensor
    flips: Tensor | None
    resized: bool

    def to(self, device: torch.device) -> "Draw":
        """Copy to a device."""
        flips = None if self.flips is None else copy_to_device(self.flips, device)
        return Draw(copy_to_device(self.boxes, device), flips, self.resized)

    def take(self, rows: slice) -> "Draw":
        """Select images."""
        flips = None if self.flips is None else self.flips[rows]
        return Draw(self.boxes[rows], flips, self.resized)


def copy_to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor that may be elsewhere, to a GPU from pinned memory and without waiting."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def concatenate(draws: list[Draw]) -> Draw:
    """Join draws of the same augmentation."""
    flips = [drawn.flips for drawn in draws if drawn.flips is not None]
    boxes = torch.cat([drawn.boxes for drawn in draws])
    return Draw(boxes, torch.cat(flips) if flips else None, draws[0].resized)


def draw(augmentation: str, geometry: Geometry, n: int, generator: torch.Generator) -> Draw:
    """Draw the crops and flips of an augmentation for n images."""
    resized = augmentation == "resized-crop-flip"
    if resized:
        boxes = resized_boxes(geometry.crop, n, generator)
    else:
        shifts = torch.randint(0, 2 * geometry.pad + 1, (n, 2), generator=generator)
        boxes = torch.cat([shifts, torch.full((n, 2), geometry.crop)], dim=1)
    flips = torch.rand(n, generator=generator) < 0.5 if augmentation.endswith("flip") else None
    return Draw(boxes, flips, resized)


def cut(records: Tensor, rows: Tensor, drawn: Draw, side: int) -> Tensor:
    """Crop and flip records.

    Args:
        records: (n, height, width, channels) uint8.
        rows: Indices of records, (batch,).
        drawn: Crop and flip of each of these records.
        side: Side of the result in pixels.

    Returns:
        (batch, side, side, channels), 0 to 255; float32 if crops are resized, else uint8.
    """
    if drawn.resized:
        return cut_resized(records[rows], drawn.boxes, drawn.flips, side).contiguous()
    n, height, width, channels = records.shape
    # A view of all windows of all records; one indexing operation copies the drawn windows.
    windows = records.as_strided(
        (n, height - side + 1, width - side + 1, side, side * channels),
        (height * width * channels, width * channels, channels, width * channels, 1),
    )
    images = windows[rows, drawn.boxes[:, 0], drawn.boxes[:, 1]].view(-1, side, side, channels)
    if drawn.flips is None:
        return images
    if images.device.type == "cpu":
        images[drawn.flips] = images[drawn.flips].flip(2)
        return images
    # Indexing by a mask would synchronise with the device.
    return torch.where(drawn.flips[:, None, None, None], images.flip(2), images)


class Normalizer:
    """Normalizes uint8 images to mean 0 and standard deviation 1 in each channel."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], side: int, device: torch.device
    ) -> None:
        """Prepare for images of a side, with the mean and std of each channel (0 to 255)."""
        stds = torch.tensor(std, dtype=torch.float64)
        shift = -torch.tensor(mean, dtype=torch.float64) / stds
        # One value per element of an image row keeps the inner loop long and contiguous.
        self._scale = (1 / stds).float().repeat(side).to(device)
        self._shift = shift.float().repeat(side).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Map (batch, side, side, n), 0 to 255, to (batch, n, side, side), channels last."""
        batch, side, _, channels = images.shape
        values = images.reshape(batch, side, side * channels).to(torch.float32)
        values = values.mul_(self._scale).add_(self._shift)
        return values.view(batch, side, side, channels).permute(0, 3, 1, 2)


def resized_boxes(
    side: int, n: int, generator: torch.Generator, area: tuple[float, float] = _AREA
) -> Tensor:
    """Draw boxes in a square as torchvision's RandomResizedCrop does, aspect 3/4 to 4/3.

    The first of ten attempts that fits counts; if none does, the whole square.

    Args:
        side: Side of the square in pixels.
        n: Number of boxes.
        generator: Source of the random numbers.
        area: Minimum and maximum fraction of the square's area.

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
    fits = inside.gather(1, first)
    width = torch.where(fits, width.gather(1, first), side)[:, 0]
    height = torch.where(fits, height.gather(1, first), side)[:, 0]
    positions = torch.rand(n, 2, generator=generator)
    top = (positions[:, 0] * (side - height + 1)).floor()
    left = (positions[:, 1] * (side - width + 1)).floor()
    return torch.stack([top, left, height, width], dim=1).to(torch.int64)


def cut_resized(images: Tensor, boxes: Tensor, flips: Tensor | None, side: int) -> Tensor:
    """Crop a box out of each image and resize it, bilinear without antialiasing.

    Pixels outside a box have no influence, as if it were cropped first.

    Args:
        images: (n, whole, whole, channels), 0 to 255.
        boxes: Row, column, height and width, (n, 4).
        flips: Whether each crop is mirrored, (n,), or None.
        side: Side of the result in pixels.

    Returns:
        (n, side, side, channels) float32, a view of channels first.
    """
    whole = images.shape[1]
    top, left, height, width = boxes.to(torch.float32).unbind(1)
    # Pixel centres of the result in coordinates of the box, then from -1 to 1 along the image.
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
    crops = functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return crops.permute(0, 2, 3, 1)
