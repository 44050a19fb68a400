"""Measure a torch network of any library: layers, parameters, multiply-adds.

A forward pass on the `meta` device needs no memory.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Structure:
    """A network's structure and cost.

    Attributes:
        layers: All convolutions and linear layers, sorted, because libraries run the shortcut
            before or after the block's main path: channels in and out, kernel size, stride,
            groups, side of the output in pixels, and whether it has a bias.
        spatial: The 3x3 convolutions among them, in order: the stem and one for each block.
        params: Learnable parameters.
        flops: Multiply-adds of convolutions and linear layers, with bias additions.
        acts: Output elements of convolutions and linear layers.
    """

    layers: tuple[tuple[int, ...], ...]
    spatial: tuple[tuple[int, ...], ...]
    params: int
    flops: int
    acts: int


def measure(network: nn.Module, resolution: int, channels: int = 3) -> Structure:
    """Measure a network on `meta` with one square image."""
    network.eval()
    ran: list[tuple[nn.Conv2d | nn.Linear, torch.Size]] = []

    def record(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        ran.append((module, output.shape))

    hooks = [
        module.register_forward_hook(record)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            network(torch.empty(1, channels, resolution, resolution, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    layers = [_layer(module, shape) for module, shape in ran]
    biases = sum(shape.numel() for module, shape in ran if module.bias is not None)
    return Structure(
        layers=tuple(sorted(layers)),
        spatial=tuple(layer for layer in layers if layer[2] == 3),
        params=sum(parameter.numel() for parameter in network.parameters()),
        flops=counter.get_total_flops() // 2 + biases,
        acts=sum(shape.numel() for _, shape in ran),
    )


def _layer(module: nn.Conv2d | nn.Linear, shape: torch.Size) -> tuple[int, ...]:
    bias = int(module.bias is not None)
    if isinstance(module, nn.Linear):
        return (module.in_features, module.out_features, 0, 1, 1, 1, bias)
    return (
        module.in_channels,
        module.out_channels,
        module.kernel_size[0],
        module.stride[0],
        module.groups,
        shape[-1],
        bias,
    )
