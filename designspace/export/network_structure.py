"""Measure a torch network of any library: blocks, layers, parameters, multiply-adds.

A forward pass on the `meta` device needs no memory.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Block:
    """A residual block.

    Attributes:
        width: Output channels.
        inner: Channels of the 3x3 convolution.
        group_width: Channels per group.
        stride: Stride of the 3x3 convolution.
        side: Side of its output, in pixels.
    """

    width: int
    inner: int
    group_width: int
    stride: int
    side: int


@dataclass(frozen=True)
class Structure:
    """A network's structure and cost.

    Attributes:
        blocks: Residual blocks, in order.
        layers: All convolutions and linear layers as tuples, sorted, because libraries run the
            shortcut before or after the block's main path.
        params: Learnable parameters.
        flops: Multiply-adds of convolutions and linear layers, with bias additions.
        acts: Output elements of convolutions and linear layers.
    """

    blocks: tuple[Block, ...]
    layers: tuple[tuple[int, ...], ...]
    params: int
    flops: int
    acts: int


def measure(network: nn.Module, resolution: int) -> Structure:
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
            network(torch.empty(1, 3, resolution, resolution, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    biases = sum(shape.numel() for module, shape in ran if module.bias is not None)
    return Structure(
        blocks=_blocks(ran),
        layers=tuple(sorted(_layer(module, shape) for module, shape in ran)),
        params=sum(parameter.numel() for parameter in network.parameters()),
        flops=counter.get_total_flops() // 2 + biases,
        acts=sum(shape.numel() for _, shape in ran),
    )


def _blocks(ran: list[tuple[nn.Conv2d | nn.Linear, torch.Size]]) -> tuple[Block, ...]:
    """Find the blocks: each 3x3 after the stem, with the 1x1 without bias that follows it."""
    convs = [
        (module, shape)
        for module, shape in ran
        if isinstance(module, nn.Conv2d) and module.bias is None
    ]
    blocks = []
    for (middle, shape), (last, _) in pairwise(convs[1:]):
        if middle.kernel_size == (3, 3):
            blocks.append(
                Block(
                    width=last.out_channels,
                    inner=middle.out_channels,
                    group_width=middle.in_channels // middle.groups,
                    stride=middle.stride[0],
                    side=shape[-1],
                )
            )
    return tuple(blocks)


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
