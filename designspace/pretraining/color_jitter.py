"""Color jitter, grayscale and blur of whole batches, with random numbers for each image.

The operations are torchvision's on floats from 0 to 1, drawn from the same distributions.
Saturation, hue and grayscale apply to RGB only; the luma of other images is the mean of channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from designspace.pretraining.recipe import Augment

# ITU-R 601-2, as in PIL and torchvision.
_LUMA = (0.2989, 0.587, 0.114)
_JITTERS = 4
# Large enough that its product with any difference of two channels is at least 1; and no chroma.
_HUGE, _TINY = 1e30, 1e-12


@dataclass(frozen=True)
class ColorDraw:
    """Random numbers for n images.

    Attributes:
        jitter: Whether an image is jittered, (n,).
        order: Order of brightness, contrast, saturation and hue, (n, 4).
        factors: Factors of the four; of hue the shift in turns, (n, 4).
        grey: Whether an image becomes grey, (n,).
        sigma: Standard deviation of the blur in pixels, 0 for none, (n,).
    """

    jitter: Tensor
    order: Tensor
    factors: Tensor
    grey: Tensor
    sigma: Tensor

    def take(self, rows: slice | Tensor) -> "ColorDraw":
        """Select images."""
        return ColorDraw(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class ColorOp:
    """An operation on some images of a batch.

    Attributes:
        apply: Changes images in place, given the numbers.
        rows: Which images, int64.
        numbers: One row per image.
    """

    apply: Callable[[Tensor, Tensor], None]
    rows: Tensor
    numbers: Tensor


def draw_colors(augment: Augment, n: int, generator: torch.Generator) -> ColorDraw:
    """Draw the random numbers for n images."""
    uniform = torch.rand(n, _JITTERS, generator=generator)
    order = torch.rand(n, _JITTERS, generator=generator).argsort(dim=1)
    chances = torch.rand(n, 4, generator=generator)
    *strengths, hue = augment.jitter
    # Strengths are at most 1, so factors are at least 0.
    low = torch.tensor([*(1 - s for s in strengths), -hue])
    high = torch.tensor([*(1 + s for s in strengths), hue])
    smallest, largest = augment.blur_sigma
    sigma = smallest + (largest - smallest) * chances[:, 3]
    return ColorDraw(
        jitter=chances[:, 0] < augment.jitter_share,
        order=order,
        factors=low + (high - low) * uniform,
        grey=chances[:, 1] < augment.grey,
        sigma=torch.where(chances[:, 2] < augment.blur, sigma, 0.0),
    )


def color_ops(draw: ColorDraw, augment: Augment, side: int, channels: int = 3) -> list[ColorOp]:
    """Return the operations on images of a side, in order; their tensors are on the CPU."""
    ops = []
    kinds = (brightness, contrast, saturation, hue)[: 4 if channels == 3 else 2]
    for turn in draw.order.unbind(1):
        for kind, apply in enumerate(kinds):
            if augment.jitter[kind]:
                rows = torch.nonzero(draw.jitter & (turn == kind))[:, 0]
                ops.append(ColorOp(apply, rows, draw.factors[rows, kind]))
    if channels == 3:
        rows = torch.nonzero(draw.grey)[:, 0]
        ops.append(ColorOp(to_grey, rows, draw.sigma[rows]))
    rows = torch.nonzero(draw.sigma > 0)[:, 0]
    if len(rows):
        ops.append(ColorOp(blur, rows, blur_weights(draw.sigma[rows], side)))
    return [op for op in ops if len(op.rows)]


def apply_color_ops(images: Tensor, ops: Sequence[ColorOp]) -> None:
    """Change images (n, channels, side, side) from 0 to 1 in place, on the operations' device."""
    for op in ops:
        if len(op.rows) == len(images):
            op.apply(images, op.numbers)
        else:
            part = images[op.rows]
            op.apply(part, op.numbers)
            images[op.rows] = part


def grey(images: Tensor) -> Tensor:
    """Return the luma of RGB images (n, 3, ...), the mean of other channels; (n, ...)."""
    if images.shape[1] != 3:
        return images.mean(1)
    red, green, blue = images.unbind(1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def to_grey(images: Tensor, _: Tensor) -> None:
    """Convert images to grey in place."""
    images.copy_(grey(images)[:, None])


def brightness(images: Tensor, factors: Tensor) -> None:
    """Multiply images by factors in place."""
    images.mul_(_per_image(factors)).clamp_(0, 1)


def contrast(images: Tensor, factors: Tensor) -> None:
    """Scale the distance from each image's mean luma in place."""
    shifts = (1 - factors) * grey(images.mean(dim=(2, 3)))
    images.mul_(_per_image(factors)).add_(_per_image(shifts)).clamp_(0, 1)


def saturation(images: Tensor, factors: Tensor) -> None:
    """Scale the distance from each pixel's luma in place."""
    torch.lerp(grey(images)[:, None], images, _per_image(factors), out=images)
    images.clamp_(0, 1)


def hue(images: Tensor, shifts: Tensor) -> None:
    """Shift the hue in turns of the color circle, in place.

    Selections between channels are written as arithmetic, which is several times faster than masks:
    two swaps bring the largest channel first, each of which reflects the hue (Hocevar 2013).
    """
    red, green, blue = images.unbind(1)
    upper, lower = torch.maximum(green, blue), torch.minimum(green, blue)
    # 1 where green is below blue, where red is below either; else 0.
    first = torch.sub(blue, green).mul_(_HUGE).clamp_(0, 1)
    second = torch.sub(upper, red).mul_(_HUGE).clamp_(0, 1)
    middle = torch.minimum(upper, red)
    highest = torch.maximum(upper, red, out=upper)
    lowest = torch.minimum(lower, middle)
    chroma = highest - lowest
    # In sixths of the circle: |K + (middle - lower) / chroma|, K -6 and -2 after one swap, 4 after
    # both; 0 where there is no chroma.
    angle = middle.sub_(lower).div_(torch.clamp_min(chroma, _TINY, out=lower))
    angle.add_(first, alpha=-6).add_(first.mul_(12).sub_(2).mul_(second)).abs_()
    angle.add_((6 * shifts).view(-1, 1, 1))
    spare = torch.div(angle, 6, out=first).floor_()
    angle.sub_(spare, alpha=6)
    # Each channel of HSV rises from the lowest value to the highest within a sixth, and falls.
    below, above = torch.sub(lowest, chroma, out=second), highest.add_(chroma)
    for channel, start, center, sign in (
        (red, below, 3, 1),
        (green, above, 2, -1),
        (blue, above, 4, -1),
    ):
        torch.sub(angle, center, out=spare).abs_().clamp_(1, 2)
        torch.addcmul(start, chroma, spare, value=sign, out=channel)


def blur_weights(sigma: Tensor, side: int) -> Tensor:
    """Return the weights of Gaussians, (n, taps): the center and one half.

    Each reaches 4 sigma far, but no farther than an image of this side.
    """
    reaches = torch.ceil(4 * sigma).clamp(max=side - 1)
    taps = torch.arange(int(reaches.max()) + 1)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2) * (taps <= reaches[:, None])
    return kernel / (2 * kernel.sum(1, keepdim=True) - kernel[:, :1])


def blur(images: Tensor, weights: Tensor) -> None:
    """Blur images in place; edges are replicated, as in PIL.

    Args:
        images: (n, channels, side, side).
        weights: See `blur_weights`, (n, taps).
    """
    reach = weights.shape[1] - 1
    columns = weights[..., None, None, None].unbind(1)
    source = images
    for dim, sides in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        side = images.shape[dim]
        padded = functional.pad(source, sides, mode="replicate")
        blurred = padded.narrow(dim, reach, side) * columns[0]
        pair = torch.empty_like(blurred)
        for tap in range(1, reach + 1):
            before, after = (padded.narrow(dim, reach + s * tap, side) for s in (-1, 1))
            torch.add(before, after, out=pair)
            blurred.addcmul_(pair, columns[tap])
        source = blurred
    images.copy_(source)


def _per_image(numbers: Tensor) -> Tensor:
    return numbers.view(-1, 1, 1, 1)
