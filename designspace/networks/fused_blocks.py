"""Blocks whose BatchNorm takes the residual sum and the ReLU along, for training on a CPU.

State keys and, up to rounding, results are those of the blocks as torchvision has them. Without
numba, torch's own layers do the same work.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torchvision.models.regnet import ResBottleneckBlock
from torchvision.ops.misc import Conv2dNormActivation

from designspace.networks import numba_loops

# Columns that pixels are folded into; longer loops gain nothing.
_WIDE = 128
_ORDER = torch.channels_last


class FusedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, with what follows it in a block.

    Attributes:
        relu: Whether a ReLU follows.
    """

    relu = False

    def forward(self, images: Tensor, identity: Tensor | None = None) -> Tensor:
        """Normalise (batch, channels, height, width); add the identity, if any; ReLU, if any."""
        if not self._runs_on(images):
            made = super().forward(images)
            if identity is not None:
                made += identity
            return made.relu_() if self.relu else made
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        fused: Tensor = _Fused.apply(
            images,
            identity,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.relu,
            self.momentum,
            self.eps,
        )
        return fused

    def _runs_on(self, images: Tensor) -> bool:
        return (
            self.training
            and self.momentum is not None
            and images.device.type == "cpu"
            and images.dtype == torch.float32
            # Of a single value there is no variance: torch says so.
            and images.numel() > images.shape[1]
            and images.is_contiguous(memory_format=_ORDER)
            and numba_loops.available()
        )


class FusedBlock(ResBottleneckBlock):  # type: ignore[misc]
    """torchvision's residual bottleneck block around `FusedBatchNorm`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fuse_relu(self.f.a)
        fuse_relu(self.f.b)
        self.f.c[1].relu = True

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(x + f(x)), x projected where the shape changes."""
        identity = x if self.proj is None else self.proj(x)
        *parts, last = self.f
        for part in parts:
            x = part(x)
        convolution, norm = last
        made: Tensor = norm(convolution(x), identity)
        return made


def fuse_relu(part: Conv2dNormActivation) -> Conv2dNormActivation:
    """Let the norm of convolution, norm, ReLU do the ReLU's work; the state keys stay."""
    part[1].relu = True
    part[2] = nn.Identity()
    return part


def _shape(images: Tensor) -> tuple[int, int, int]:
    """Return rows, columns and channels of (batch, channels, height, width), folded."""
    channels = images.shape[1]
    rows = images.numel() // channels
    columns = channels
    while columns < _WIDE and rows % 2 == 0:
        rows, columns = rows // 2, columns * 2
    return rows, columns, channels


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        identity: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        relu: bool,
        momentum: float,
        eps: float,
    ) -> Tensor:
        from designspace.networks.batchnorm_kernels import normalise

        add = identity is not None
        added = images if identity is None else identity.contiguous(memory_format=_ORDER)
        made = torch.empty_like(images)
        mean, inverse = torch.empty_like(running_mean), torch.empty_like(running_mean)
        normalise(
            images.data_ptr(),
            added.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            running_mean.data_ptr(),
            running_var.data_ptr(),
            made.data_ptr(),
            mean.data_ptr(),
            inverse.data_ptr(),
            *_shape(images),
            add,
            relu,
            momentum,
            eps,
        )
        ctx.save_for_backward(images, made, weight, bias, mean, inverse)
        ctx.add, ctx.relu = add, relu
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from designspace.networks.batchnorm_kernels import slopes_of_normalise

        images, made, weight, bias, mean, inverse = ctx.saved_tensors
        slopes = gradients[0].contiguous(memory_format=_ORDER)
        on_images = torch.empty_like(images)
        on_identity = torch.empty_like(images) if ctx.add else None
        on_weight, on_bias = torch.empty_like(mean), torch.empty_like(mean)
        slopes_of_normalise(
            slopes.data_ptr(),
            images.data_ptr(),
            made.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            mean.data_ptr(),
            inverse.data_ptr(),
            on_images.data_ptr(),
            0 if on_identity is None else on_identity.data_ptr(),
            on_weight.data_ptr(),
            on_bias.data_ptr(),
            *_shape(images),
            ctx.add,
            ctx.relu,
        )
        return on_images, on_identity, on_weight, on_bias, None, None, None, None, None
