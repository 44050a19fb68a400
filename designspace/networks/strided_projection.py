"""Strided 1x1 convolutions that are safe to train on a CPU.

oneDNN's weight gradient of a strided 1x1 convolution in channels_last writes past its buffer where
the input has fewer channels than a vector register (16 floats with AVX-512, 8 with AVX2) and the
number of threads does not divide the batch: the process dies with "double free or corruption" or a
segmentation fault (https://github.com/uxlfoundation/oneDNN/issues/6035). Affected: torch 2.14.0 and
2.14.1 (oneDNN 3.12), where we reproduced it; oneDNN's main branch had no fix in November 2026, and
older releases of torch were not tested. Every RegNet has such projections.

Taking every second pixel first and convolving with stride 1 gives the same outputs and input
gradients (to the last bit, except on maps of a few pixels, for which oneDNN chooses other kernels),
and takes a quarter of the time (forward and backward, one thread, 8 to 64 channels), so it is done
whatever the version.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class StridedProjection(nn.Conv2d):
    """A strided 1x1 convolution, computed on a CPU as a subsampling and a 1x1 with stride 1.

    Parameters and state keys are those of `nn.Conv2d`.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Take over the parameters of a convolution; draws nothing from the random state."""
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            kernel_size=1,
            stride=convolution.stride,  # type: ignore[arg-type]
            groups=convolution.groups,
            bias=convolution.bias is not None,
            device="meta",
        )
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        # Only gradients are at risk: an exported graph keeps its one convolution.
        if images.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(images)
        down, right = self.stride
        return functional.conv2d(
            images[:, :, ::down, ::right], self.weight, self.bias, groups=self.groups
        )


def replace_strided_projections(network: nn.Module) -> None:
    """Replace every strided 1x1 convolution of a network, in place, by a `StridedProjection`."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if (
                type(child) is nn.Conv2d
                and child.kernel_size == (1, 1)
                and child.stride != (1, 1)
                and child.padding == (0, 0)
            ):
                setattr(parent, name, StridedProjection(child))
