"""The torch network of a model, built from torchvision's RegNet parts with explicit stages.

torchvision's own rounding (`BlockParams.from_init_params`) differs from the paper's, so it is never
used: the stages are handed over as they are.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision.models.regnet import BlockParams, RegNet, ResBottleneckBlock
from torchvision.ops.misc import Conv2dNormActivation

from designspace.arch import BOTTLENECK, Block, Model, find_block
from designspace.errors import InputError
from designspace.networks.fused_blocks import FusedBatchNorm, FusedBlock, fuse_relu
from designspace.networks.strided_projection import replace_strided_projections


def block_params(model: Model) -> BlockParams:
    """Return torchvision's description of the model's stages."""
    body = model.body
    return BlockParams(
        depths=list(body.depths),
        widths=list(body.widths),
        group_widths=list(body.group_widths),
        bottleneck_multipliers=[1 / b for b in body.bottleneck_ratios],
        strides=list(model.skeleton.strides),
        se_ratio=body.se_ratio or None,
    )


def build(
    model: Model,
    zero_init_residual: bool = False,
    device: torch.device | str = "cpu",
    fused: bool = False,
) -> RegNet:
    """Build the network with fresh weights from torch's global random state.

    Convolutions start from N(0, 2 / (k * k * output channels)), the classifier from N(0, 0.01^2)
    with zero bias, BatchNorm from scale 1 and shift 0, as in pycls. State keys are torchvision's.
    Another block than RegNet's is built by the package that brings it, as any module, never fused;
    one image is run through it, to see that it is the network whose cost was counted.

    Args:
        model: What to build.
        zero_init_residual: Start the last BatchNorm scale of each block at 0, so that every
            residual branch begins as the identity (Goyal et al. 2017, §5.1).
        device: Where the weights lie; `meta` allocates none.
        fused: Of blocks that train faster on a CPU, with the same state and, up to rounding, the
            same results.

    Raises:
        InputError: Another package's network can't be built or run, or is not what was counted.
    """
    if model.body.block != BOTTLENECK:
        return _brought(find_block(model.body.block), model, zero_init_residual, device)
    with torch.device(device):
        network = RegNet(
            block_params(model),
            num_classes=model.skeleton.classes,
            stem_width=model.skeleton.stem_width,
            stem_type=partial(_stem, model.skeleton.stem_stride, fused),
            block_type=FusedBlock if fused else ResBottleneckBlock,
            norm_layer=FusedBatchNorm if fused else nn.BatchNorm2d,
        )
    if zero_init_residual:
        for module in network.modules():
            if isinstance(module, ResBottleneckBlock):
                nn.init.zeros_(module.f.c[1].weight)
    replace_strided_projections(network)
    return network


def _brought(
    block: Block, model: Model, zero_init_residual: bool, device: torch.device | str
) -> Any:
    """Build a network of another package's block, and hold it against the model."""
    where = f"block {block.name}, model {model.name}"
    side, wanted = model.skeleton.resolution, (1, model.skeleton.classes)
    try:
        with torch.device(device):
            network = block.network(model, zero_init_residual)
            if not isinstance(network, nn.Module):
                raise InputError(f"its network must be a torch.nn.Module; found {network!r:.80}")
            # What is drawn while looking must not change how training goes on.
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                logits = network.eval()(torch.zeros(1, 3, side, side))
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != wanted:
            raise InputError(
                f"its network turns images (1, 3, {side}, {side}) into {shape}; they must become "
                f"logits {wanted}, (n, classes)"
            )
        built = sum(parameter.numel() for parameter in network.parameters())
        if built != model.params:
            raise InputError(
                f"its network has {built:,} parameters, its cost counts {model.params:,}; "
                "they must be equal"
            )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:  # another's code, which may fail in any way
        raise InputError(f"{where}: its network failed: {type(error).__name__}: {error}") from error
    replace_strided_projections(network)
    return network.train()


def _stem(
    stride: int,
    fused: bool,
    width_in: int,
    width_out: int,
    norm_layer: Callable[..., nn.Module],
    activation_layer: Callable[..., nn.Module],
) -> Conv2dNormActivation:
    stem = Conv2dNormActivation(
        width_in,
        width_out,
        kernel_size=3,
        stride=stride,
        norm_layer=norm_layer,
        activation_layer=activation_layer,
    )
    return fuse_relu(stem) if fused else stem
