"""A network of stages, with the attributes and state keys of torchvision's RegNet around blocks."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from designspace.arch import Model
from designspace.networks.layers import ChannelScale, Layers, Residual


class StagedNetwork(nn.Module):
    """Stem, stages of blocks, pooling and classifier.

    Convolutions of BatchNorm networks start from N(0, 2 / (k * k * output channels)) and the
    classifier from N(0, 0.01^2), as in pycls; those of LayerNorm networks from N(0, 0.02^2), as in
    ConvNeXt. Biases start at 0, unless they keep torch's own start.
    """

    def __init__(
        self,
        model: Model,
        stages: Iterable[Sequence[nn.Module]],
        layers: Layers,
        zero_init_residual: bool = False,
        zero_biases: bool = True,
    ) -> None:
        """Assemble blocks.

        Args:
            model: What they belong to.
            stages: The blocks of each stage.
            layers: Makes the stem and the head.
            zero_init_residual: Start every residual branch at zero (Goyal et al. 2017, §5.1).
            zero_biases: Start the biases of convolutions at zero. Those of squeeze-and-excitation
                in RegNets start as torch's do, in torchvision and in pycls.
        """
        super().__init__()
        skeleton, width = model.skeleton, model.body.widths[-1]
        self.stem = layers.stem(skeleton)
        self.trunk_output = nn.Sequential(
            OrderedDict(
                (f"block{i}", nn.Sequential(OrderedDict(_numbered(i, blocks))))
                for i, blocks in enumerate(stages, start=1)
            )
        )
        self.avgpool = layers.pooling(width, skeleton)
        self.fc = nn.Linear(model.output_width, skeleton.classes)
        _initialize(self, layers.layer_norm, zero_init_residual, zero_biases)

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (n, channels, side, side) into logits (n, classes)."""
        x = self.avgpool(self.trunk_output(self.stem(images)))
        return self.fc(torch.flatten(x, 1))  # type: ignore[no-any-return]


def _numbered(stage: int, blocks: Sequence[nn.Module]) -> list[tuple[str, nn.Module]]:
    return [(f"block{stage}-{i}", block) for i, block in enumerate(blocks)]


def _initialize(
    network: nn.Module, layer_norm: bool, zero_init_residual: bool, zero_biases: bool
) -> None:
    """Draw fresh weights, as `StagedNetwork` says, from torch's global random state."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            std = 0.02 if layer_norm else math.sqrt(2 / (height * width * module.out_channels))
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None and zero_biases:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Residual) and zero_init_residual:
            last: Any = module.f[-1]
            nn.init.zeros_((last if isinstance(last, ChannelScale) else last[1]).weight)
