"""3x3 convolutions of narrow groups as loops over the pixels, compiled for this CPU by numba.

Libraries compute a group as a small product of matrices, and fill few lanes of a vector register if
a group has 1 to 4 channels. Here the lanes are neighboring values of an image's row, of all
channels, whatever their groups: an output of channel c is a sum over nine taps and over the inputs
of channels c + offset, |offset| < width of a group, and the weights of inputs of other groups are
zero. So 2 * width - 1 products of whole registers stand for each tap. An infinite or NaN value of a
channel therefore spreads to the channels beside it, of other groups too.

Images are (images, height, width * channels), channels last; each is copied into a frame of zeros,
which is the padding. A stride of 2 takes the even columns of the frame, then the odd ones. Weights
are a band: (offsets, taps, lanes), where lane l belongs to channel l modulo channels; `lanes` is
the least common multiple of the channels and `LANES`.

The functions take addresses of float32 values, and are compiled when they are first needed.
"""

import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, cfunc
from numba.types import void, voidptr

from designspace.networks import narrow_group_instructions as instructions
from designspace.networks import numba_loops
from designspace.networks.narrow_group_instructions import (
    BYTES,
    TAPS,
    add_weight_gradients,
    copy,
    write_outputs,
    write_strided_gradients,
)
from designspace.networks.numba_loops import LANES, OPTIONS, loops, with_cache

# Values of pixels of few channels that are copied at once; the channels are a multiple.
COPIED = 4
_Kernel = Callable[[int, int, int, int], None]
# Numba's cache on disk sees changes of this file and of the values that a kernel uses. So each uses
# this one, which changes with the files that it is compiled from besides.
_OTHER_SOURCES = zlib.crc32(
    b"".join(Path(str(module.__file__)).read_bytes() for module in (instructions, numba_loops))
)
_SIGNATURE = void(*[voidptr] * 4)


@loops
def _copy_values(source: int, target: int, count: int) -> None:
    """Copy some bytes; of `LANES` values or more, the last ones overlap those before."""
    if count < BYTES * LANES:
        for i in range(0, count, BYTES * COPIED):
            copy(COPIED, source + i, target + i)
        return
    last = count - BYTES * LANES
    for i in range(0, last, BYTES * LANES):
        copy(LANES, source + i, target + i)
    copy(LANES, source + last, target + last)


@loops
def _frame(image: int, frame: Any, size: Any, stride: int) -> Any:
    """Copy an image into a frame of zeros; return the address of its first row."""
    height, width, channels = size
    pixel, first = BYTES * channels, frame.ctypes.data + BYTES * LANES
    for y in range(height):
        source, target = image + y * width * pixel, first + (y + 1) * (width + 2) * pixel
        if stride == 1:
            _copy_values(source, target + pixel, width * pixel)
        else:
            odd = (width // 2 + 1) * pixel
            for x in range(0, width, 2):
                # Columns x + 1 and x + 2 of the frame.
                _copy_values(source + x * pixel, target + odd + x // 2 * pixel, pixel)
                _copy_values(source + (x + 1) * pixel, target + (x // 2 + 1) * pixel, pixel)
    return first


@loops
def _aligned_zeros(count: int) -> Any:
    """Return zeros that begin a cache line: loads that cross lines take twice as long."""
    values = np.zeros(count + LANES, np.float32)
    first = -(values.ctypes.data // BYTES) % LANES
    return values[first : first + count]


@loops
def _new_frame(size: Any) -> Any:
    height, width, channels = size
    # Offsets of the first and the last row reach out of it.
    return _aligned_zeros((height + 2) * (width + 2) * channels + 2 * LANES)


@loops
def _new_band(group: int, lanes: int) -> Any:
    offsets = 2 * group - 1
    return _aligned_zeros(offsets * TAPS * lanes).reshape(offsets, TAPS, lanes)


@loops
def _band(weights: Any, lanes: int, transposed: bool, flipped: bool) -> Any:
    """Return weights as a band, for inputs by lanes of outputs or, transposed, the reverse."""
    channels, group, _ = weights.shape
    band = _new_band(group, lanes)
    for lane in range(lanes):
        first = lane % channels // group * group
        in_group = lane % channels - first
        for other in range(group):
            for k in range(TAPS):
                tap = TAPS - 1 - k if flipped else k
                if transposed:
                    band[other - in_group + group - 1, tap, lane] = weights[
                        first + other, in_group, k
                    ]
                else:
                    band[other - in_group + group - 1, tap, lane] = weights[
                        first + in_group, other, k
                    ]
    return band


@loops
def _weights_of(band: Any, weights: Any) -> None:
    """Sum a band over the lanes of each channel, and write what belongs to weights."""
    channels, group, _ = weights.shape
    for channel in range(channels):
        in_group = channel % group
        for other in range(group):
            for k in range(TAPS):
                total = np.float32(0)
                for lane in range(channel, band.shape[2], channels):
                    total += band[other - in_group + group - 1, k, lane]
                weights[channel, other, k] = total


@loops
def _join_planes(planes: int, rows: int, width: int, pixel: int) -> None:
    """Write the gradients of two rows of an image from planes of `write_strided_gradients`.

    Args:
        planes: Address of the first of four planes, each of half a row.
        rows: Address of the two rows.
        width: Columns of a plane.
        pixel: Bytes of a column.
    """
    for plane in range(4):
        source = planes + plane * width * pixel
        target = rows + (plane // 2) * 2 * width * pixel + (plane % 2) * pixel
        for x in range(width):
            _copy_values(source + x * pixel, target + 2 * x * pixel, pixel)


@loops
def _byte_strides(width: int, channels: int, stride: int) -> Any:
    """Return bytes between rows of a frame, and from a column to the next and the one after."""
    pixel = BYTES * channels
    if stride == 1:
        return (width + 2) * pixel, pixel, 2 * pixel
    return (width + 2) * pixel, (width // 2 + 1) * pixel, pixel


def _compile(function: _Kernel) -> _Kernel:
    compiled = with_cache(lambda cache: cfunc(_SIGNATURE, cache=cache, **OPTIONS)(function))
    call: _Kernel = compiled.ctypes
    return call


def rows_at_once(height: int) -> int:
    """Return how many rows of outputs to compute together: 4, 2 or 1, a divisor of the height."""
    return next(rows for rows in (4, 2, 1) if height % rows == 0)


@cache
def outputs_kernel(stride: int, rows: int) -> _Kernel:
    """Compile the convolution.

    Args:
        stride: 1, or 2 for images of even height and width.
        rows: A divisor of the outputs' height, as of `rows_at_once`.

    Returns:
        A function of four addresses: images, weights (channels, width of a group, 9), outputs, and
        sizes as six int64: images, their height, width and channels, the width of a group, lanes.
    """
    sources = _OTHER_SOURCES

    def outputs(images_at: Any, weights_at: Any, outputs_at: Any, sizes_at: Any) -> None:
        assert sources
        count, height, width, channels, group, lanes = carray(sizes_at, (6,), np.int64)
        band = _band(carray(weights_at, (channels, group, TAPS), np.float32), lanes, False, False)
        size = (height, width, channels)
        frame = _new_frame(size)
        frame_row, second, third = _byte_strides(width, channels, stride)
        values, tap, offsets = width // stride * channels, BYTES * lanes, 2 * group - 1
        row = BYTES * values
        image = carray(images_at, 1, np.float32).ctypes.data
        output = carray(outputs_at, 1, np.float32).ctypes.data
        for _ in range(count):
            first = _frame(image, frame, size, stride)
            for y in range(0, height // stride, rows):
                for j in range(0, values, LANES):
                    at = first + y * stride * frame_row + BYTES * (j - group + 1)
                    band_at = band.ctypes.data + BYTES * (j % lanes)
                    target = output + y * row + BYTES * j
                    write_outputs(
                        stride,
                        rows,
                        offsets,
                        at,
                        frame_row,
                        second,
                        third,
                        band_at,
                        tap,
                        target,
                        row,
                    )
            image += BYTES * height * width * channels
            output += height // stride * row

    return _compile(outputs)


@cache
def weight_gradients_kernel(stride: int, rows: int) -> _Kernel:
    """Compile the gradients of the weights.

    Args:
        stride: As of `outputs_kernel`.
        rows: As of `outputs_kernel`.

    Returns:
        A function of four addresses: images, gradients of the outputs, gradients of the weights,
        which it writes, and sizes, as of `outputs_kernel`.
    """
    sources = _OTHER_SOURCES

    def weight_gradients(images_at: Any, grads_at: Any, weights_at: Any, sizes_at: Any) -> None:
        assert sources
        count, height, width, channels, group, lanes = carray(sizes_at, (6,), np.int64)
        band, offsets = _new_band(group, lanes), 2 * group - 1
        frame = _new_frame((height, width, channels))
        frame_row, second, third = _byte_strides(width, channels, stride)
        row, tap = BYTES * (width // stride * channels), BYTES * lanes
        image = carray(images_at, 1, np.float32).ctypes.data
        gradient = carray(grads_at, 1, np.float32).ctypes.data
        for _ in range(count):
            first = _frame(image, frame, (height, width, channels), stride)
            for j in range(0, lanes, LANES):
                for d in range(offsets):
                    add_weight_gradients(
                        stride,
                        rows,
                        first + BYTES * (j + d - group + 1),
                        frame_row,
                        second,
                        third,
                        gradient + BYTES * j,
                        row,
                        band.ctypes.data + BYTES * j + d * TAPS * tap,
                        tap,
                        height // stride // rows,
                        row // tap,
                    )
            image += BYTES * height * width * channels
            gradient += height // stride * row
        _weights_of(band, carray(weights_at, (channels, group, TAPS), np.float32))

    return _compile(weight_gradients)


@cache
def image_gradients_kernel(stride: int, rows: int) -> _Kernel:
    """Compile the gradients of the images.

    Args:
        stride: As of `outputs_kernel`.
        rows: A divisor of the images' height for a stride of 1, and 1 for a stride of 2.

    Returns:
        A function of four addresses: gradients of the outputs, weights, gradients of the images,
        which it writes, and sizes, as of `outputs_kernel` but with the outputs' height and width.
    """
    sources = _OTHER_SOURCES

    def image_gradients(grads_at: Any, weights_at: Any, images_at: Any, sizes_at: Any) -> None:
        assert sources
        count, height, width, channels, group, lanes = carray(sizes_at, (6,), np.int64)
        weights = carray(weights_at, (channels, group, TAPS), np.float32)
        band, offsets = _band(weights, lanes, True, stride == 1), 2 * group - 1
        size, values = (height, width, channels), width * channels
        frame, planes = _new_frame(size), _aligned_zeros(4 * values)
        frame_row, pixel, third = _byte_strides(width, channels, 1)
        row, tap = BYTES * values, BYTES * lanes
        gradient = carray(grads_at, 1, np.float32).ctypes.data
        image = carray(images_at, 1, np.float32).ctypes.data
        for _ in range(count):
            first = _frame(gradient, frame, size, 1)
            for y in range(0, height, rows):
                for j in range(0, values, LANES):
                    at = first + y * frame_row + BYTES * (j - group + 1)
                    band_at = band.ctypes.data + BYTES * (j % lanes)
                    if stride == 1:
                        target = image + y * row + BYTES * j
                        write_outputs(
                            1, rows, offsets, at, frame_row, pixel, third, band_at, tap, target, row
                        )
                    else:
                        at += frame_row + pixel
                        target = planes.ctypes.data + BYTES * j
                        write_strided_gradients(
                            offsets, at, frame_row, pixel, band_at, tap, target, row
                        )
                if stride == 2:
                    _join_planes(planes.ctypes.data, image + y * 4 * row, width, pixel)
            gradient += height * row
            image += height * row * stride * stride

    return _compile(image_gradients)
