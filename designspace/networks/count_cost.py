"""Measure a torch network of any library: layers, parameters, multiply-adds, activations.

A forward pass on the `meta` device needs no memory. The convention is that of `arch.cost`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from designspace.arch import (
    BOTTLENECK,
    MEASURES,
    Block,
    Body,
    Model,
    Population,
    Skeleton,
    find_block,
    is_shipped,
)
from designspace.errors import InputError


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


_Layer = nn.modules.conv._ConvNd | nn.Linear


def measure(
    network: nn.Module, resolution: int, channels: int = 3, device: str = "meta"
) -> Structure:
    """Measure a network on `meta`, or the device that it is on, with one square image."""
    network.eval()
    ran: list[tuple[_Layer, torch.Size]] = []

    def record(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        assert isinstance(module, _Layer)
        ran.append((module, output.shape))

    hooks = [
        module.register_forward_hook(record)
        for module in network.modules()
        if isinstance(module, _Layer)
    ]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            network(torch.zeros(1, channels, resolution, resolution, device=device))
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


def measured_cost(block: Block, body: Body, skeleton: Skeleton) -> tuple[int, int, int]:
    """Build the network of a block and count its flops, params and acts.

    On the CPU, where a network can't be built or run on `meta`.
    """
    model = Model("counted", body, skeleton)
    side, channels = skeleton.resolution, skeleton.channels
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                cost = measure(block.network(model, False), side, channels)
        except Exception:  # a plugin's code may need values there in any way
            cost = measure(block.network(model, False), side, channels, "cpu")
    return cost.flops, cost.params, cost.acts


def check_cost(population: Population, models: int = 3) -> None:
    """Check the cost of a block of one's own against the networks of the first models.

    Raises:
        InputError: Flops, params or acts differ; the message has both.
    """
    name = population.bodies.block
    if name == BOTTLENECK or is_shipped(name) or (block := find_block(name)).cost is None:
        return
    for i in range(min(models, len(population))):
        body = population.bodies.body(i)
        try:
            built = measured_cost(block, body, population.skeleton.with_stages(body.num_stages))
        except (Exception, SystemExit) as error:  # another's code may fail in any way
            raise InputError(
                f"block {name}, model {i}: its network failed: {type(error).__name__}: {error}"
            ) from error
        for measure_name, value in zip(MEASURES, built, strict=True):
            counted = int(getattr(population.cost, measure_name)[i])
            if counted != value:
                raise InputError(
                    f"block {name}, model {i} ({body.id}): its network has {value:,} "
                    f"{measure_name}, its cost counts {counted:,}; they must be equal (leave out "
                    "the cost to have the networks counted)"
                )


def _layer(module: _Layer, shape: torch.Size) -> tuple[int, ...]:
    bias = int(module.bias is not None)
    if isinstance(module, nn.Linear):
        # Of a map (n, height, width, channels), it is a 1x1 convolution.
        kernel, side = (1, shape[-2]) if len(shape) == 4 else (0, 1)
        return (module.in_features, module.out_features, kernel, 1, 1, side, bias)
    return (
        module.in_channels,
        module.out_channels,
        module.kernel_size[0],
        module.stride[0],
        module.groups,
        shape[-1],
        bias,
    )
