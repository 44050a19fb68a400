"""Tensors that lie in parts on several processes (torch's DTensor), beside ordinary ones."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor, distribute_tensor


def local(tensor: Tensor) -> Tensor:
    """Return what this process holds, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return the whole tensor; every process that holds a part must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def group_of(tensors: list[Tensor]) -> dist.ProcessGroup | None:
    """Return the processes that tensors lie on in parts, or None where they are ordinary."""
    first = tensors[0] if tensors else None
    return first.device_mesh.get_group() if isinstance(first, DTensor) else None


@torch.no_grad()
def fill(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into the targets of the same names.

    A target in parts takes its part of a whole value; no process hears of another.
    """
    assert targets.keys() == values.keys(), sorted(targets.keys() ^ values.keys())
    for name, target in targets.items():
        value = values[name]
        if isinstance(target, DTensor) and not isinstance(value, DTensor):
            value = distribute_tensor(
                value.to(target.device), target.device_mesh, target.placements, src_data_rank=None
            )
        target.copy_(value)
