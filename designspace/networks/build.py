"""The torch network of a model."""

from typing import Any

import torch
from torch import nn

from designspace.arch import BOTTLENECK, Block, Model, find_block, is_shipped
from designspace.errors import InputError
from designspace.networks.bottleneck import bottleneck_stages
from designspace.networks.fast_convolutions import use_fast_convolutions
from designspace.networks.fused_blocks import fuse
from designspace.networks.layers import Layers
from designspace.networks.staged_network import StagedNetwork
from designspace.networks.strided_projection import replace_strided_projections


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
        fused: Use layers that train faster on a CPU, with the same state and, up to rounding, the
            same results.

    Raises:
        InputError: The network of another block can't be built or run, or is not the one counted.
    """
    block = model.body.block
    if block != BOTTLENECK:
        network = _build_other(find_block(block), model, zero_init_residual, device)
    else:
        layers = Layers(model.body.activation)
        with torch.device(device):
            stages = bottleneck_stages(model, layers)
            network = StagedNetwork(model, stages, layers, zero_init_residual, zero_biases=False)
    replace_strided_projections(network)
    if fused:
        fuse_for_cpu(network, model)
    return network


def build_on_meta(model: Model) -> Any:
    """Build a network on `meta`, to read its modules and state keys.

    One that can't be built or run there, as a plugin's may be, is built on the CPU before.

    Raises:
        InputError: As of `build`.
    """
    try:
        return build(model, device="meta")
    except InputError:
        with torch.random.fork_rng(devices=[]):
            return build(model).to("meta")


def fuse_for_cpu(network: nn.Module, model: Model) -> None:
    """Let a CPU train a network faster, in place, unless its block is a plugin's.

    State and, up to rounding, results stay the same. The network can't be compiled any more.
    """
    block = model.body.block
    if block == BOTTLENECK or is_shipped(block):
        fuse(network)
        use_fast_convolutions(network)


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
