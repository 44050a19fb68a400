"""Crops on a CPU: cut, jitter, grey, blur and normalise image after image, compiled by numba.

Each crop stays in the cache of its core from first to last, and no pixel is read that a later step
would read again. What it computes is `crops.CropMaker.batched`, its twin on whole batches.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.networks.numba_loops import loops

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)
# ITU-R 601-2, as in `colour`.
_RED, _GREEN, _BLUE = np.float32(0.2989), np.float32(0.587), np.float32(0.114)
_LANES = 16
_ZERO, _ONE = np.float32(0), np.float32(1)


@loops
def _clamped(value: Any) -> Any:
    return min(max(value, _ZERO), _ONE)


@loops
def _places(length: int, size: int, flip: bool) -> Any:
    """Which two of `length` pixels each of `size` lies between, and how far along."""
    before = np.empty(size, np.int64)
    share = np.empty(size, np.float32)
    for i in range(size):
        place: Any = (np.float32(i) + np.float32(0.5)) * np.float32(length / size) - np.float32(0.5)
        place = min(max(place, _ZERO), np.float32(length - 1))
        to = size - 1 - i if flip else i
        before[to] = min(int(place), max(length - 2, 0))
        share[to] = place - np.float32(before[to])
    return before, share


@loops
def _cut(record: Any, box: Any, flip: bool, made: Any) -> None:
    """Cut a box out of a record, (whole, whole * 3), and resize it to (3, size, size).

    Linear between the centres of pixels, as `training.augment.cut_resized`; rows first.
    """
    size = made.shape[1]
    top, left, height, width = box
    rows, down = _places(height, size, False)
    columns, along = _places(width, size, flip)
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
                made[c, y, x] = first + along[x] * (line[3 * columns[x] + c + step] - first)


@loops
def _grey(image: Any, i: int) -> Any:
    return _RED * image[0, i] + _GREEN * image[1, i] + _BLUE * image[2, i]


@loops
def _jitter(image: Any, kind: int, factor: float) -> None:
    """Change the colours of an image, (3, pixels), in place, as torchvision does on floats."""
    pixels = image.shape[1]
    if kind == _BRIGHTNESS:
        for c in range(3):
            for i in range(pixels):
                image[c, i] = _clamped(image[c, i] * factor)
    elif kind == _CONTRAST:
        # Sums side by side, which fill a vector.
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
                image[c, i] = _clamped(image[c, i] * factor + shift)
    elif kind == _SATURATION:
        _saturate(image[0], image[1], image[2], factor)
    else:
        _turn_hue(image[0], image[1], image[2], factor)


@loops
def _saturate(reds: Any, greens: Any, blues: Any, factor: float) -> None:
    for i in range(len(reds)):
        red, green, blue = reds[i], greens[i], blues[i]
        grey = _RED * red + _GREEN * green + _BLUE * blue
        reds[i] = _clamped(grey + factor * (red - grey))
        greens[i] = _clamped(grey + factor * (green - grey))
        blues[i] = _clamped(grey + factor * (blue - grey))


@loops
def _fall(k: Any) -> Any:
    """How far below the highest a channel lies, in chromas, k sixths round the circle."""
    k -= np.float32(6) * np.floor(k * np.float32(1 / 6))
    return max(min(min(k, np.float32(4) - k), _ONE), _ZERO)


@loops
def _turn_hue(reds: Any, greens: Any, blues: Any, shift: float) -> None:
    """Turn the hue by a share of the colour circle, in place.

    In sixths of the circle, channel c of a colour of hue h is highest - chroma * (k, 4 - k or 1,
    whichever is least, but at least 0), with k = (n + h) mod 6 and n = 5, 3, 1 for red, green and
    blue: HSV to RGB without cases.
    """
    six = np.float32(6)
    for i in range(len(reds)):
        red, green, blue = reds[i], greens[i], blues[i]
        highest = max(red, max(green, blue))
        chroma = highest - min(red, min(green, blue))
        # No cases but choices between values, so that many pixels are turned at once.
        unit = _ONE / (chroma if chroma > _ZERO else _ONE)
        from_green = np.float32(2) + (blue - red) * unit
        from_blue = np.float32(4) + (red - green) * unit
        hue = from_green if highest == green else from_blue
        hue = (green - blue) * unit if highest == red else hue
        hue += six * shift
        reds[i] = highest - chroma * _fall(hue + np.float32(5))
        greens[i] = highest - chroma * _fall(hue + np.float32(3))
        blues[i] = highest - chroma * _fall(hue + np.float32(1))


@loops
def _blur(image: Any, sigma: float) -> None:
    """Blur an image, (3, side, side), by a Gaussian, in place; edges are repeated.

    Taps reach four deviations far, as in `colour.blur`.
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
            _weighted(down[y], image[c, y], image[c, y], weights[0] / 2, True)
            for tap in range(1, reach + 1):
                above, below = image[c, max(y - tap, 0)], image[c, min(y + tap, side - 1)]
                _weighted(down[y], above, below, weights[tap], False)
        for y in range(side):
            for x in range(side + 2 * reach):
                line[x] = down[y, min(max(x - reach, 0), side - 1)]
            middle = line[reach : reach + side]
            _weighted(image[c, y], middle, middle, weights[0] / 2, True)
            for tap in range(1, reach + 1):
                before, after = line[reach - tap :], line[reach + tap :]
                _weighted(image[c, y], before, after, weights[tap], False)


@loops
def _weighted(made: Any, one: Any, other: Any, weight: float, first: bool) -> None:
    """Add the weighted sum of two lines, or begin with it."""
    for x in range(len(made)):
        value = weight * (one[x] + other[x])
        made[x] = value if first else made[x] + value


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
    made: NDArray[np.float32],
) -> None:
    """Make one crop of each of n images.

    Args:
        records: (n, whole, whole, 3).
        boxes: Row, column, height and width in pixels, (n, 4).
        flips: Which are mirrored, (n,).
        jittered: Whose colours change, (n,).
        order: Order of brightness, contrast, saturation and hue, (n, 4).
        factors: Their factors, and the shift of the hue in turns, (n, 4).
        strengths: Of the four; what has none is left alone, (4,).
        grey: Which become grey, (n,).
        sigmas: Deviation of the blur in pixels, 0 for none, (n,).
        mean: Of each channel, 0 to 1, (3,).
        std: Likewise.
        made: Written, (n, size, size, 3).
    """
    size = made.shape[1]
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
                    made[n, y, x, c] = (image[c, y, x] - mean[c]) / std[c]
