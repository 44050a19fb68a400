"""Colours of whole batches: jitter, grey and blur, each image with its own numbers.

The operations are torchvision's on floats from 0 to 1, and draw from the same distributions.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from designspace.pretrain.recipe import Augment

# ITU-R 601-2, as PIL and torchvision turn colours to grey.
_LUMA = (0.2989, 0.587, 0.114)
_JITTERS = 4


@dataclass(frozen=True)
class ColourDraw:
    """What is drawn for n images.

    Attributes:
        jitter: Which are jittered, (n,).
        order: Order of brightness, contrast, saturation and hue of each image, (n, 4).
        factors: The four factors of each; the last is the shift of the hue in turns, (n, 4).
        grey: Which become grey, (n,).
        sigma: Standard deviation of the blur in pixels, 0 for none, (n,).
    """

    jitter: Tensor
    order: Tensor
    factors: Tensor
    grey: Tensor
    sigma: Tensor

    def take(self, rows: slice) -> "ColourDraw":
        """Select images."""
        return ColourDraw(
            self.jitter[rows],
            self.order[rows],
            self.factors[rows],
            self.grey[rows],
            self.sigma[rows],
        )


def draw_colours(augment: Augment, n: int, generator: torch.Generator) -> ColourDraw:
    """Draw for n images what the augmentation asks for."""
    uniform = torch.rand(n, _JITTERS, generator=generator)
    order = torch.rand(n, _JITTERS, generator=generator).argsort(dim=1)
    shares = torch.rand(n, 4, generator=generator)
    *strengths, hue = augment.jitter
    # Strengths are at most 1, so that no factor falls below 0.
    low = torch.tensor([*(1 - s for s in strengths), -hue])
    high = torch.tensor([*(1 + s for s in strengths), hue])
    least, most = augment.blur_sigma
    sigma = least + (most - least) * shares[:, 3]
    return ColourDraw(
        jitter=shares[:, 0] < augment.jitter_share,
        order=order,
        factors=low + (high - low) * uniform,
        grey=shares[:, 1] < augment.grey,
        sigma=torch.where(shares[:, 2] < augment.blur, sigma, 0.0),
    )


def colour(images: Tensor, drawn: ColourDraw, augment: Augment) -> Tensor:
    """Jitter, grey and blur images (n, 3, side, side) from 0 to 1, in place where that serves."""
    for place in range(_JITTERS):
        for kind in range(_JITTERS):
            if augment.jitter[kind] == 0:
                continue
            rows = torch.nonzero(drawn.jitter & (drawn.order[:, place] == kind))[:, 0]
            if len(rows):
                there = rows.to(images.device)
                factors = drawn.factors[rows, kind].to(images.device).view(-1, 1, 1)
                images[there] = _JITTER[kind](images[there], factors)
    rows = torch.nonzero(drawn.grey)[:, 0].to(images.device)
    if len(rows):
        images[rows] = grey(images[rows])[:, None]
    rows = torch.nonzero(drawn.sigma > 0)[:, 0]
    if len(rows):
        there = rows.to(images.device)
        images[there] = blur(
            images[there], drawn.sigma[rows].to(images.device), augment.blur_sigma[1]
        )
    return images


def grey(images: Tensor) -> Tensor:
    """Return the brightness of each pixel, (n, side, side)."""
    red, green, blue = images.unbind(1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply by factors (n, 1, 1)."""
    return (images * factors[:, None]).clamp_(0, 1)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Scale distances from the image's mean brightness."""
    mean = grey(images).mean(dim=(1, 2))[:, None, None, None]
    return torch.lerp(mean, images, factors[:, None]).clamp_(0, 1)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Scale distances from each pixel's brightness."""
    return torch.lerp(grey(images)[:, None], images, factors[:, None]).clamp_(0, 1)


def hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Turn the hue by shifts (n, 1, 1), in turns of the colour circle."""
    red, green, blue = images.unbind(1)
    highest, lowest = images.amax(1), images.amin(1)
    chroma = highest - lowest
    safe = torch.where(chroma > 0, chroma, 1.0)
    angle = torch.where(
        highest == red,
        (green - blue) / safe,
        torch.where(highest == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = angle.add_(6 * shifts)
    made = torch.empty_like(images)
    # V - C * clamp(min(k, 4 - k), 0, 1) is the channel of HSV whose hue lies k sixths away; the
    # remainder k of 6 is taken by floor, which is several times as fast.
    for channel, start in enumerate((5.0, 3.0, 1.0)):
        k = turned + start
        k.sub_(torch.floor(k / 6).mul_(6))
        k = torch.minimum(k, 4.0 - k).clamp_(0, 1)
        torch.addcmul(highest, chroma, k, value=-1, out=made[:, channel])
    return made


_JITTER = (brightness, contrast, saturation, hue)


def blur(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Blur with Gaussians of the given deviations (n,), edges repeated as PIL does.

    Args:
        images: (n, 3, side, side).
        sigma: In pixels.
        largest: The largest deviation there may be; taps reach four times as far.
    """
    n, channels, height, width = images.shape
    reach = min(math.ceil(4 * largest), height - 1)
    taps = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = images.reshape(1, n * channels, height, width)
    padded = functional.pad(flat, (reach, reach, reach, reach), mode="replicate")
    across = functional.conv2d(padded, kernel[:, None, None, :], groups=n * channels)
    made = functional.conv2d(across, kernel[:, None, :, None], groups=n * channels)
    return made.view(n, channels, height, width)
