"""Add up the cost of n networks layer by layer: one formula for each kind of layer."""

from typing import Any

import numpy as np

from designspace.arch.body import IntArray
from designspace.arch.skeleton import Skeleton


class LayerCounter:
    """Totals of n networks; a layer's sizes are numbers, or arrays (n,) where networks differ.

    The convention is that of `arch.cost`.

    Attributes:
        flops: Multiply-adds so far, (n,).
        params: Learnable numbers so far, (n,).
        acts: Output elements so far, (n,).
        times: How often the layers that are added now occur, a number or (n,).
    """

    def __init__(self, n: int) -> None:
        self.flops: IntArray = np.zeros(n, np.int64)
        self.params: IntArray = np.zeros(n, np.int64)
        self.acts: IntArray = np.zeros(n, np.int64)
        self.times: Any = 1

    def conv(
        self,
        inputs: Any,
        outputs: Any,
        kernel: Any,
        side: int,
        *,
        bias: bool = False,
        norm: bool = True,
        where: Any = True,
    ) -> None:
        """Add a convolution, and the BatchNorm or LayerNorm behind it.

        Args:
            inputs: Channels that each output channel sees: all of the input's, or a group's.
            outputs: Output channels.
            kernel: Side of the kernel.
            side: Side of the output map in pixels.
            bias: Whether the convolution has a bias.
            norm: Whether a normalization with scale and shift follows.
            where: Which networks have the layer, (n,).
        """
        times = self.times * where
        weights = inputs * outputs * kernel**2 + outputs * bias
        self.flops += times * weights * side**2
        self.params += times * (weights + 2 * outputs * norm)
        self.acts += times * outputs * side**2

    def scale(self, channels: Any, numbers: int = 1, where: Any = True) -> None:
        """Add learnable numbers for each channel: 2 of a normalization, 1 of a layer scale."""
        self.params += self.times * where * numbers * channels

    def squeeze_excitation(self, channels: Any, squeeze: Any) -> None:
        """Add squeeze-and-excitation to the networks whose squeeze width is not 0."""
        self.conv(channels, squeeze, 1, 1, bias=True, norm=False)
        self.conv(squeeze, channels, 1, 1, bias=True, norm=False, where=squeeze > 0)

    def stem(self, skeleton: Skeleton, bias: bool = False) -> None:
        """Add the stem; with `bias`, a convolution of patches has one, as in ConvNeXt."""
        side, kernel = skeleton.stage_resolutions()[0], 3
        if skeleton.stem == "patch":
            kernel = skeleton.stem_stride
        elif skeleton.stem == "conv7_pool":
            side, kernel = -(-skeleton.resolution // 2), 7
        self.conv(
            skeleton.channels,
            skeleton.stem_width,
            kernel,
            side,
            bias=bias and skeleton.stem == "patch",
        )

    def head(self, width: Any, skeleton: Skeleton) -> None:
        """Add what follows the stages, of this width: the 1x1 convolution, if any, and classifier.

        The classifier is linear with bias.
        """
        if skeleton.head_width:
            self.conv(width, skeleton.head_width, 1, skeleton.stage_resolutions()[-1])
            width = skeleton.head_width
        self.conv(width, skeleton.classes, 1, 1, bias=True, norm=False)
