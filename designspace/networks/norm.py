"""BatchNorm of few channels on a CPU, several times as fast as torch's.

torch's kernel for channels-last memory vectorises over channels: with 2 to 28 of them, as small
images have in their first stages, most of its time goes into loops that are too short. Here pixels
that lie side by side are folded into channels (8 pixels of 12 channels make one of 96), torch's own
kernels run on those, and the folded statistics are joined.
"""

from typing import Any

import torch
from torch import Tensor, nn

_aten = torch.ops.aten
# Channels that are folded into; longer loops gain nothing.
_WIDE = 128
# Pixels of a batch from which folding pays: at full speed torch handles 8 channels at a time, and
# the rest of a division by 8 one by one. Measured on AVX2 and AVX-512.
_MANY_PIXELS, _PIXELS_WITH_REST = 32768, 8192
_MOST_CHANNELS, _MOST_WITH_REST = 8, 31


class FoldedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the same state and, up to rounding, the same results."""

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (batch, channels, height, width)."""
        if not self.training or self.momentum is None or not _pays(images):
            return super().forward(images)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        made: Tensor = _Folded.apply(
            images,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.momentum,
            self.eps,
        )
        return made


def _pays(images: Tensor) -> bool:
    channels = images.shape[1]
    pixels = images.numel() // channels
    if channels % 8:
        pays = 1 < channels <= _MOST_WITH_REST and pixels >= _PIXELS_WITH_REST
    else:
        pays = channels <= _MOST_CHANNELS and pixels >= _MANY_PIXELS
    return (
        pays
        and images.device.type == "cpu"
        and images.dtype == torch.float32
        and images.is_contiguous(memory_format=torch.channels_last)
    )


def _fold(images: Tensor) -> Tensor:
    """View (batch, channels, height, width) as (pixels / k, k * channels)."""
    channels = images.shape[1]
    pixels = images.numel() // channels
    k = 1
    while k * channels < _WIDE and pixels % (2 * k) == 0:
        k *= 2
    return images.permute(0, 2, 3, 1).reshape(pixels // k, k * channels)


class _Folded(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        channels = images.shape[1]
        pixels = images.numel() // channels
        rows = _fold(images)
        k = rows.shape[1] // channels
        means, variances = _aten.batch_norm_update_stats(rows[:, :, None, None], None, None, 0.0)
        means = means.view(k, channels)
        # Each of the k means is of as many pixels, so variances join as within plus between.
        mean = means.mean(0)
        variance = (variances.view(k, channels) + (means - mean).square_()).mean(0)
        inverse = torch.rsqrt(variance + eps)
        scale = weight * inverse
        shift = torch.addcmul(bias, scale, mean, value=-1)
        # Not a view of something folded: the ReLU that follows works in place.
        made = torch.empty_like(images)
        torch.addcmul(shift.repeat(k), rows, scale.repeat(k), out=_fold(made))
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * (pixels / (pixels - 1)), momentum)
        ctx.save_for_backward(images, scale, mean, inverse)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, scale, mean, inverse = ctx.saved_tensors
        channels = images.shape[1]
        pixels = images.numel() // channels
        rows = _fold(images)
        slopes = _fold(gradients[0].contiguous(memory_format=torch.channels_last))
        k = rows.shape[1] // channels
        # The kernel's sums of slopes, and of slopes times normalised values, for each of the k.
        _, on_weight, on_bias = _aten.native_batch_norm_backward(
            slopes[:, :, None, None],
            rows[:, :, None, None],
            None,
            None,
            None,
            mean.repeat(k),
            inverse.repeat(k),
            True,
            0.0,
            [False, True, True],
        )
        on_weight = on_weight.view(k, channels).sum(0)
        on_bias = on_bias.view(k, channels).sum(0)
        # scale * (slope - mean of slopes - normalised * mean of slope * normalised), as one sum of
        # products of the slope and of the value.
        by_value = (scale * inverse * on_weight).div_(-pixels)
        constant = torch.addcmul((scale * on_bias).div_(-pixels), by_value, mean, value=-1)
        made = torch.empty_like(images)
        torch.addcmul(constant.repeat(k), rows, by_value.repeat(k), out=_fold(made))
        _fold(made).addcmul_(slopes, scale.repeat(k))
        return made, on_weight, on_bias, None, None, None, None
