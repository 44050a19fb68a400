"""Colours of whole batches: jitter, grey and blur, each image with its own numbers.

The operations are torchvision's on floats from 0 to 1, and draw from the same distributions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from designspace.pretraining.recipe import Augment

# ITU-R 601-2, as PIL and torchvision turn colours to grey.
_LUMA = (0.2989, 0.587, 0.114)
_JITTERS = 4
# So large that the product with any difference of two channels is at least 1; no chroma at all.
_MANY, _TINY = 1e30, 1e-12


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


def colour(images: Tensor, drawn: ColourDraw, augment: Augment) -> None:
    """Jitter, grey and blur images (n, 3, side, side) from 0 to 1, in place."""
    for place in range(_JITTERS):
        turns = drawn.order[:, place]
        for kind in sorted(set(turns.tolist())):
            if augment.jitter[kind]:
                rows = torch.nonzero(drawn.jitter & (turns == kind))[:, 0]
                _change(images, rows, _JITTER[kind], drawn.factors[rows, kind].to(images.device))
    _change(images, torch.nonzero(drawn.grey)[:, 0], _make_grey)
    rows = torch.nonzero(drawn.sigma > 0)[:, 0]
    _change(images, rows, _make_blurred, drawn.sigma[rows])


def _change(images: Tensor, rows: Tensor, change: Callable[..., None], *numbers: Tensor) -> None:
    """Change some images in place; all of them without being copied."""
    if len(rows) == len(images):
        change(images, *numbers)
    elif len(rows):
        there = rows.to(images.device)
        part = images[there]
        change(part, *numbers)
        images[there] = part


def _make_grey(images: Tensor) -> None:
    images.copy_(grey(images)[:, None])


def _make_blurred(images: Tensor, sigma: Tensor) -> None:
    images.copy_(blur(images, sigma))


def grey(images: Tensor) -> Tensor:
    """Return the brightness of each pixel, (n, side, side)."""
    red, green, blue = images.unbind(1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def brightness(images: Tensor, factors: Tensor) -> None:
    """Multiply images by factors, in place."""
    images.mul_(_wide(factors)).clamp_(0, 1)


def contrast(images: Tensor, factors: Tensor) -> None:
    """Scale distances from each image's mean brightness by factors, in place."""
    means = images.mean(dim=(2, 3))
    shifts = (1 - factors) * (means @ means.new_tensor(_LUMA))
    images.mul_(_wide(factors)).add_(_wide(shifts)).clamp_(0, 1)


def saturation(images: Tensor, factors: Tensor) -> None:
    """Scale distances from each pixel's brightness by factors, in place."""
    torch.lerp(grey(images)[:, None], images, _wide(factors), out=images)
    images.clamp_(0, 1)


def hue(images: Tensor, shifts: Tensor) -> None:
    """Turn the hue by shifts, in turns of the colour circle, in place.

    Choices between channels are written as arithmetic, several times as fast as masks: two swaps
    bring the largest channel first, each of which reflects the hue (Hocevar 2013).
    """
    red, green, blue = images.unbind(1)
    upper, lower = torch.maximum(green, blue), torch.minimum(green, blue)
    # 1 where green is below blue, where red is below either; else 0.
    first = torch.sub(blue, green).mul_(_MANY).clamp_(0, 1)
    second = torch.sub(upper, red).mul_(_MANY).clamp_(0, 1)
    middle = torch.minimum(upper, red)
    highest = torch.maximum(upper, red, out=upper)
    lowest = torch.minimum(lower, middle)
    chroma = highest - lowest
    # In sixths of the circle: |K + (middle - lower) / chroma|, K -6 and -2 after one swap, 4 after
    # both; 0 where there is no chroma.
    angle = middle.sub_(lower).div_(torch.clamp_min(chroma, _TINY, out=lower))
    angle.add_(first, alpha=-6).add_(first.mul_(12).sub_(2).mul_(second)).abs_()
    turns = 6 * shifts
    angle.add_(turns.view(-1, 1, 1))
    spare = torch.div(angle, 6, out=first).floor_()
    angle.sub_(spare, alpha=6)
    # Each channel of HSV rises from the lowest value to the highest within a sixth, and falls.
    below, above = torch.sub(lowest, chroma, out=second), highest.add_(chroma)
    for channel, start, centre, sign in (
        (red, below, 3, 1),
        (green, above, 2, -1),
        (blue, above, 4, -1),
    ):
        torch.sub(angle, centre, out=spare).abs_().clamp_(1, 2)
        torch.addcmul(start, chroma, spare, value=sign, out=channel)


def _wide(numbers: Tensor) -> Tensor:
    """Numbers that stand before images."""
    return numbers.view(-1, 1, 1, 1)


_JITTER = (brightness, contrast, saturation, hue)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur with Gaussians of the given deviations (n,), edges repeated as PIL does.

    Args:
        images: (n, 3, side, side).
        sigma: In pixels, on the CPU; taps reach four times as far, whatever its neighbours' are.
    """
    reaches = torch.ceil(4 * sigma).clamp(max=images.shape[-1] - 1)
    reach = int(reaches.max())
    taps = torch.arange(reach + 1)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2) * (taps <= reaches[:, None])
    kernel /= 2 * kernel.sum(1, keepdim=True) - kernel[:, :1]
    weights = kernel.to(images.device)[..., None, None, None].unbind(1)
    for dim, sides in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        side = images.shape[dim]
        padded = functional.pad(images, sides, mode="replicate")
        made = padded.narrow(dim, reach, side) * weights[0]
        pair = torch.empty_like(made)
        for tap in range(1, reach + 1):
            before, after = (padded.narrow(dim, reach + s * tap, side) for s in (-1, 1))
            torch.add(before, after, out=pair)
            made.addcmul_(pair, weights[tap])
        images = made
    return images
