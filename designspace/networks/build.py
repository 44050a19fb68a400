"""The torch network of a model; RegNet's blocks are torchvision's, with explicit stages.

torchvision's own rounding (`BlockParams.from_init_params`) differs from the paper's: not used.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision.models.regnet import BlockParams, RegNet, ResBottleneckBlock

from designspace.arch import BOTTLENECK, Block, Model, find_block, is_shipped
from designspace.errors import InputError
from designspace.networks.fused_blocks import FusedBatchNorm, FusedBlock, fuse
from designspace.networks.layers import ACTIVATION_LAYERS, Layers
from designspace.networks.staged_network import initialize
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
) -> Any:
    """Build the network with fresh weights from torch's global random state.

    Convolutions start from N(0, 2 / (k * k * output channels)), the classifier from N(0, 0.01^2)
    with zero bias, BatchNorm from scale 1 and shift 0, as in pycls. State keys are torchvision's.
    The network of another block comes from that block; unless the block ships, one image is run
    through it to check that it is the network whose cost was counted.

    Args:
        model: What to build.
        zero_init_residual: Start the last BatchNorm scale of each block at 0, so that every
            residual branch begins as the identity (Goyal et al. 2017, §5.1).
        device: Device of the weights; `meta` allocates none.
        fused: Use blocks that train faster on a CPU, with the same state and, up to rounding, the
            same results.

    Raises:
        InputError: The network of another block can't be built or run, or is not the one counted.
    """
    if model.body.block != BOTTLENECK:
        network = _build_other(find_block(model.body.block), model, zero_init_residual, device)
        if fused and is_shipped(model.body.block):
            fuse(network)
    else:
        with torch.device(device):
            network = _build_regnet(model, fused and model.body.activation == "relu")
        for module in network.modules():
            if zero_init_residual and isinstance(module, ResBottleneckBlock):
                nn.init.zeros_(module.f.c[1].weight)
    replace_strided_projections(network)
    return network


def _build_regnet(model: Model, fused: bool) -> RegNet:
    skeleton = model.skeleton
    layers = Layers(model.body.activation)
    network = RegNet(
        block_params(model),
        num_classes=skeleton.classes,
        stem_width=skeleton.stem_width,
        # torchvision passes 3 as the image's channels, whatever the image.
        stem_type=lambda *_: fuse(layers.stem(skeleton)) if fused else layers.stem(skeleton),
        block_type=partial(_block, FusedBlock if fused else ResBottleneckBlock),
        norm_layer=FusedBatchNorm if fused else nn.BatchNorm2d,
        activation=ACTIVATION_LAYERS[model.body.activation],
    )
    if skeleton.head_width:
        network.avgpool = layers.pooling(model.body.widths[-1], skeleton)
        network.fc = nn.Linear(skeleton.head_width, skeleton.classes)
        initialize(nn.ModuleList([network.avgpool, network.fc]))
    return network


def _build_other(
    block: Block, model: Model, zero_init_residual: bool, device: torch.device | str
) -> Any:
    """Build the network of another block; unless it ships, check it against the model."""
    if is_shipped(block.name):
        with torch.device(device):
            return block.network(model, zero_init_residual)
    where = f"block {block.name}, model {model.name}"
    side, channels = model.skeleton.resolution, model.skeleton.channels
    expected = (1, model.skeleton.classes)
    try:
        with torch.device(device):
            network = block.network(model, zero_init_residual)
            if not isinstance(network, nn.Module):
                raise InputError(f"its network must be a torch.nn.Module; found {network!r:.80}")
            # The check must not change the random numbers of training.
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                logits = network.eval()(torch.zeros(1, channels, side, side))
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != expected:
            raise InputError(
                f"its network turns images (1, {channels}, {side}, {side}) into {shape}; they must "
                f"become logits {expected}, (n, classes)"
            )
        params = sum(parameter.numel() for parameter in network.parameters())
        if params != model.params:
            raise InputError(
                f"its network has {params:,} parameters, its cost counts {model.params:,}; "
                "they must be equal"
            )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:  # another's code may fail in any way
        raise InputError(f"{where}: its network failed: {type(error).__name__}: {error}") from error
    return network.train()


def _block(block_type: Callable[..., nn.Module], width_in: int, *args: Any) -> nn.Module:
    """Build a block, without squeeze-and-excitation where the squeeze width rounds to 0."""
    *args_before, se_ratio = args
    has_squeeze = se_ratio and round(se_ratio * width_in) > 0
    return block_type(width_in, *args_before, se_ratio if has_squeeze else None)
