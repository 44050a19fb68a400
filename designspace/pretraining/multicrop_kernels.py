"""Crops on a CPU: cut, jitter, grey, blur and normalize one image at a time, compiled by numba.

Each crop stays in its core's cache throughout. `CropMaker.batched` computes the same on batches.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.networks.numba_loops import loops

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)
# ITU-R 601-2, as in `color_jitter`.
_RED, _GREEN, _BLUE = np.float32(0.2989), np.float32(0.587), np.float32(0.114)
_LANES = 16
_ZERO, _ONE = np.float32(0), np.float32(1)


@loops
def _clamp(value: Any) -> Any:
    return min(max(value, _ZERO), _ONE)


@loops
def _source_pixels(length: int, size: int, flip: bool) -> Any:
    """The left of the two source pixels around each target pixel, and the weight of the right."""
    before = np.empty(size, np.int64)
    fraction = np.empty(size, np.float32)
    for i in range(size):
        place: Any = (np.float32(i) + np.float32(0.5)) * np.float32(length / size) - np.float32(0.5)
        place = min(max(place, _ZERO), np.float32(length - 1))
        to = size - 1 - i if flip else i
        before[to] = min(int(place), max(length - 2, 0))
        fraction[to] = place - np.float32(before[to])
    return before, fraction


@loops
def _cut(record: Any, box: Any, flip: bool, out: Any) -> None:
    """Cut a box out of a record, (whole, whole * 3), and resize it to (3, size, size).

    Bilinear between pixel centers, as `cut_resized`; rows first.
    """
    size = out.shape[1]
    top, left, height, width = box
    rows, down = _source_pixels(height, size, False)
    columns, along = _source_pixels(width, size, flip)
    line = np.empty(width * 3, np.float32)
    scale = _ONE / np.float32(255)
    step = 3 if width > 1 else 0
    for y in range(size):
        upper, lower = top + rows[y], top + min(rows[y] + 1, height - 1)
        for i in range(width * 3):
            first = np.float32(record[upper, left * 3 + i])
            second = np.float32(record[lower, left * 3 + i])
            line[i] = (first + down[y] * (second - first)) * scale
        for c in range(3):
            for x in range(size):
                first = line[3 * columns[x] + c]
                out[c, y, x] = first + along[x] * (line[3 * columns[x] + c + step] - first)


@loops
def _grey(image: Any, i: int) -> Any:
    return _RED * image[0, i] + _GREEN * image[1, i] + _BLUE * image[2, i]


@loops
def _jitter(image: Any, kind: int, factor: float) -> None:
    """Jitter an image, (3, pixels), in place, as torchvision does on floats."""
    pixels = image.shape[1]
    if kind == _BRIGHTNESS:
        for c in range(3):
            for i in range(pixels):
                image[c, i] = _clamp(image[c, i] * factor)
    elif kind == _CONTRAST:
        # Parallel sums, which fill a vector register.
        sums = np.zeros(_LANES, np.float64)
        for i in range(0, pixels - pixels % _LANES, _LANES):
            for lane in range(_LANES):
                sums[lane] += _grey(image, i + lane)
        total = sums.sum()
        for i in range(pixels - pixels % _LANES, pixels):
            total += _grey(image, i)
        shift = (_ONE - factor) * np.float32(total / pixels)
        for c in range(3):
            for i in range(pixels):
                image[c, i] = _clamp(image[c, i] * factor + shift)
    elif kind == _SATURATION:
        _saturate(image[0], image[1], image[2], factor)
    else:
        _shift_hue(image[0], image[1], image[2], factor)


@loops
def _saturate(reds: Any, greens: Any, blues: Any, factor: float) -> None:
    for i in range(len(reds)):
        red, green, blue = reds[i], greens[i], blues[i]
        grey = _RED * red + _GREEN * green + _BLUE * blue
        reds[i] = _clamp(grey + factor * (red - grey))
        greens[i] = _clamp(grey + factor * (green - grey))
        blues[i] = _clamp(grey + factor * (blue - grey))


@loops
def _descent(k: Any) -> Any:
    """Distance of a channel from the highest, in chromas, at k sixths of the circle."""
    k -= np.float32(6) * np.floor(k * np.float32(1 / 6))
    return max(min(min(k, np.float32(4) - k), _ONE), _ZERO)


@loops
def _shift_hue(reds: Any, greens: Any, blues: Any, shift: float) -> None:
    """Shift the hue by a fraction of the color circle, in place.

    Branch-free HSV to RGB: in sixths of the circle, a channel of a color of hue h is
    highest - chroma * max(min(k, 4 - k, 1), 0) with k = (n + h) mod 6 and n = 5, 3, 1 for red,
    green and blue.
    """
    six = np.float32(6)
    for i in range(len(reds)):
        red, green, blue = reds[i], greens[i], blues[i]
        highest = max(red, max(green, blue))
        chroma = highest - min(red, min(green, blue))
        # Selections instead of branches vectorize.
        unit = _ONE / (chroma if chroma > _ZERO else _ONE)
        from_green = np.float32(2) + (blue - red) * unit
        from_blue = np.float32(4) + (red - green) * unit
        hue = from_green if highest == green else from_blue
        hue = (green - blue) * unit if highest == red else hue
        hue += six * shift
        reds[i] = highest - chroma * _descent(hue + np.float32(5))
        greens[i] = highest - chroma * _descent(hue + np.float32(3))
        blues[i] = highest - chroma * _descent(hue + np.float32(1))


@loops
def _blur(image: Any, sigma: float) -> None:
    """Blur an image, (3, side, side), by a Gaussian in place; edges are replicated.

    Taps reach 4 sigma far, as in `color_jitter.blur`.
    """
    side = image.shape[1]
    reach = min(int(np.ceil(4 * sigma)), side - 1)
    weights = np.empty(reach + 1, np.float32)
    total = 0.0
    for tap in range(reach + 1):
        weight = np.exp(-0.5 * (tap / sigma) ** 2)
        weights[tap] = weight
        total += weight if tap == 0 else 2 * weight
    for tap in range(reach + 1):
        weights[tap] /= np.float32(total)
    down = np.empty((side, side), np.float32)
    line = np.empty(side + 2 * reach, np.float32)
    for c in range(3):
        for y in range(side):
            _add_weighted(down[y], image[c, y], image[c, y], weights[0] / 2, True)
            for tap in range(1, reach + 1):
                above, below = image[c, max(y - tap, 0)], image[c, min(y + tap, side - 1)]
                _add_weighted(down[y], above, below, weights[tap], False)
        for y in range(side):
            for x in range(side + 2 * reach):
                line[x] = down[y, min(max(x - reach, 0), side - 1)]
            middle = line[reach : reach + side]
            _add_weighted(image[c, y], middle, middle, weights[0] / 2, True)
            for tap in range(1, reach + 1):
                before, after = line[reach - tap :], line[reach + tap :]
                _add_weighted(image[c, y], before, after, weights[tap], False)


@loops
def _add_weighted(out: Any, one: Any, other: Any, weight: float, first: bool) -> None:
    """Add the weighted sum of two rows to `out`, or assign it."""
    for x in range(len(out)):
        value = weight * (one[x] + other[x])
        out[x] = value if first else out[x] + value


@loops
def make_crops(
    records: NDArray[np.uint8],
    boxes: NDArray[np.int64],
    flips: NDArray[np.bool_],
    jittered: NDArray[np.bool_],
    order: NDArray[np.int64],
    factors: NDArray[np.float32],
    strengths: NDArray[np.float32],
    grey: NDArray[np.bool_],
    sigmas: NDArray[np.float32],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Make one crop of each of n images.

    Args:
        records: (n, whole, whole, 3).
        boxes: Row, column, height and width in pixels, (n, 4).
        flips: Whether to flip horizontally, (n,).
        jittered: Whether to jitter, (n,).
        order: Order of brightness, contrast, saturation and hue, (n, 4).
        factors: Their factors; of hue the shift in turns, (n, 4).
        strengths: Of the four; 0 disables one, (4,).
        grey: Whether to convert to grey, (n,).
        sigmas: Std of the blur in pixels, 0 for none, (n,).
        mean: Of each channel, 0 to 1, (3,).
        std: Likewise.
        out: Result, (n, size, size, 3).
    """
    size = out.shape[1]
    image = np.empty((3, size, size), np.float32)
    flat = image.reshape(3, size * size)
    lines = records.reshape(len(records), records.shape[1], -1)
    for n in range(len(records)):
        _cut(lines[n], boxes[n], flips[n], image)
        if jittered[n]:
            for place in range(4):
                kind = order[n, place]
                if strengths[kind] > 0:
                    _jitter(flat, kind, factors[n, kind])
        if grey[n]:
            for i in range(size * size):
                value = _grey(flat, i)
                flat[0, i] = value
                flat[1, i] = value
                flat[2, i] = value
        if sigmas[n] > 0:
            _blur(image, sigmas[n])
        for y in range(size):
            for x in range(size):
                for c in range(3):
                    out[n, y, x, c] = (image[c, y, x] - mean[c]) / std[c]
