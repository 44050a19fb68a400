"""Blocks that stand in the usual network: stem, stages of repeated blocks, pooling, classifier.

A block is two functions, which say the same twice: `count` adds the layers of one block of each of
n networks to a `LayerCounter`, and `build` makes those of one network of torch modules. Everything
around the blocks is counted and built here and in `networks.staged_network`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from designspace.arch import Block, BlockAxis, BodyBatch, Cost, Model, Skeleton
from designspace.arch.activation import Activation
from designspace.arch.layer_counter import LayerCounter

if TYPE_CHECKING:
    from torch import nn

    from designspace.networks.layers import Layers


@dataclass(frozen=True)
class BlockShape:
    """The sizes of one block: of one network, or arrays (n,) of n networks.

    Attributes:
        width_in: Channels of its input.
        width: Channels of its output.
        inner: Channels of its 3x3 convolution, width / b.
        group_width: Channels a group of that convolution.
        squeeze_width: Channels inside squeeze-and-excitation, from its input width; 0 is none.
        stride: 1 or 2.
        side_in: Side of its input in pixels.
        side: Side of its output in pixels.
        axes: Values of the block's own axes.
    """

    width_in: Any
    width: Any
    inner: Any
    group_width: Any
    squeeze_width: Any
    stride: int
    side_in: int
    side: int
    axes: Mapping[str, Any]

    @property
    def changes_shape(self) -> Any:
        """Whether output and input differ in shape, so that no identity can be added."""
        return (self.width_in != self.width) | (self.stride != 1)


Count = Callable[[LayerCounter, BlockShape], None]
Build = Callable[["Layers", BlockShape], "nn.Module"]


def staged_block(
    name: str,
    about: str,
    count: Count,
    build: Build,
    *,
    axes: tuple[BlockAxis, ...] = (),
    body_axes: tuple[Literal["b", "g"], ...] = (),
    squeeze: bool = False,
    activations: tuple[Activation, ...] = ("relu", "silu", "gelu", "relu6"),
    layer_norm: bool = False,
) -> Block:
    """Make a `Block` of two functions of one block.

    Args:
        name: Its name in spaces.
        about: What it is and where it comes from.
        count: Adds the layers of one block.
        build: Builds one block.
        axes: As of `Block`.
        body_axes: As of `Block`.
        squeeze: As of `Block`.
        activations: As of `Block`.
        layer_norm: Whether its networks have LayerNorm in place of BatchNorm, and biases in their
            convolutions, as ConvNeXt does.
    """
    return Block(
        name=name,
        about=about,
        axes=axes,
        cost=partial(_cost, count, layer_norm),
        network=partial(_network, build, layer_norm),
        body_axes=body_axes,
        squeeze=squeeze,
        activations=activations,
    )


def _cost(count: Count, layer_norm: bool, bodies: BodyBatch, skeleton: Skeleton) -> Cost:
    total = LayerCounter(len(bodies))
    total.stem(skeleton, bias=layer_norm)
    width = np.full(len(bodies), skeleton.stem_width, dtype=np.int64)
    sides = skeleton.stage_resolutions()
    inner = bodies.inner_widths
    for i, stride in enumerate(skeleton.strides):
        axes = {name: values[:, i] for name, values in bodies.extras.items()}
        first = BlockShape(
            width_in=width,
            width=bodies.widths[:, i],
            inner=inner[:, i],
            group_width=bodies.group_widths[:, i],
            squeeze_width=np.rint(bodies.se_ratios * width).astype(np.int64),
            stride=stride,
            side_in=sides[i],
            side=sides[i + 1],
            axes={k: v.astype(np.int64) if (v % 1 == 0).all() else v for k, v in axes.items()},
        )
        width = first.width
        total.times = 1
        count(total, first)
        total.times = bodies.depths[:, i] - 1
        squeeze = np.rint(bodies.se_ratios * width).astype(np.int64)
        count(total, _next(first, squeeze))
    total.times = 1
    total.head(width, skeleton)
    if layer_norm:
        total.scale(skeleton.head_width or width, 2)
    return Cost(flops=total.flops, params=total.params, acts=total.acts)


def block_shapes(model: Model) -> list[list[BlockShape]]:
    """Return the sizes of every block of a model, stage by stage."""
    body, sides, width = model.body, model.skeleton.stage_resolutions(), model.skeleton.stem_width
    stages = []
    for i, stride in enumerate(model.skeleton.strides):
        values = {name: values[i] for name, values in body.extras}
        first = BlockShape(
            width_in=width,
            width=body.widths[i],
            inner=round(body.widths[i] / body.bottleneck_ratios[i]),
            group_width=body.group_widths[i],
            squeeze_width=model.squeeze_widths[i][0],
            stride=stride,
            side_in=sides[i],
            side=sides[i + 1],
            axes={k: int(v) if v.is_integer() else v for k, v in values.items()},
        )
        others = [_next(first, model.squeeze_widths[i][1])] * (body.depths[i] - 1)
        stages.append([first, *others])
        width = first.width
    return stages


def _next(first: BlockShape, squeeze_width: Any) -> BlockShape:
    """Return the shape of the other blocks of a stage."""
    return replace(
        first, width_in=first.width, squeeze_width=squeeze_width, stride=1, side_in=first.side
    )


def _network(build: Build, layer_norm: bool, model: Model, zero_init_residual: bool) -> "nn.Module":
    from designspace.networks.layers import Layers
    from designspace.networks.staged_network import StagedNetwork

    layers = Layers(model.body.activation, layer_norm)
    stages = [[build(layers, shape) for shape in stage] for stage in block_shapes(model)]
    return StagedNetwork(model, stages, layers, zero_init_residual)
