"""Convolutions in the form in which a CPU computes them fastest in float32, channels last.

A 1x1 convolution is a product of matrices, for which the CPU's matrix library takes 5 to 20 % less
time than oneDNN's convolution (16 to 96 channels, one thread of an Intel Xeon). Of many pixels and
few channels it takes longer, up to 3.6 times (8 to 48 channels, 16,384 pixels, one thread of an AMD
EPYC with AVX-512), so that these stay with oneDNN: steps of seven sampled networks take 2 to 14 %
less time by that (batches of 64 images of 16 pixels, same machine). 3x3 convolutions of groups of
up to 4 channels, depthwise ones among them, have kernels of their own, 1.2 to 4.1 times as fast as
oneDNN's forward and backward (16 to 96 channels, 16 to 2 pixels, batches of 64, one thread of an
Intel Xeon with AVX-512): steps of eight sampled RegNets take 5 to 26 % less time. Where these can't
be used, narrow groups are merged into wider ones, whose other weights are zero, as oneDNN's
convolution takes longer for groups of 2 channels than for groups of 8: 1.1 to 1.6 times as fast for
groups of 2, 1.0 to 1.2 times for groups of 3 and 4.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.networks import narrow_groups
from designspace.networks.strided_projection import StridedProjection

# Fewer channels in or out, for so many pixels or more, are left to oneDNN's 1x1 convolution.
_FEW_CHANNELS, _MANY_PIXELS = 16, 4096
# Channels of a merged group, at most; wider groups take longer than the narrow ones they replace.
_WIDEST_GROUP = 8


class MatrixProjection(StridedProjection):
    """A 1x1 convolution, computed on a CPU as a product of matrices."""

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        if not _is_fast_for(images) or self._is_narrow(images):
            return super().forward(images)
        down, right = self.stride
        pixels = images[:, :, ::down, ::right].permute(0, 2, 3, 1)
        return functional.linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)

    def _is_narrow(self, images: Tensor) -> bool:
        down, right = self.stride
        pixels = images.numel() // (images.shape[1] * down * right)
        return min(self.in_channels, self.out_channels) < _FEW_CHANNELS and pixels >= _MANY_PIXELS


class MergedGroups(nn.Conv2d):
    """A grouped convolution, computed on a CPU with fewer and wider groups.

    Parameters and state keys are those of `nn.Conv2d`.
    """

    merged = 1

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        if not _is_fast_for(images):
            return super().forward(images)
        outputs, inputs, *kernel = self.weight.shape
        own_groups = torch.eye(self.merged)[:, None, :, None, None, None]
        # (merged groups, groups in each, outputs, groups in each, inputs, height, width): a group's
        # weights where both groups are the same.
        weight = self.weight.view(-1, self.merged, outputs // self.groups, 1, inputs, *kernel)
        weight = (weight * own_groups).reshape(outputs, self.merged * inputs, *kernel)
        return functional.conv2d(
            images,
            weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups // self.merged,
        )


class NarrowGroups(MergedGroups):
    """A grouped convolution, computed on a CPU by the kernels of narrow groups."""

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        stride, weight = self.stride[0], self.weight
        # The kernels read addresses, where torch would compare types and devices.
        same_kind = (weight.dtype, weight.device) == (images.dtype, images.device)
        if same_kind and _is_fast_for(images) and narrow_groups.fits_kernels(images, stride):
            return narrow_groups.convolve(images, weight, stride)
        return super().forward(images) if self.merged > 1 else nn.Conv2d.forward(self, images)


def use_fast_convolutions(network: nn.Module) -> None:
    """Let a CPU compute the convolutions of a network faster, in place; weights and keys stay."""
    for layer in list(network.modules()):
        if type(layer) not in (nn.Conv2d, StridedProjection):
            continue
        convolution: Any = layer
        if convolution.kernel_size == (1, 1):
            if convolution.groups == 1 and convolution.padding == (0, 0):
                convolution.__class__ = MatrixProjection
        elif narrow_groups.supports(convolution):
            convolution.__class__ = NarrowGroups
            convolution.merged = _groups_to_merge(convolution)
        elif (merged := _groups_to_merge(convolution)) > 1:
            convolution.__class__ = MergedGroups
            convolution.merged = merged


def _groups_to_merge(convolution: nn.Conv2d) -> int:
    """Return how many groups of a convolution to compute as one; 1 for none."""
    inputs = convolution.in_channels // convolution.groups
    outputs = convolution.out_channels // convolution.groups
    if inputs != outputs or inputs == 1:  # depthwise convolution has a fast path of its own
        return 1
    counts = range(1, _WIDEST_GROUP // inputs + 1)
    return max((n for n in counts if convolution.groups % n == 0), default=1)


def _is_fast_for(images: Tensor) -> bool:
    return (
        images.device.type == "cpu"
        and images.dtype == torch.float32
        and images.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_exporting()
    )
