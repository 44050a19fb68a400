"""One pretraining in progress: the step of SwAV, and all that must be kept to go on."""

import math
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard
from torch.nn.parallel import DistributedDataParallel

from designspace.arch import Model
from designspace.pretraining.distributed import ProcessGroupInfo, sync_batchnorm
from designspace.pretraining.dtensor import copy_state, full_tensor, local_tensor
from designspace.pretraining.embedding_queue import EmbeddingQueue
from designspace.pretraining.fsdp import sharded_network
from designspace.pretraining.larc import Larc
from designspace.pretraining.loss import swapped_prediction
from designspace.pretraining.lr_schedule import learning_rate
from designspace.pretraining.recipe import SwavRecipe
from designspace.pretraining.sinkhorn import codes
from designspace.pretraining.swav_network import SwavNetwork


class SwavTrainer:
    """Network, optimizer, queue, and the iterations done.

    All that is random follows from the seed and the iteration, so that no random state needs to be
    kept. `state` and `restore` carry the rest: training goes on bit for bit where it was.

    Several processes hold the whole network each (DDP), or parts of it (FSDP2: `recipe.shard`).
    """

    def __init__(
        self,
        model: Model,
        recipe: SwavRecipe,
        per_epoch: int,
        seed: int,
        group: ProcessGroupInfo,
        autocast: torch.dtype | None = None,
    ) -> None:
        """Build and initialise; equal seeds give equal weights on every device and process.

        Args:
            model: The trunk.
            recipe: How it is trained.
            per_epoch: Iterations an epoch.
            seed: Seed of the weights.
            group: The processes.
            autocast: What to compute in beside float32 weights; None for float32 alone. Sharded,
                only bfloat16 is taken up: float16 would need scaled gradients in parts.
        """
        self._recipe, self._per_epoch, self._group = recipe, per_epoch, group
        self._device = group.device
        self._sharded = recipe.shard and group.handle is not None
        self._autocast = None if self._sharded else autocast
        if self._sharded:
            reduced = autocast if autocast is torch.bfloat16 else None
            self.network = sharded_network(model, recipe, seed, group, reduced)
        else:
            self.network = _whole_network(model, recipe, seed, group)
        self._forward = self.network if self._sharded else _replicated(self.network, group)
        self._optimizer = _optimizer(self.network, recipe)
        self._scaler = torch.amp.GradScaler(
            group.device.type,
            enabled=self._autocast is torch.float16 and group.device.type == "cuda",
        )
        group.batch_slice(recipe.batch_size)
        self._queue = self._new_queue()
        self.iteration = 0
        self.metrics = EpochMetrics(recipe, group)

    @property
    def epoch(self) -> int:
        """Epoch that the next iteration belongs to, from 0."""
        return self.iteration // self._per_epoch

    def step(self, crops: list[Tensor]) -> tuple[Tensor, float]:
        """Train one iteration; return its loss over all processes, and its learning rate.

        Args:
            crops: What `CropMaker` made of this process's share of the batch.
        """
        recipe = self._recipe
        rate = learning_rate(recipe, self.iteration, self._per_epoch)
        self.network.normalize_prototypes()
        with self._precision():
            embeddings, scores = self._forward(crops)
        embeddings = embeddings.view(recipe.total_crops, -1, recipe.head.dim)
        scores = scores.view(recipe.total_crops, -1, recipe.prototypes)
        assigned = self._assign(embeddings, scores)
        loss = swapped_prediction(scores, assigned, recipe.temperature)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.iteration < recipe.freeze_prototypes:
            self.network.prototypes.weight.grad = None
        self._optimizer.param_groups[0]["lr"] = rate
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.iteration += 1
        seen = self._group.mean(loss.detach().clone())
        self.metrics.add(seen, embeddings[0].detach(), scores[0].detach())
        return seen, rate

    @torch.no_grad()
    def _assign(self, embeddings: Tensor, scores: Tensor) -> Tensor:
        recipe, queue = self._recipe, self._queue
        batch = scores.shape[1]
        made = []
        for crop in range(recipe.assign):
            own = scores[crop].detach()
            if queue is not None and queue.full:
                weight = full_tensor(self.network.prototypes.weight)
                own = torch.cat([queue.rows(crop) @ weight.T, own.float()])
            assigned = codes(
                own, recipe.sinkhorn.epsilon, recipe.sinkhorn.iterations, self._group.handle
            )
            made.append(assigned[-batch:])
        if queue is not None and recipe.queue is not None and self.epoch >= recipe.queue.from_epoch:
            queue.push(embeddings[: recipe.assign])
        return torch.stack(made)

    def state(self) -> dict[str, Any]:
        """Return all that decides how training goes on; collective.

        What the processes hold in parts (the queue; sharded, parameters and momentum too) stays in
        parts, as DTensors.
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
        """Go on from a state: whole, or in parts that lie as this one's."""
        self.iteration = int(state["iteration"])
        copy_state(self.network.state_dict(), state["network"])
        own = self._momentum()
        copy_state(own, state["momentum"])
        for name, p in self.network.named_parameters():
            self._optimizer.state[p]["momentum_buffer"] = own[name]
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
        """Momentum by parameter; where no step was taken yet it is 0, which comes to the same."""
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
        """The queue as (crops, batches, images of a batch, dim), in parts by images."""
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
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._autocast)


class EpochMetrics:
    """What is summed up over an epoch, to see collapse."""

    def __init__(self, recipe: SwavRecipe, group: ProcessGroupInfo) -> None:
        """Begin with nothing."""
        self._dim, self._group = recipe.head.dim, group
        self._k = recipe.prototypes
        self.reset()

    def reset(self) -> None:
        """Begin a new epoch."""
        device = self._group.device
        self._steps = 0
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._spread = torch.zeros((), dtype=torch.float64, device=device)
        self._wins = torch.zeros(self._k, dtype=torch.int64, device=device)

    def add(self, loss: Tensor, embeddings: Tensor, scores: Tensor) -> None:
        """Take in one step: the loss, and embeddings (n, dim) and scores (n, K) of a crop."""
        self._steps += 1
        self._loss += loss.double()
        self._spread += embeddings.float().std(dim=0, correction=0).mean().double()
        self._wins += torch.bincount(scores.argmax(dim=1), minlength=self._k)

    def summary(self) -> dict[str, Any]:
        """Return mean loss, prototypes that were nearest to any image, and the features' spread.

        The spread is 1 where embeddings fill the sphere evenly and 0 where all are the same.
        """
        steps = max(1, self._steps)
        wins = self._group.sum(self._wins.clone())
        spread = self._group.mean(self._spread.clone()).item() / steps
        return {
            "loss": self._loss.item() / steps,
            "prototypes_used": int((wins > 0).sum()),
            "feature_std": spread * math.sqrt(self._dim),
        }

    def state(self) -> dict[str, Any]:
        """Return the sums so far, over all processes; collective."""
        return {
            "steps": self._steps,
            "loss": self._loss.clone(),
            "spread": self._group.mean(self._spread.clone()),
            "wins": self._group.sum(self._wins.clone()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up sums of all processes."""
        device = self._group.device
        self._steps = int(state["steps"])
        self._loss, self._spread = state["loss"].to(device), state["spread"].to(device)
        wins = state["wins"].to(device)
        self._wins = wins if self._group.first else torch.zeros_like(wins)


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
    """The network, with gradients averaged over the processes where there are several."""
    if group.handle is None:
        return network
    places = [group.device] if group.device.type == "cuda" else None
    with warnings.catch_warnings():
        # Newer versions of torch have another name for it, older ones don't know that one.
        warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
        return DistributedDataParallel(
            network, device_ids=places, broadcast_buffers=False, gradient_as_bucket_view=True
        )


def _optimizer(network: nn.Module, recipe: SwavRecipe) -> torch.optim.Optimizer:
    if recipe.larc:
        return Larc(network.parameters(), recipe.momentum, recipe.weight_decay, recipe.trust)
    return torch.optim.SGD(
        network.parameters(), lr=0.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
