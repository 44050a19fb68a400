"""BatchNorm, the residual sum and ReLU as loops over the pixels, compiled for this CPU by numba.

torch takes each of the three, forward and backward, over the pixels several times, and vectorises
over channels: with the 2 to 64 of small images most of its time goes into loops that are too
short. Here pixels that lie side by side are folded into columns (8 pixels of 12 channels are one
row of 96 columns), and each direction reads them as seldom as the formulas allow.

The functions take addresses of float32 values, which costs a call far less than arrays do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, cfunc
from numba.types import boolean, float64, intp, void, voidptr

from designspace.networks.numba_loops import OPTIONS, loops, with_cache

_Kernel = Callable[..., None]


def _compiled(*arguments: Any) -> Callable[[_Kernel], _Kernel]:
    def compile_one(function: _Kernel) -> _Kernel:
        compiled = with_cache(
            lambda cache: cfunc(void(*arguments), cache=cache, **OPTIONS)(function)
        )
        call: _Kernel = compiled.ctypes
        return call

    return compile_one


@loops
def _moments(rows: Any) -> Any:
    """Sums of the values of each column and of their squares, around the first row.

    Its values are as near to the mean as any, so that little is lost where squares are subtracted.
    """
    count, columns = rows.shape
    centre = rows[0]
    sums, squares = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    pairs = count - count % 2
    for i in range(0, pairs, 2):
        for j in range(columns):
            first, second = rows[i, j] - centre[j], rows[i + 1, j] - centre[j]
            sums[j] += first + second
            squares[j] += first * first + second * second
    for i in range(pairs, count):
        for j in range(columns):
            first = rows[i, j] - centre[j]
            sums[j] += first
            squares[j] += first * first
    return centre, sums, squares


@loops
def _masked_sums(
    slopes: Any,
    rows: Any,
    made: Any,
    scale: Any,
    shift: Any,
    centre: Any,
    on_identity: Any,
    kind: Any,
) -> Any:
    """Sums over each column of the slopes of what went into the ReLU, and of their products with
    the values around the mean; those slopes are written where an identity was added.
    """
    count, columns = rows.shape
    add, relu = kind
    zero = np.float32(0)
    sums, products = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    for i in range(count):
        if add:
            for j in range(columns):
                slope = slopes[i, j] if not relu or made[i, j] > zero else zero
                on_identity[i, j] = slope
                sums[j] += slope
                products[j] += slope * (rows[i, j] - centre[j])
        else:
            # What went into the ReLU is computed again, which is faster than reading its result.
            for j in range(columns):
                passed = not relu or scale[j] * rows[i, j] + shift[j] > zero
                slope = slopes[i, j] if passed else zero
                sums[j] += slope
                products[j] += slope * (rows[i, j] - centre[j])
    return sums, products


@_compiled(*[voidptr] * 9, *[intp] * 3, *[boolean] * 2, *[float64] * 2)
def normalise(
    rows_at: Any,
    identity_at: Any,
    weight_at: Any,
    bias_at: Any,
    running_mean_at: Any,
    running_var_at: Any,
    made_at: Any,
    mean_at: Any,
    inverse_at: Any,
    count: int,
    columns: int,
    channels: int,
    add: bool,
    relu: bool,
    momentum: float,
    eps: float,
) -> None:
    """Write relu(batch_norm(rows) + identity) and what the way back needs.

    Ioffe and Szegedy 2015, algorithm 1; the running variance is the unbiased one, as in torch.

    Args:
        rows_at: Values, (count, columns); column j is of channel j % channels.
        identity_at: What to add, as the rows.
        weight_at: Scale of each channel.
        bias_at: Shift of each channel.
        running_mean_at: Moved towards the mean, in place.
        running_var_at: Moved towards the unbiased variance, in place.
        made_at: The result, written; as the rows.
        mean_at: Mean of each channel, written.
        inverse_at: 1 / sqrt(variance + eps) of each channel, written.
        count: Rows.
        columns: A multiple of the channels.
        channels: Channels.
        add: Whether the identity is added.
        relu: Whether negative results become 0.
        momentum: How far the running statistics move.
        eps: Added to the variance.
    """
    rows = carray(rows_at, (count, columns), np.float32)
    identity = carray(identity_at, (count, columns), np.float32)
    made = carray(made_at, (count, columns), np.float32)
    weight, bias = carray(weight_at, channels, np.float32), carray(bias_at, channels, np.float32)
    running_mean = carray(running_mean_at, channels, np.float32)
    running_var = carray(running_var_at, channels, np.float32)
    mean = carray(mean_at, channels, np.float32)
    inverse = carray(inverse_at, channels, np.float32)
    values = count * (columns // channels)

    centre, sums, squares = _moments(rows)
    scale, shift = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for c in range(channels):
        total, spread = 0.0, 0.0
        for j in range(c, columns, channels):
            total += np.float64(centre[j]) * count + sums[j]
        middle = total / values
        for j in range(c, columns, channels):
            # Within a column around its own mean, and from there to the channel's.
            own = np.float64(sums[j]) / count
            spread += squares[j] - count * own * own + count * (centre[j] + own - middle) ** 2
        spread = max(spread, 0.0)
        mean[c] = middle
        inverse[c] = 1 / np.sqrt(spread / values + eps)
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (spread / (values - 1) - running_var[c])
        for j in range(c, columns, channels):
            scale[j] = weight[c] * inverse[c]
            shift[j] = bias[c] - scale[j] * mean[c]

    zero = np.float32(0)
    for i in range(count):
        for j in range(columns):
            value = scale[j] * rows[i, j] + shift[j]
            if add:
                value += identity[i, j]
            # So asked, NaN stays NaN.
            made[i, j] = zero if relu and value < zero else value


@_compiled(*[voidptr] * 11, *[intp] * 3, *[boolean] * 2)
def slopes_of_normalise(
    slopes_at: Any,
    rows_at: Any,
    made_at: Any,
    weight_at: Any,
    bias_at: Any,
    mean_at: Any,
    inverse_at: Any,
    on_rows_at: Any,
    on_identity_at: Any,
    on_weight_at: Any,
    on_bias_at: Any,
    count: int,
    columns: int,
    channels: int,
    add: bool,
    relu: bool,
) -> None:
    """Write the slopes of what `normalise` was given, from those of its result.

    Args:
        slopes_at: Slopes of the result, (count, columns).
        rows_at: As given.
        made_at: The result; not read where nothing was added.
        weight_at: As given.
        bias_at: As given.
        mean_at: As written.
        inverse_at: As written.
        on_rows_at: Slopes of the rows, written.
        on_identity_at: Slopes of the identity, written if it was added.
        on_weight_at: Slopes of the scales, written.
        on_bias_at: Slopes of the shifts, written.
        count: As given.
        columns: As given.
        channels: As given.
        add: As given.
        relu: As given.
    """
    slopes = carray(slopes_at, (count, columns), np.float32)
    rows = carray(rows_at, (count, columns), np.float32)
    made = carray(made_at, (count, columns), np.float32)
    on_rows = carray(on_rows_at, (count, columns), np.float32)
    on_identity = carray(on_identity_at, (count, columns), np.float32)
    weight, bias = carray(weight_at, channels, np.float32), carray(bias_at, channels, np.float32)
    mean = carray(mean_at, channels, np.float32)
    inverse = carray(inverse_at, channels, np.float32)
    on_weight = carray(on_weight_at, channels, np.float32)
    on_bias = carray(on_bias_at, channels, np.float32)
    values = count * (columns // channels)
    zero = np.float32(0)

    centre, by_slope = np.empty(columns, np.float32), np.empty(columns, np.float32)
    shift = np.empty(columns, np.float32)
    for j in range(columns):
        c = j % channels
        centre[j] = mean[c]
        by_slope[j] = weight[c] * inverse[c]
        shift[j] = bias[c] - by_slope[j] * mean[c]
    kind = (add, relu)
    sums, products = _masked_sums(slopes, rows, made, by_slope, shift, centre, on_identity, kind)

    # scale * (slope - mean of slopes - normalised * mean of slope * normalised), gathered as one
    # sum of products of the slope and of the value.
    by_value, constant = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for c in range(channels):
        total, product = 0.0, 0.0
        for j in range(c, columns, channels):
            total += sums[j]
            product += products[j]
        on_bias[c] = total
        on_weight[c] = product * inverse[c]
        scale = weight[c] * inverse[c]
        value = -scale * inverse[c] * inverse[c] * product / values
        for j in range(c, columns, channels):
            by_value[j] = value
            constant[j] = -scale * total / values - value * mean[c]
    for i in range(count):
        if add:
            for j in range(columns):
                slope = on_identity[i, j]
                on_rows[i, j] = by_slope[j] * slope + by_value[j] * rows[i, j] + constant[j]
        else:
            for j in range(columns):
                passed = not relu or by_slope[j] * rows[i, j] + shift[j] > zero
                slope = slopes[i, j] if passed else zero
                on_rows[i, j] = by_slope[j] * slope + by_value[j] * rows[i, j] + constant[j]
