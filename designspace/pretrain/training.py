"""One pretraining in progress: the step of SwAV, and all that must be kept to go on."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from designspace.arch import Model
from designspace.pretrain.larc import Larc
from designspace.pretrain.loss import swapped_prediction
from designspace.pretrain.network import SwavNetwork
from designspace.pretrain.queue import EmbeddingQueue
from designspace.pretrain.recipe import SwavRecipe
from designspace.pretrain.schedule import learning_rate
from designspace.pretrain.sinkhorn import codes
from designspace.pretrain.world import World, share_statistics


class Pretraining:
    """Network, optimizer, queue, and the iterations done.

    All that is random follows from the seed and the iteration, so that no random state needs to be
    kept. `state` and `restore` carry the rest: training goes on bit for bit where it was.
    """

    def __init__(
        self,
        model: Model,
        recipe: SwavRecipe,
        per_epoch: int,
        seed: int,
        world: World,
        autocast: torch.dtype | None = None,
    ) -> None:
        """Build and initialise; equal seeds give equal weights on every device and process."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = SwavNetwork(model, recipe)
        self._recipe, self._per_epoch, self._world = recipe, per_epoch, world
        self._device, self._autocast = world.device, autocast
        network.to(device=world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        share_statistics(network, world, recipe.sync_bn_group)
        self.network = network
        self._forward: nn.Module = network
        if world.group is not None:
            places = [world.device] if world.device.type == "cuda" else None
            self._forward = DistributedDataParallel(
                network, device_ids=places, broadcast_buffers=False
            )
        self._optimizer = _optimizer(network, recipe)
        self._scaler = torch.amp.GradScaler(
            world.device.type,
            enabled=autocast is torch.float16 and world.device.type == "cuda",
        )
        world.share(recipe.batch_size)
        self._queue = self._new_queue()
        self.iteration = 0
        self.watch = Watch(recipe, world)

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
        seen = self._world.mean(loss.detach().clone())
        self.watch.add(seen, embeddings[0].detach(), scores[0].detach())
        return seen, rate

    @torch.no_grad()
    def _assign(self, embeddings: Tensor, scores: Tensor) -> Tensor:
        recipe, queue = self._recipe, self._queue
        batch = scores.shape[1]
        made = []
        for crop in range(recipe.assign):
            own = scores[crop].detach()
            if queue is not None and queue.full:
                weight = self.network.prototypes.weight
                own = torch.cat([queue.rows(crop) @ weight.T, own.float()])
            assigned = codes(
                own, recipe.sinkhorn.epsilon, recipe.sinkhorn.iterations, self._world.group
            )
            made.append(assigned[-batch:])
        if queue is not None and recipe.queue is not None and self.epoch >= recipe.queue.from_epoch:
            queue.push(embeddings[: recipe.assign])
        return torch.stack(made)

    def state(self) -> dict[str, Any]:
        """Return all that decides how training goes on; every process must call it."""
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "queue": self._whole_queue(),
            "watch": self.watch.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state, also one of another number of processes."""
        self.iteration = int(state["iteration"])
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.watch.restore(state["watch"])
        if self._queue is not None:
            rows, batch = state["queue"]["rows"], self._recipe.batch_size
            share = self._world.share(batch)
            crops, length, dim = rows.shape
            own = rows.view(crops, length // batch, batch, dim)[:, :, share]
            filled = int(state["queue"]["filled"]) // self._world.size
            self._queue.restore({"rows": own.reshape(crops, -1, dim), "filled": filled})

    def _new_queue(self) -> EmbeddingQueue | None:
        recipe = self._recipe
        if recipe.queue is None:
            return None
        length = recipe.queue.length // self._world.size
        return EmbeddingQueue(recipe.assign, length, recipe.head.dim, self._device)

    def _whole_queue(self) -> dict[str, Any] | None:
        """The queue of all processes, as one process would hold it: batch after batch."""
        if self._queue is None:
            return None
        state = self._queue.state()
        rows = state["rows"]
        assert isinstance(rows, Tensor)
        part = self._recipe.batch_size // self._world.size
        crops, length, dim = rows.shape
        parts = [r.view(crops, length // part, part, dim) for r in self._world.gather(rows)]
        whole = torch.cat(parts, dim=2).reshape(crops, -1, dim)
        return {"rows": whole, "filled": self._queue.filled * self._world.size}

    def _precision(self) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._autocast)


class Watch:
    """What is summed up over an epoch, to see collapse."""

    def __init__(self, recipe: SwavRecipe, world: World) -> None:
        """Begin with nothing."""
        self._dim, self._world = recipe.head.dim, world
        self._k = recipe.prototypes
        self.reset()

    def reset(self) -> None:
        """Begin a new epoch."""
        device = self._world.device
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
        wins = self._world.sum(self._wins.clone())
        spread = self._world.mean(self._spread.clone()).item() / steps
        return {
            "loss": self._loss.item() / steps,
            "prototypes_used": int((wins > 0).sum()),
            "feature_std": spread * math.sqrt(self._dim),
        }

    def state(self) -> dict[str, Any]:
        """Return the sums so far, over all processes; every process must call it."""
        return {
            "steps": self._steps,
            "loss": self._loss.clone(),
            "spread": self._world.mean(self._spread.clone()),
            "wins": self._world.sum(self._wins.clone()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up sums of all processes."""
        device = self._world.device
        self._steps = int(state["steps"])
        self._loss, self._spread = state["loss"].to(device), state["spread"].to(device)
        wins = state["wins"].to(device)
        self._wins = wins if self._world.first else torch.zeros_like(wins)


def _optimizer(network: nn.Module, recipe: SwavRecipe) -> torch.optim.Optimizer:
    if recipe.larc:
        return Larc(network.parameters(), recipe.momentum, recipe.weight_decay, recipe.trust)
    return torch.optim.SGD(
        network.parameters(), lr=0.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
