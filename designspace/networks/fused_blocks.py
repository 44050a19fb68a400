"""Blocks that fuse BatchNorm, the residual sum and ReLU, for training on a CPU.

State keys and, up to rounding, results are those of the blocks with torch's layers. Without
numba, torch's own layers do the same work.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from designspace.networks import numba_loops
from designspace.networks.layers import ConvNormActivation, Residual

# Columns that pixels are folded into; longer loops are no faster.
_MAX_COLUMNS = 128
_ORDER = torch.channels_last


class FusedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the residual sum and ReLU that follow it in a block.

    Attributes:
        relu: Whether a ReLU follows.
    """

    relu = False

    def forward(self, images: Tensor, identity: Tensor | None = None) -> Tensor:
        """Normalise (batch, channels, height, width); add the identity, if any; ReLU, if any."""
        if not self._supports(images):
            output = super().forward(images)
            if identity is not None:
                output += identity
            return output.relu_() if self.relu else output
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

    def _supports(self, images: Tensor) -> bool:
        return (
            self.training
            and self.momentum is not None
            and images.device.type == "cpu"
            and images.dtype == torch.float32
            # torch raises where a channel has a single value, and so no variance.
            and images.numel() > images.shape[1]
            and images.is_contiguous(memory_format=_ORDER)
            and numba_loops.available()
        )


def fuse(network: nn.Module) -> None:
    """Move ReLUs and residual sums of BatchNorm networks into the norms, in place; keys stay."""
    for layer in list(network.modules()):
        if not isinstance(layer, ConvNormActivation) or type(layer[1]) is not nn.BatchNorm2d:
            continue
        norm: Any = layer[1]
        norm.__class__ = FusedBatchNorm
        if len(layer) > 2 and type(layer[2]) is nn.ReLU:
            norm.relu = True
            layer[2] = nn.Identity()
        elif len(layer) > 2:
            activation: Any = layer[2]
            activation.inplace = False  # the backward pass keeps the norm's output
    for block in network.modules():
        if isinstance(block, Residual) and type(block.activation) in (nn.ReLU, nn.Identity):
            last: Any = block.f[-1]
            if isinstance(last, ConvNormActivation) and isinstance(last[1], FusedBatchNorm):
                last[1].relu = type(block.activation) is nn.ReLU
                block.activation, block.fused = nn.Identity(), True


def _folded_shape(images: Tensor) -> tuple[int, int, int]:
    """Return folded rows, columns, and channels of (batch, channels, height, width)."""
    channels = images.shape[1]
    rows = images.numel() // channels
    columns = channels
    while columns < _MAX_COLUMNS and rows % 2 == 0:
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
        from designspace.networks.batchnorm_kernels import normalize

        add = identity is not None
        addend = images if identity is None else identity.contiguous(memory_format=_ORDER)
        output = torch.empty_like(images)
        mean, inv_std = torch.empty_like(running_mean), torch.empty_like(running_mean)
        normalize(
            images.data_ptr(),
            addend.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            running_mean.data_ptr(),
            running_var.data_ptr(),
            output.data_ptr(),
            mean.data_ptr(),
            inv_std.data_ptr(),
            *_folded_shape(images),
            add,
            relu,
            momentum,
            eps,
        )
        ctx.save_for_backward(images, output, weight, bias, mean, inv_std)
        ctx.add, ctx.relu = add, relu
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from designspace.networks.batchnorm_kernels import normalize_backward

        images, output, weight, bias, mean, inv_std = ctx.saved_tensors
        grad_output = gradients[0].contiguous(memory_format=_ORDER)
        grad_images = torch.empty_like(images)
        grad_identity = torch.empty_like(images) if ctx.add else None
        grad_weight, grad_bias = torch.empty_like(mean), torch.empty_like(mean)
        normalize_backward(
            grad_output.data_ptr(),
            images.data_ptr(),
            output.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            mean.data_ptr(),
            inv_std.data_ptr(),
            grad_images.data_ptr(),
            0 if grad_identity is None else grad_identity.data_ptr(),
            grad_weight.data_ptr(),
            grad_bias.data_ptr(),
            *_folded_shape(images),
            ctx.add,
            ctx.relu,
        )
        return grad_images, grad_identity, grad_weight, grad_bias, None, None, None, None, None
