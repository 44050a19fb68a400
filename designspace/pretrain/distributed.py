"""The processes that train together: torchrun's, or this one alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from designspace.errors import InputError
from designspace.training.devices import resolve_devices


@dataclass(frozen=True)
class ProcessGroupInfo:
    """This process among those that train together.

    Attributes:
        device: Where this process trains.
        rank: Its number, from 0.
        size: How many there are.
        group: All of them, or None where there is one.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes the files and speaks to the person."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Return which images of a batch are this process's.

        Raises:
            InputError: The batch can't be split evenly.
        """
        if batch % self.size:
            raise InputError(
                f"a batch of {batch} can't be split over {self.size} processes evenly; "
                "choose another --batch-size"
            )
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def mean(self, value: Tensor) -> Tensor:
        """Average over the processes, in place."""
        return self.sum(value).div_(self.size)

    def sum(self, value: Tensor) -> Tensor:
        """Add up over the processes, in place."""
        if self.group is not None:
            dist.all_reduce(value, group=self.group)
        return value

    def gather(self, value: Tensor) -> list[Tensor]:
        """Return every process's tensor, in order."""
        if self.group is None:
            return [value]
        parts = [torch.empty_like(value) for _ in range(self.size)]
        dist.all_gather(parts, value.contiguous(), group=self.group)
        return parts

    def wait(self) -> None:
        """Wait for all."""
        if self.group is not None:
            dist.barrier(group=self.group)


@contextmanager
def join(device: str) -> Iterator[ProcessGroupInfo]:
    """Join the processes that torchrun started, or be alone.

    Raises:
        InputError: There is no such device, or there are more processes here than GPUs.
    """
    places = resolve_devices(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroupInfo(torch.device(places[0]))
        return
    here = int(os.environ["LOCAL_RANK"])
    on_gpu = places[0].startswith("cuda")
    if on_gpu and here >= len(places):
        raise InputError(f"{here + 1} processes or more on a machine with {len(places)} GPUs")
    place = torch.device(places[here] if on_gpu else places[0])
    if on_gpu:
        torch.cuda.set_device(place)
    # gloo beside NCCL carries the plans of checkpoints.
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield ProcessGroupInfo(place, dist.get_rank(), size, dist.group.WORLD)
    finally:
        dist.destroy_process_group()


def share_statistics(network: nn.Module, world: ProcessGroupInfo, group_size: int) -> nn.Module:
    """Let BatchNorm layers take their statistics over the batches of several processes.

    Args:
        network: Changed in place.
        world: The processes.
        group_size: How many share statistics; 0 for all.
    """
    if world.group is None or group_size == 1:
        return network
    group, size = world.group, world.size
    if 0 < group_size < world.size:
        if world.size % group_size:
            raise InputError(f"{world.size} processes can't be split into groups of {group_size}")
        group, _ = dist.new_subgroups(group_size)
        size = group_size
    if world.device.type == "cuda":
        made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(  # type: ignore[no-untyped-call]
            network, group
        )
        return made
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, SharedBatchNorm(child, group, size))
    return network


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the batches of several processes, where torch's own asks for a GPU."""

    def __init__(
        self, norm: nn.BatchNorm1d | nn.BatchNorm2d, group: dist.ProcessGroup, size: int
    ) -> None:
        """Take over a layer's parameters and statistics, under the same names."""
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self._group, self._size = group, size

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, channels, …) in float32; every process must hold equally many elements."""
        dims = [0, *range(2, x.dim())]
        shape = [1, -1, *(1 for _ in dims[1:])]
        exact = x.float()
        if self.training:
            count = x.numel() // x.shape[1] * self._size
            mean = _sum_over(exact.sum(dims), self._group) / count
            centred = exact - mean.view(shape)
            var = _sum_over(centred.square().sum(dims), self._group) / count
            self._follow(mean.detach(), var.detach() * count / (count - 1))
        else:
            mean, var = self.running_mean, self.running_var  # type: ignore[assignment]
            centred = exact - mean.view(shape)
        scale = (var + self.eps).rsqrt() * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        for kept, new in ((self.running_mean, mean), (self.running_var, var)):
            assert isinstance(kept, Tensor)
            kept.lerp_(new, self.momentum or 0.0)


class _Sum(torch.autograd.Function):
    """Sum over processes whose gradient is the sum over processes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: dist.ProcessGroup) -> Tensor:
        """Add up."""
        ctx.group = group
        made = value.clone()
        dist.all_reduce(made, group=group)
        return made

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Add up the gradients of what every process made of the sum."""
        made = gradient.clone()
        dist.all_reduce(made, group=ctx.group)
        return made, None


def _sum_over(value: Tensor, group: dist.ProcessGroup) -> Tensor:
    made: Tensor = _Sum.apply(value, group)
    return made
