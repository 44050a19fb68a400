"""BatchNorm, the residual sum and ReLU as loops over the pixels, compiled for this CPU by numba.

torch passes over the pixels several times for each of the three, forward and backward, and
vectorizes over channels: with the 2 to 64 channels of small images most of the time goes into short
loops. Here neighboring pixels are folded into columns (8 pixels of 12 channels are one row of 96
columns), and each direction reads them as few times as the formulas allow.

The functions take addresses of float32 values: passing arrays makes a call far more expensive.
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
    """Sums of each column and of its squares, around the first row, for numerical stability."""
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
def _gradient_sums(
    grad_output: Any,
    rows: Any,
    output: Any,
    scale: Any,
    shift: Any,
    centre: Any,
    grad_identity: Any,
    kind: Any,
) -> Any:
    """Sums over each column of the gradients before the ReLU, and of their products with the
    centered values; those gradients are written to `grad_identity` where an identity was added.
    """
    count, columns = rows.shape
    add, relu = kind
    zero = np.float32(0)
    sums, products = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    for i in range(count):
        if add:
            for j in range(columns):
                grad = grad_output[i, j] if not relu or output[i, j] > zero else zero
                grad_identity[i, j] = grad
                sums[j] += grad
                products[j] += grad * (rows[i, j] - centre[j])
        else:
            # Computing the input of the ReLU again is faster than reading its output.
            for j in range(columns):
                passed = not relu or scale[j] * rows[i, j] + shift[j] > zero
                grad = grad_output[i, j] if passed else zero
                sums[j] += grad
                products[j] += grad * (rows[i, j] - centre[j])
    return sums, products


@_compiled(*[voidptr] * 9, *[intp] * 3, *[boolean] * 2, *[float64] * 2)
def normalize(
    rows_at: Any,
    identity_at: Any,
    weight_at: Any,
    bias_at: Any,
    running_mean_at: Any,
    running_var_at: Any,
    output_at: Any,
    mean_at: Any,
    inv_std_at: Any,
    count: int,
    columns: int,
    channels: int,
    add: bool,
    relu: bool,
    momentum: float,
    eps: float,
) -> None:
    """Write relu(batch_norm(rows) + identity) and what the backward pass needs.

    Ioffe and Szegedy 2015, algorithm 1; the running variance is the unbiased one, as in torch.

    Args:
        rows_at: Values, (count, columns); column j is of channel j % channels.
        identity_at: What to add, of the same shape.
        weight_at: Scale of each channel.
        bias_at: Shift of each channel.
        running_mean_at: Moved towards the mean, in place.
        running_var_at: Moved towards the unbiased variance, in place.
        output_at: The result, written; of the same shape.
        mean_at: Mean of each channel, written.
        inv_std_at: 1 / sqrt(variance + eps) of each channel, written.
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
    output = carray(output_at, (count, columns), np.float32)
    weight, bias = carray(weight_at, channels, np.float32), carray(bias_at, channels, np.float32)
    running_mean = carray(running_mean_at, channels, np.float32)
    running_var = carray(running_var_at, channels, np.float32)
    mean = carray(mean_at, channels, np.float32)
    inv_std = carray(inv_std_at, channels, np.float32)
    values = count * (columns // channels)

    centre, sums, squares = _moments(rows)
    scale, shift = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for c in range(channels):
        total, deviations = 0.0, 0.0
        for j in range(c, columns, channels):
            total += np.float64(centre[j]) * count + sums[j]
        channel_mean = total / values
        for j in range(c, columns, channels):
            # Squared deviations from the column's own mean, shifted to the channel's.
            own = np.float64(sums[j]) / count
            deviations += (
                squares[j] - count * own * own + count * (centre[j] + own - channel_mean) ** 2
            )
        deviations = max(deviations, 0.0)
        mean[c] = channel_mean
        inv_std[c] = 1 / np.sqrt(deviations / values + eps)
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (deviations / (values - 1) - running_var[c])
        for j in range(c, columns, channels):
            scale[j] = weight[c] * inv_std[c]
            shift[j] = bias[c] - scale[j] * mean[c]

    zero = np.float32(0)
    for i in range(count):
        for j in range(columns):
            value = scale[j] * rows[i, j] + shift[j]
            if add:
                value += identity[i, j]
            # This comparison keeps NaN.
            output[i, j] = zero if relu and value < zero else value


@_compiled(*[voidptr] * 11, *[intp] * 3, *[boolean] * 2)
def normalize_backward(
    grad_output_at: Any,
    rows_at: Any,
    output_at: Any,
    weight_at: Any,
    bias_at: Any,
    mean_at: Any,
    inv_std_at: Any,
    grad_rows_at: Any,
    grad_identity_at: Any,
    grad_weight_at: Any,
    grad_bias_at: Any,
    count: int,
    columns: int,
    channels: int,
    add: bool,
    relu: bool,
) -> None:
    """Write the gradients of the inputs of `normalize` from those of its output.

    Args:
        grad_output_at: Gradients of the output, (count, columns).
        rows_at: Values, as in `normalize`.
        output_at: The output; not read where nothing was added.
        weight_at: Scale of each channel.
        bias_at: Shift of each channel.
        mean_at: Mean of each channel, from `normalize`.
        inv_std_at: 1 / std of each channel, from `normalize`.
        grad_rows_at: Gradients of the values, written.
        grad_identity_at: Gradients of the identity, written if one was added.
        grad_weight_at: Gradients of the scales, written.
        grad_bias_at: Gradients of the shifts, written.
        count: Rows.
        columns: A multiple of the channels.
        channels: Channels.
        add: Whether an identity was added.
        relu: Whether a ReLU follows.
    """
    grad_output = carray(grad_output_at, (count, columns), np.float32)
    rows = carray(rows_at, (count, columns), np.float32)
    output = carray(output_at, (count, columns), np.float32)
    grad_rows = carray(grad_rows_at, (count, columns), np.float32)
    grad_identity = carray(grad_identity_at, (count, columns), np.float32)
    weight, bias = carray(weight_at, channels, np.float32), carray(bias_at, channels, np.float32)
    mean = carray(mean_at, channels, np.float32)
    inv_std = carray(inv_std_at, channels, np.float32)
    grad_weight = carray(grad_weight_at, channels, np.float32)
    grad_bias = carray(grad_bias_at, channels, np.float32)
    values = count * (columns // channels)
    zero = np.float32(0)

    centre, grad_scale = np.empty(columns, np.float32), np.empty(columns, np.float32)
    shift = np.empty(columns, np.float32)
    for j in range(columns):
        c = j % channels
        centre[j] = mean[c]
        grad_scale[j] = weight[c] * inv_std[c]
        shift[j] = bias[c] - grad_scale[j] * mean[c]
    sums, products = _gradient_sums(
        grad_output, rows, output, grad_scale, shift, centre, grad_identity, (add, relu)
    )

    # scale * (gradient - mean of gradients - normalized * mean of gradient * normalized), written
    # as one factor of the gradient, one of the value, and a constant.
    row_scale, constant = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for c in range(channels):
        total, product = 0.0, 0.0
        for j in range(c, columns, channels):
            total += sums[j]
            product += products[j]
        grad_bias[c] = total
        grad_weight[c] = product * inv_std[c]
        scale = weight[c] * inv_std[c]
        value = -scale * inv_std[c] * inv_std[c] * product / values
        for j in range(c, columns, channels):
            row_scale[j] = value
            constant[j] = -scale * total / values - value * mean[c]
    for i in range(count):
        if add:
            for j in range(columns):
                grad = grad_identity[i, j]
                grad_rows[i, j] = grad_scale[j] * grad + row_scale[j] * rows[i, j] + constant[j]
        else:
            for j in range(columns):
                passed = not relu or grad_scale[j] * rows[i, j] + shift[j] > zero
                grad = grad_output[i, j] if passed else zero
                grad_rows[i, j] = grad_scale[j] * grad + row_scale[j] * rows[i, j] + constant[j]
