"""The layers that blocks are built of, with one activation and one kind of normalization.

Results and state keys are those of torchvision's layers; torch alone is imported, since importing
torchvision's takes as long as importing torch.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.arch import Skeleton
from designspace.arch.activation import Activation


class Gelu(nn.GELU):
    """`nn.GELU` that accepts, and ignores, `inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()


ACTIVATION_LAYERS: dict[Activation, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": Gelu,
    "relu6": nn.ReLU6,
}


class ConvNormActivation(nn.Sequential):
    """A convolution without bias, normalization and, if any, activation."""


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each pixel."""

    def forward(self, images: Tensor) -> Tensor:
        """Normalize (n, channels, height, width)."""
        normalized = functional.layer_norm(
            images.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return normalized.permute(0, 3, 1, 2)


class SqueezeExcitation(nn.Module):
    """A factor of each channel, from the mean of all channels (Hu et al. 2018, figure 1)."""

    def __init__(
        self, channels: int, squeeze_channels: int, activation: Callable[..., nn.Module]
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, channels, 1)
        self.activation = activation()
        self.scale_activation = nn.Sigmoid()

    def forward(self, images: Tensor) -> Tensor:
        """Scale (n, channels, height, width)."""
        squeezed = self.activation(self.fc1(self.avgpool(images)))
        factors: Tensor = self.scale_activation(self.fc2(squeezed))
        return factors * images


class Residual(nn.Module):
    """A branch added to its input, or to a projection of it, then an activation, if any.

    Attributes:
        fused: Whether the branch ends with a convolution and a `FusedBatchNorm`, which adds the
            input itself.
    """

    def __init__(
        self,
        branch: nn.Sequential,
        shortcut: nn.Module | None = None,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if shortcut is not None:
            self.proj = shortcut
        self.f = branch
        self.activation = activation or nn.Identity()
        self.fused = False

    def forward(self, x: Tensor) -> Tensor:
        """Return activation(shortcut(x) + branch(x)), (n, channels, height, width)."""
        identity = self.proj(x) if hasattr(self, "proj") else x
        if not self.fused:
            return self.activation(self.f(x) + identity)  # type: ignore[no-any-return]
        layers: list[Any] = list(self.f)
        for layer in layers[:-1]:
            x = layer(x)
        convolution, norm = layers[-1]
        return norm(convolution(x), identity)  # type: ignore[no-any-return]


class ChannelScale(nn.Module):
    """A learnable factor of each channel (layer scale, Touvron et al. 2021, arXiv 2103.17239)."""

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), value))

    def forward(self, x: Tensor) -> Tensor:
        """Scale (n, channels, height, width)."""
        return self.weight * x


class PatchConv(nn.Conv2d):
    """A convolution of non-overlapping patches; the last ones are filled up with zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (n, channels, height, width); sides are divided by the stride and rounded up."""
        stride = self.stride[0]
        bottom, right = -x.shape[-2] % stride, -x.shape[-1] % stride
        return super().forward(functional.pad(x, (0, right, 0, bottom)) if bottom or right else x)


@dataclass(frozen=True)
class Layers:
    """Makes layers with the activation and the normalization of one network.

    Attributes:
        activation_name: The activation.
        layer_norm: LayerNorm over the channels, in place of BatchNorm.
    """

    activation_name: Activation
    layer_norm: bool = False

    def activation(self) -> nn.Module:
        """Make the activation."""
        return ACTIVATION_LAYERS[self.activation_name](inplace=True)

    def norm(self, channels: int) -> nn.Module:
        """Make the normalization."""
        if self.layer_norm:
            return LayerNorm2d(channels, eps=1e-6)
        return nn.BatchNorm2d(channels)

    def conv(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> nn.Sequential:
        """Make convolution, normalization and, unless False, activation."""
        layer = ConvNormActivation(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            self.norm(outputs),
        )
        return layer.append(self.activation()) if activation else layer

    def plain_conv(self, inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Conv2d:
        """Make a convolution with a bias, alone."""
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)

    def patches(self, inputs: int, outputs: int, stride: int) -> nn.Conv2d:
        """Make a convolution of non-overlapping patches with a bias in networks of LayerNorm."""
        return PatchConv(inputs, outputs, stride, stride, bias=self.layer_norm)

    def squeeze_excitation(self, channels: int, squeeze: int) -> nn.Module | None:
        """Make squeeze-and-excitation, or None where its width is 0."""
        if not squeeze:
            return None
        return SqueezeExcitation(channels, squeeze, ACTIVATION_LAYERS[self.activation_name])

    def channel_scale(self, channels: int, value: float) -> nn.Module:
        """Make a learnable factor of each channel."""
        return ChannelScale(channels, value)

    def chain(self, **layers: nn.Module | None) -> nn.Sequential:
        """Make a sequence of named layers, without those that are None."""
        return nn.Sequential(OrderedDict((k, v) for k, v in layers.items() if v is not None))

    def residual(
        self, branch: nn.Sequential, shortcut: nn.Module | None = None, activation: bool = False
    ) -> nn.Module:
        """Make a residual connection around a branch."""
        return Residual(branch, shortcut, self.activation() if activation else None)

    def stem(self, skeleton: Skeleton) -> nn.Sequential:
        """Make the stem of a network."""
        width, channels = skeleton.stem_width, skeleton.channels
        if skeleton.stem == "patch":
            patches = self.patches(channels, width, skeleton.stem_stride)
            return nn.Sequential(patches, self.norm(width))
        if skeleton.stem == "conv3":
            return self.conv(channels, width, 3, skeleton.stem_stride)
        return self.conv(channels, width, 7, 2).append(nn.MaxPool2d(3, 2, 1))

    def pooling(self, width: int, skeleton: Skeleton) -> nn.Module:
        """Make what lies between the stages and the classifier: (n, width, h, w) to (n, w', 1, 1).

        A mean over the map; before it the head's 1x1 convolution, if any; behind it LayerNorm in
        networks that have it.
        """
        head = skeleton.head_width
        if not head and not self.layer_norm:
            return nn.AdaptiveAvgPool2d(1)
        return self.chain(
            conv=self.conv(width, head, 1) if head else None,
            mean=nn.AdaptiveAvgPool2d(1),
            norm=self.norm(head or width) if self.layer_norm else None,
        )
