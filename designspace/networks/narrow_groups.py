"""Convolutions of narrow groups, depthwise ones among them, as a CPU computes them fastest."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from designspace.networks import numba_loops

# Wider groups take longer than oneDNN's.
WIDEST = 4


def supports(convolution: nn.Conv2d) -> bool:
    """Return whether the kernels compute such a layer: 3x3, and inputs and outputs of each group
    are up to `WIDEST`.
    """
    group = convolution.in_channels // convolution.groups
    return (
        group <= WIDEST
        and convolution.in_channels == convolution.out_channels
        and convolution.in_channels % 4 == 0
        and convolution.kernel_size == (3, 3)
        and convolution.padding == (1, 1)
        and convolution.dilation == (1, 1)
        and convolution.stride in ((1, 1), (2, 2))
        and convolution.bias is None
        and convolution.padding_mode == "zeros"
    )


def fits_kernels(images: Tensor, stride: int) -> bool:
    """Return whether rows of these images fill registers; several threads are left to torch."""
    _, channels, height, width = images.shape
    halves = stride == 1 or height % 2 == width % 2 == 0
    return (
        halves
        and width // stride * channels % numba_loops.LANES == 0
        and images.numel() > 0
        and torch.get_num_threads() == 1
        and numba_loops.available()
    )


def convolve(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve images with the weights of narrow groups.

    Args:
        images: (batch, channels, height, width), channels last, float32, as of `fits_kernels`.
        weight: (channels, width of a group, 3, 3).
        stride: 1 or 2.

    Returns:
        (batch, channels, height / stride, width / stride), channels last.
    """
    output: Tensor = _NarrowGroups.apply(images, weight, stride)
    return output


class _NarrowGroups(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int) -> Tensor:
        from designspace.networks import narrow_group_kernels as kernels

        weight = weight.contiguous()
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        batch, channels, height, width = images.shape
        output = _empty(batch, channels, height // stride, width // stride)
        kernel = kernels.outputs_kernel(stride, kernels.rows_at_once(height // stride))
        sizes = _sizes(batch, height, width, weight)
        kernel(images.data_ptr(), weight.data_ptr(), output.data_ptr(), sizes.ctypes.data)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from designspace.networks import narrow_group_kernels as kernels

        images, weight = ctx.saved_tensors
        stride, grad_images, grad_weight = ctx.stride, None, None
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        batch, _, height, width = images.shape
        rows = kernels.rows_at_once(height // stride)
        if ctx.needs_input_grad[0]:
            grad_images = _empty(*images.shape)
            kernel = kernels.image_gradients_kernel(stride, rows if stride == 1 else 1)
            sizes = _sizes(batch, height // stride, width // stride, weight)
            kernel(
                gradient.data_ptr(), weight.data_ptr(), grad_images.data_ptr(), sizes.ctypes.data
            )
        if ctx.needs_input_grad[1]:
            grad_weight = torch.empty_like(weight)
            kernel = kernels.weight_gradients_kernel(stride, rows)
            sizes = _sizes(batch, height, width, weight)
            kernel(
                images.data_ptr(), gradient.data_ptr(), grad_weight.data_ptr(), sizes.ctypes.data
            )
        return grad_images, grad_weight, None


def _sizes(batch: int, height: int, width: int, weight: Tensor) -> NDArray[np.int64]:
    """Return the sizes that kernels take; the last is the lanes of a band of weights."""
    channels, group = weight.shape[:2]
    lanes = math.lcm(channels, numba_loops.LANES)
    return np.array([batch, height, width, channels, group, lanes], dtype=np.int64)


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, memory_format=torch.channels_last)
