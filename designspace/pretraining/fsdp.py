"""Parameters, gradients and momentum sharded over processes (FSDP2, Zhao et al. 2023).

A block's parameters are gathered before it runs; its gradients are averaged and scattered at once.
In mixed precision blocks are gathered and compute in bfloat16, while shards, gradient averaging and
the optimizer stay in float32; BatchNorm and prototypes are float32 throughout, as in VISSL's FSDP
of SEER-10B.
"""

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from designspace.arch import Model
from designspace.pretraining.distributed import ProcessGroupInfo, sync_batchnorm
from designspace.pretraining.dtensor import copy_state
from designspace.pretraining.recipe import SwavRecipe
from designspace.pretraining.swav_network import SwavNetwork

_BatchNorm = nn.modules.batchnorm._BatchNorm


def sharded_network(
    model: Model,
    recipe: SwavRecipe,
    seed: int,
    group: ProcessGroupInfo,
    compute_dtype: torch.dtype | None,
) -> SwavNetwork:
    """Build a sharded network with the same weights as a single process would have.

    Only the first process allocates the whole network, in main memory.

    Args:
        model: The trunk.
        recipe: How it is pretrained.
        seed: Of the weights.
        group: The processes, at least two.
        compute_dtype: What blocks compute in; None for float32.
    """
    assert group.handle is not None
    network = SwavNetwork(model, recipe, device="meta")
    sync_batchnorm(network, group, recipe.sync_bn_group)
    shard(network, DeviceMesh.from_group(group.handle, group.device.type), compute_dtype)
    network.to_empty(device=group.device)
    source = None
    if group.first:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            source = SwavNetwork(model, recipe).state_dict()
    _broadcast(network, source, group)
    return network


def shard(network: SwavNetwork, mesh: DeviceMesh, compute_dtype: torch.dtype | None) -> None:
    """Shard a network in place; stem, each block, head and prototypes are gathered separately."""
    exact = MixedPrecisionPolicy()
    mixed = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32)
    stages = network.trunk.trunk_output.children()
    blocks = [block for stage in stages for block in stage.children()]
    for unit in (network.trunk.stem, *blocks, network.head):
        norms: list[nn.Module] = [m for m in unit.modules() if isinstance(m, _BatchNorm)]
        if compute_dtype is not None and norms:
            fully_shard(norms, mesh=mesh, mp_policy=exact, reshard_after_forward=False)
        fully_shard(unit, mesh=mesh, mp_policy=exact if compute_dtype is None else mixed)
    # The queue is scored right after the forward pass.
    fully_shard(network.prototypes, mesh=mesh, mp_policy=exact, reshard_after_forward=False)
    fully_shard(network, mesh=mesh, mp_policy=exact)


def _broadcast(
    network: nn.Module, source: dict[str, Tensor] | None, group: ProcessGroupInfo
) -> None:
    """Copy the first process's state into all shards, one tensor at a time."""
    for name, target in network.state_dict().items():
        if source is None:
            value = torch.empty(target.shape, dtype=target.dtype, device=group.device)
        else:
            value = source[name].to(group.device)
        dist.broadcast(value, src=0, group=group.handle)
        copy_state({name: target}, {name: value})
