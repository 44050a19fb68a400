"""The process group of torchrun, or a single process; BatchNorm over several processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from designspace.errors import InputError, counted
from designspace.training.devices import resolve_devices

# The first process may decode images for hours, longer than torch's default time-out.
_DECODING = timedelta(days=7)


@dataclass(frozen=True)
class ProcessGroupInfo:
    """This process among those that train together.

    Attributes:
        device: Where this process trains.
        rank: Its number, from 0.
        size: Number of processes.
        handle: torch's process group; None for a single process.
        patient: A group whose time-out allows for decoding; None for `handle`.
        local_size: Number of processes on this machine.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    handle: dist.ProcessGroup | None = None
    patient: dist.ProcessGroup | None = None
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def batch_slice(self, batch: int) -> slice:
        """Return this process's part of a batch.

        Raises:
            InputError: The batch can't be split evenly.
        """
        self.check_batch(batch)
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def check_batch(self, batch: int, parts: int = 1) -> None:
        """Raise unless a batch can be split evenly over the processes, and there into parts."""
        if batch % (self.size * parts):
            times = f", times {parts} parts" if parts > 1 else ""
            raise InputError(
                f"batch_size is {batch}; it must be a multiple of the {self.size} processes{times}",
                argument="batch_size",
            )

    def mean(self, value: Tensor) -> Tensor:
        """Average over the processes, in place."""
        return self.sum(value).div_(self.size)

    def sum(self, value: Tensor) -> Tensor:
        """Sum over the processes, in place."""
        if self.handle is not None:
            dist.all_reduce(value, group=self.handle)
        return value

    def gather(self, value: Tensor) -> list[Tensor]:
        """Return the tensors of all processes by rank."""
        if self.handle is None:
            return [value]
        parts = [torch.empty_like(value) for _ in range(self.size)]
        dist.all_gather(parts, value.contiguous(), group=self.handle)
        return parts

    def gather_objects(self, value: Any) -> list[Any]:
        """Return small objects of all processes by rank."""
        if self.handle is None:
            return [value]
        objects = [None] * self.size
        dist.all_gather_object(objects, value, group=self.patient or self.handle)
        return objects

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.handle is not None:
            dist.barrier(group=self.handle)

    def wait_for_first(self) -> None:
        """Wait for all processes, for days if need be, while the first decodes images."""
        if self.handle is not None:
            dist.barrier(group=self.patient or self.handle)


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroupInfo]:
    """Initialize the process group of torchrun, if it started this process.

    Raises:
        InputError: There is no such device, or there are more local processes than GPUs.
    """
    devices = resolve_devices(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroupInfo(torch.device(devices[0]))
        return
    if "LOCAL_RANK" not in os.environ:
        raise InputError(
            f"WORLD_SIZE is {size}, but LOCAL_RANK is not set: start the processes by torchrun, or "
            "unset WORLD_SIZE to train in this one alone"
        )
    local_rank = int(os.environ["LOCAL_RANK"])
    on_gpu = devices[0].startswith("cuda")
    if on_gpu and local_rank >= len(devices):
        raise InputError(
            f"{local_rank + 1} processes or more on a machine with {counted(len(devices), 'GPU')}"
        )
    own = torch.device(devices[local_rank] if on_gpu else devices[0])
    if on_gpu:
        torch.cuda.set_device(own)
    # Distributed checkpoints exchange their plans by gloo.
    if on_gpu:
        dist.init_process_group("cpu:gloo,cuda:nccl", device_id=own)
    else:
        dist.init_process_group("gloo")
    try:
        patient = dist.new_group(backend="gloo", timeout=_DECODING)
        assert isinstance(patient, dist.ProcessGroup)
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
        yield ProcessGroupInfo(own, dist.get_rank(), size, dist.group.WORLD, patient, local_size)
    finally:
        dist.destroy_process_group()


def sync_batchnorm(network: nn.Module, group: ProcessGroupInfo, group_size: int) -> nn.Module:
    """Compute BatchNorm statistics over the batches of several processes.

    Args:
        network: Changed in place.
        group: The processes.
        group_size: Processes that share statistics; 0 for all.
    """
    if group.handle is None or group_size == 1:
        return network
    handle, size = group.handle, group.size
    if 0 < group_size < group.size:
        if group.size % group_size:
            raise InputError(f"{group.size} processes can't be split into groups of {group_size}")
        handle, _ = dist.new_subgroups(group_size)
        size = group_size
    if group.device.type == "cuda":
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(  # type: ignore[no-untyped-call]
            network, handle
        )
        return synced
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, CpuSyncBatchNorm(child, handle, size))
    return network


class CpuSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """SyncBatchNorm for CPUs; torch's own requires a GPU."""

    def __init__(
        self, norm: nn.BatchNorm1d | nn.BatchNorm2d, handle: dist.ProcessGroup, size: int
    ) -> None:
        """Take over a layer's parameters and statistics under the same names."""
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self._handle, self._size = handle, size

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (n, channels, ...) in float32; each process must hold equally many elements."""
        dims = [0, *range(2, x.dim())]
        shape = [1, -1, *(1 for _ in dims[1:])]
        exact = x.float()
        if self.training:
            count = x.numel() // x.shape[1] * self._size
            mean = _all_reduce(exact.sum(dims), self._handle) / count
            centered = exact - mean.view(shape)
            var = _all_reduce(centered.square().sum(dims), self._handle) / count
            self._update_statistics(mean.detach(), var.detach() * count / (count - 1))
        else:
            mean, var = self.running_mean, self.running_var  # type: ignore[assignment]
            centered = exact - mean.view(shape)
        scale = (var + self.eps).rsqrt() * self.weight
        return (centered * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, var: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        for running, new in ((self.running_mean, mean), (self.running_var, var)):
            assert isinstance(running, Tensor)
            running.lerp_(new, self.momentum or 0.0)


class _AllReduce(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, handle: dist.ProcessGroup) -> Tensor:
        """Sum the values."""
        ctx.handle = handle
        total = value.clone()
        dist.all_reduce(total, group=handle)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Sum the gradients."""
        total = gradient.clone()
        dist.all_reduce(total, group=ctx.handle)
        return total, None


def _all_reduce(value: Tensor, handle: dist.ProcessGroup) -> Tensor:
    total: Tensor = _AllReduce.apply(value, handle)
    return total
