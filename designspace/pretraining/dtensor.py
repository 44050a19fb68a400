"""Sharded tensors (torch's DTensor) and ordinary ones behind one interface."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor, distribute_tensor


def local_tensor(tensor: Tensor) -> Tensor:
    """Return this process's shard, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """Return the whole tensor; collective."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Return whether all values of this process's shards are finite, as a boolean scalar."""
    finite = [torch.isfinite(local_tensor(tensor)).all() for tensor in tensors]
    return torch.stack([one.to(finite[0].device) for one in finite]).all()


def process_group_of(tensors: list[Tensor]) -> dist.ProcessGroup | None:
    """Return the process group that tensors are sharded over; None for ordinary tensors."""
    first = tensors[0] if tensors else None
    return first.device_mesh.get_group() if isinstance(first, DTensor) else None


@torch.no_grad()
def copy_state(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into the targets of the same names.

    A sharded target takes its shard of a whole value, without communication.
    """
    assert targets.keys() == values.keys(), sorted(targets.keys() ^ values.keys())
    for name, target in targets.items():
        value = values[name]
        if isinstance(target, DTensor) and not isinstance(value, DTensor):
            value = distribute_tensor(
                value.to(target.device), target.device_mesh, target.placements, src_data_rank=None
            )
        target.copy_(value)
