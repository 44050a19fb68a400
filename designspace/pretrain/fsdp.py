"""Parameters, gradients and momentum split over the processes (FSDP2, Zhao et al. 2023).

Each process holds a part of every parameter. Before a block runs, its parameters are gathered; its
gradients are averaged and scattered at once. In mixed precision blocks compute and are gathered in
bfloat16 while the parts, the averaging of gradients and the optimizer stay in float32; BatchNorm
and prototypes are float32 throughout, as in VISSL's FSDP of SEER-10B.
"""

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from designspace.arch import Model
from designspace.pretrain.distributed import ProcessGroupInfo, share_statistics
from designspace.pretrain.dtensor import fill
from designspace.pretrain.recipe import SwavRecipe
from designspace.pretrain.swav_network import SwavNetwork

_Norm = nn.modules.batchnorm._BatchNorm


def sharded_network(
    model: Model,
    recipe: SwavRecipe,
    seed: int,
    world: ProcessGroupInfo,
    reduced: torch.dtype | None,
) -> SwavNetwork:
    """Build the network in parts, with the weights that the seed gives one process.

    The first process alone allocates the whole, in its main memory.

    Args:
        model: The trunk.
        recipe: How it is pretrained.
        seed: Of the weights.
        world: The processes, more than one.
        reduced: What blocks compute in; None for float32.
    """
    assert world.group is not None
    network = SwavNetwork(model, recipe, device="meta")
    share_statistics(network, world, recipe.sync_bn_group)
    split(network, DeviceMesh.from_group(world.group, world.device.type), reduced)
    network.to_empty(device=world.device)
    source = None
    if world.first:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            source = SwavNetwork(model, recipe).state_dict()
    _spread(network, source, world)
    return network


def split(network: SwavNetwork, mesh: DeviceMesh, reduced: torch.dtype | None) -> None:
    """Split a network's parameters, in place.

    What is gathered at once: the stem, each block, the head, and the prototypes.
    """
    exact = MixedPrecisionPolicy()
    mixed = MixedPrecisionPolicy(param_dtype=reduced, reduce_dtype=torch.float32)
    stages = network.trunk.trunk_output.children()
    blocks = [block for stage in stages for block in stage.children()]
    for unit in (network.trunk.stem, *blocks, network.head):
        norms: list[nn.Module] = [m for m in unit.modules() if isinstance(m, _Norm)]
        if reduced is not None and norms:
            fully_shard(norms, mesh=mesh, mp_policy=exact, reshard_after_forward=False)
        fully_shard(unit, mesh=mesh, mp_policy=exact if reduced is None else mixed)
    # The queue is scored right after the forward pass.
    fully_shard(network.prototypes, mesh=mesh, mp_policy=exact, reshard_after_forward=False)
    fully_shard(network, mesh=mesh, mp_policy=exact)


def _spread(network: nn.Module, source: dict[str, Tensor] | None, world: ProcessGroupInfo) -> None:
    """Give every process its part of the first one's state, one tensor at a time."""
    for name, target in network.state_dict().items():
        if source is None:
            value = torch.empty(target.shape, dtype=target.dtype, device=world.device)
        else:
            value = source[name].to(world.device)
        dist.broadcast(value, src=0, group=world.group)
        fill({name: target}, {name: value})
