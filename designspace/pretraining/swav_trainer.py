"""The training step of SwAV, and the state that resuming needs."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Shard
from torch.nn.parallel import DistributedDataParallel

from designspace.arch import Model
from designspace.networks import fuse_for_cpu
from designspace.pretraining.distributed import ProcessGroupInfo, sync_batchnorm
from designspace.pretraining.dtensor import copy_state, full_tensor, local_tensor
from designspace.pretraining.embedding_queue import EmbeddingQueue
from designspace.pretraining.fsdp import sharded_network
from designspace.pretraining.larc import Larc
from designspace.pretraining.loss import swapped_prediction
from designspace.pretraining.lr_schedule import learning_rate
from designspace.pretraining.multicrop import mixed_seed
from designspace.pretraining.recipe import SwavRecipe
from designspace.pretraining.sinkhorn import codes
from designspace.pretraining.swav_network import SwavNetwork
from designspace.training.optimizer import zero_momentum

# The fused BatchNorm uses one thread. With two, steps are still 1.3 times as fast with it;
# with more, torch's, which uses all, may be faster.
_FUSED_NORM_THREADS = 2
# Stream of random numbers of the network's own layers; crops and orders have 0 and 1.
_LAYERS = 5


class SwavTrainer:
    """Network, optimizer and queue.

    Everything random depends on the seed and the iteration alone; `state` and `restore` carry the
    rest, so that resumed training is bit-identical. Several processes replicate the network (DDP)
    or shard it (FSDP2, `recipe.shard`).

    Attributes:
        network: Trunk, head and prototypes.
        autocast: Type of autocast, or None.
        iteration: Iterations done.
        metrics: Of the current epoch.
    """

    def __init__(
        self,
        model: Model,
        recipe: SwavRecipe,
        per_epoch: int,
        seed: int,
        group: ProcessGroupInfo,
        autocast: torch.dtype | None = None,
        compiled: bool = False,
    ) -> None:
        """Build the network; equal seeds give equal weights on every device and process.

        Args:
            model: The trunk.
            recipe: How it is trained.
            per_epoch: Iterations per epoch.
            seed: Of the weights, and of layers that draw random numbers.
            group: The processes.
            autocast: Compute type besides float32; None for float32 alone. Sharded networks ignore
                float16, which would need sharded gradient scaling.
            compiled: Compile the trunk.
        """
        self._recipe, self._per_epoch, self._group = recipe, per_epoch, group
        self._seed = seed
        self._device = group.device
        self._sharded = recipe.shard and group.handle is not None
        self.autocast = None if self._sharded else autocast
        if self._sharded:
            dtype = autocast if autocast is torch.bfloat16 else None
            self.network = sharded_network(model, recipe, seed, group, dtype)
        else:
            self.network = _whole_network(model, recipe, seed, group)
        self._forward = self.network if self._sharded else _replicated(self.network, group)
        if group.device.type == "cuda":
            _count_on_host(self.network)
        threads = torch.get_num_threads()
        if compiled:
            self.network.compile_trunk()
        elif group.device.type == "cpu" and group.handle is None and threads <= _FUSED_NORM_THREADS:
            fuse_for_cpu(self.network.trunk, model)
        scaled = self.autocast is torch.float16 and group.device.type == "cuda"
        self._optimizer = _optimizer(self.network, recipe, scaled)
        self._scaler = torch.amp.GradScaler(group.device.type, enabled=scaled)
        if scaled:
            zero_momentum(self._optimizer)
        self._queue = self._new_queue()
        self.iteration = 0
        self.metrics = EpochMetrics(recipe, group)

    @property
    def epoch(self) -> int:
        """Epoch of the next iteration, from 0."""
        return self.iteration // self._per_epoch

    def step(self, crops: list[Tensor]) -> tuple[Tensor, float]:
        """Train one iteration; return its mean loss over all processes, and its learning rate.

        Args:
            crops: Of this process's part of the batch, as from `CropMaker`.
        """
        recipe = self._recipe
        lr = learning_rate(recipe, self.iteration, self._per_epoch)
        # Layers that draw random numbers, such as dropout: a resumed training draws the same ones.
        torch.manual_seed(mixed_seed(self._seed, _LAYERS, self.iteration, self._group.rank))
        self.network.normalize_prototypes()
        parts = [self._backward(*part) for part in self._parts(crops)]
        loss, embeddings, scores = parts[0]
        if len(parts) > 1:
            loss = torch.stack([part[0] for part in parts]).sum()
            embeddings, scores = (torch.cat([p[i] for p in parts], dim=1) for i in (1, 2))
        self._push(embeddings)
        if self.iteration < recipe.freeze_prototypes:
            self.network.prototypes.weight.grad = None
        self._optimizer.param_groups[0]["lr"] = lr
        self._scaler.unscale_(self._optimizer)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.iteration += 1
        mean_loss = self._group.mean(loss.clone())
        self.metrics.add(mean_loss, embeddings[0], scores[0])
        return mean_loss, lr

    def _parts(self, crops: list[Tensor]) -> Iterator[tuple[list[Tensor], bool]]:
        """Yield the crops of each part of the images, and whether it is the last."""
        count, batch = self._recipe.accumulate, self._recipe.batch_size // self._group.size
        if count == 1:
            yield crops, True
            return
        for first in range(0, batch, batch // count):
            rows = slice(first, first + batch // count)
            part = [
                torch.cat([crop[rows] for crop in torch.split(sized, batch)]) for sized in crops
            ]
            yield part, first + batch // count == batch

    def _backward(self, crops: list[Tensor], last: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Add the gradients of a part of the batch; return its loss, embeddings and scores.

        Processes exchange gradients in the last part alone.
        """
        recipe, forward = self._recipe, self._forward
        alone = isinstance(forward, DistributedDataParallel) and not last
        if isinstance(forward, FSDPModule):
            forward.set_requires_gradient_sync(last)
            forward.set_is_last_backward(last)
        with forward.no_sync() if alone else nullcontext():  # type: ignore[operator]
            with self._precision():
                embeddings, scores = forward(crops)
            embeddings = embeddings.view(recipe.total_crops, -1, recipe.head.dim)
            scores = scores.view(recipe.total_crops, -1, recipe.prototypes)
            assigned = self._assign(scores)
            loss = swapped_prediction(scores, assigned, recipe.temperature) / recipe.accumulate
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), embeddings.detach(), scores.detach()

    @torch.no_grad()
    def _assign(self, scores: Tensor) -> Tensor:
        recipe, queue = self._recipe, self._queue
        batch = scores.shape[1]
        assigned = []
        for crop in range(recipe.assign):
            targets = scores[crop].detach()
            if queue is not None and queue.full:
                weight = full_tensor(self.network.prototypes.weight)
                targets = torch.cat([queue.rows(crop) @ weight.T, targets.float()])
            crop_codes = codes(
                targets, recipe.sinkhorn.epsilon, recipe.sinkhorn.iterations, self._group.handle
            )
            assigned.append(crop_codes[-batch:])
        return torch.stack(assigned)

    def _push(self, embeddings: Tensor) -> None:
        """Add the embeddings of an iteration to the queue."""
        settings = self._recipe.queue
        if self._queue is not None and settings and self.epoch >= settings.from_epoch:
            self._queue.push(embeddings[: self._recipe.assign])

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Replace parameters and statistics by those of the same names, before the first step."""
        own = self.network.state_dict()
        copy_state({name: own[name] for name in weights}, weights)

    def state(self) -> dict[str, Any]:
        """Return everything that resuming needs; collective.

        Sharded tensors (the queue, and with `recipe.shard` parameters and momentum) are DTensors.
        """
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "momentum": self._momentum(),
            "scaler": self._scaler.state_dict(),
            "queue": self._queue_state(),
            "watch": self.metrics.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state of whole tensors, or of tensors sharded like this trainer's."""
        self.iteration = int(state["iteration"])
        copy_state(self.network.state_dict(), state["network"])
        own = self._momentum()
        copy_state(own, state["momentum"])
        for name, p in self.network.named_parameters():
            self._optimizer.state[p]["momentum_buffer"] = own[name]
        # Empty after training without one: on a CPU, in bfloat16 or sharded.
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self.metrics.restore(state["watch"])
        if self._queue is not None:
            rows, filled = state["queue"]["rows"], int(state["queue"]["filled"])
            crops, dim = self._recipe.assign, self._recipe.head.dim
            if not isinstance(rows, DTensor):
                batch = self._recipe.batch_size
                rows = rows.reshape(crops, -1, batch, dim)[:, :, self._group.batch_slice(batch)]
            queue = local_tensor(rows).reshape(crops, -1, dim)
            self._queue.restore({"rows": queue, "filled": filled // self._group.size})

    def _momentum(self) -> dict[str, Tensor]:
        """Momentum by parameter; zeros before the first step, which are equivalent."""
        return {
            name: self._optimizer.state[p].get("momentum_buffer", torch.zeros_like(p.detach()))
            for name, p in self.network.named_parameters()
        }

    def _new_queue(self) -> EmbeddingQueue | None:
        recipe = self._recipe
        if recipe.queue is None:
            return None
        length = recipe.queue.length // self._group.size
        return EmbeddingQueue(recipe.assign, length, recipe.head.dim, self._device)

    def _queue_state(self) -> dict[str, Any] | None:
        """The queue as (crops, batches, images per batch, dim), sharded by images."""
        if self._queue is None:
            return None
        state = self._queue.state()
        rows, filled = state["rows"], state["filled"]
        assert isinstance(rows, Tensor)
        assert isinstance(filled, int)
        part = self._recipe.batch_size // self._group.size
        rows = rows.view(len(rows), -1, part, rows.shape[2])
        if self._group.handle is not None:
            mesh = DeviceMesh.from_group(self._group.handle, self._device.type)
            rows = DTensor.from_local(rows, mesh, [Shard(2)])
        return {"rows": rows, "filled": filled * self._group.size}

    def _precision(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self.autocast)


class EpochMetrics:
    """Running sums over an epoch: loss, std of the embeddings, and prototypes in use."""

    def __init__(self, recipe: SwavRecipe, group: ProcessGroupInfo) -> None:
        """Start an epoch."""
        self._dim, self._group = recipe.head.dim, group
        self._k = recipe.prototypes
        self.reset()

    def reset(self) -> None:
        """Start a new epoch."""
        device = self._group.device
        self._steps = 0
        # MPS has no float64.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._loss = torch.zeros((), dtype=self._dtype, device=device)
        self._std = torch.zeros((), dtype=self._dtype, device=device)
        self._counts = torch.zeros(self._k, dtype=torch.int64, device=device)

    def add(self, loss: Tensor, embeddings: Tensor, scores: Tensor) -> None:
        """Add a step: the loss, and embeddings (n, dim) and scores (n, K) of one crop."""
        self._steps += 1
        self._loss += loss
        self._std += embeddings.float().std(dim=0, correction=0).mean()
        winners = scores.argmax(dim=1)
        # Unlike bincount, index_add_ doesn't wait for the device.
        self._counts.index_add_(0, winners, torch.ones_like(winners))

    def summary(self) -> dict[str, Any]:
        """Return mean loss, prototypes nearest to any image, shares, and std of the embeddings.

        The std is scaled to 1 if embeddings are uniform on the sphere; 0 means collapse.
        """
        steps = max(1, self._steps)
        counts = self._group.sum(self._counts.clone())
        std = self._group.mean(self._std.clone()).item() / steps
        return {
            "loss": self._loss.item() / steps,
            "prototypes_used": int((counts > 0).sum()),
            "prototype_shares": _shares(counts),
            "feature_std": std * math.sqrt(self._dim),
        }

    def state(self) -> dict[str, Any]:
        """Return the sums over all processes; collective."""
        return {
            "steps": self._steps,
            "loss": self._loss.clone(),
            "spread": self._group.mean(self._std.clone()),
            "wins": self._group.sum(self._counts.clone()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore sums over all processes."""
        device = self._group.device
        self._steps = int(state["steps"])
        self._loss = state["loss"].to(device, self._dtype)
        self._std = state["spread"].to(device, self._dtype)
        counts = state["wins"].to(device)
        self._counts = counts if self._group.first else torch.zeros_like(counts)


def _shares(counts: Tensor) -> list[float]:
    """Return the fraction of the images that each prototype is nearest to."""
    shares: list[float] = (counts / counts.sum().clamp(min=1)).tolist()
    return [round(share, 6) for share in shares]


def _whole_network(
    model: Model, recipe: SwavRecipe, seed: int, group: ProcessGroupInfo
) -> SwavNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SwavNetwork(model, recipe)
    network.to(device=group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    sync_batchnorm(network, group, recipe.sync_bn_group)
    return network


def _replicated(network: SwavNetwork, group: ProcessGroupInfo) -> nn.Module:
    """Wrap the network in DDP if there are several processes."""
    if group.handle is None:
        return network
    devices = [group.device] if group.device.type == "cuda" else None
    with warnings.catch_warnings():
        # The new name of the option doesn't exist in older versions of torch.
        warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
        return DistributedDataParallel(
            network, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
        )


def _optimizer(network: nn.Module, recipe: SwavRecipe, scaled: bool) -> torch.optim.Optimizer:
    """Return the optimizer; of `scaled` gradients, the host would wait for torch's other kinds."""
    params, momentum, decay = network.parameters(), recipe.momentum, recipe.weight_decay
    if recipe.larc:
        return Larc(params, momentum, decay, recipe.trust, scaled)
    # For DTensors, torch's default is a loop over them.
    return torch.optim.SGD(
        params, lr=0.0, momentum=momentum, weight_decay=decay, foreach=not scaled, fused=scaled
    )


def _count_on_host(network: nn.Module) -> None:
    """Keep BatchNorm's batch counters in main memory, where counting needs no launch."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            count = module.num_batches_tracked
            module.num_batches_tracked = None if count is None else count.cpu()
