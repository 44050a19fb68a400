"""Train one network by a recipe."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.arch import Model
from designspace.data.batches import Batches
from designspace.errors import Diverged
from designspace.networks import build
from designspace.runs import Recipe
from designspace.training.accuracy import count_correct
from designspace.training.ema import WeightAverage
from designspace.training.lr_schedule import learning_rate

# Steps between two checks of the loss on a GPU, as each check synchronises.
_CHECK_EVERY = 50
# torch has one random state per process; a Dask worker may run trials in several threads.
_SEEDING = threading.Lock()


class Trainer:
    """A network in training: weights, momentum, weight average, and finished epochs.

    Training resumed from `state` by `restore` is bit-identical to an uninterrupted one.

    Attributes:
        network: The network being trained.
        curve: Validation error in percent after each finished epoch.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        autocast: torch.dtype | None = None,
        compiled: bool = False,
    ) -> None:
        """Build and initialise the network; equal seeds give equal weights on all devices."""
        with _SEEDING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fused = device.type == "cpu" and not compiled
            network = build(model, recipe.zero_init_residual, fused=fused)
        self.network: nn.Module = network.to(device=device, memory_format=torch.channels_last)
        if compiled:
            # Earlier models count towards the recompilation limit.
            torch.compiler.reset()
        self._forward: Callable[[Tensor], Tensor] = (
            torch.compile(self.network) if compiled else self.network
        )
        self._recipe, self._seed, self._device, self._autocast = recipe, seed, device, autocast
        self._optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True if device.type in ("cpu", "cuda") else None,
        )
        # Only float16 needs loss scaling; bfloat16 has the range of float32.
        self._scaler = torch.amp.GradScaler(
            device.type, enabled=autocast is torch.float16 and device.type == "cuda"
        )
        self._average = WeightAverage(network, recipe.ema_decay) if recipe.ema_decay else None
        self.curve: list[float] = []

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs."""
        return len(self.curve)

    def run_epoch(self, batches: Batches, guard: Callable[[], None]) -> None:
        """Train one epoch and append the validation error to the curve.

        Args:
            batches: The data.
            guard: Called before each step; raises an exception to stop.

        Raises:
            Diverged: The loss became non-finite.
        """
        self.train_epoch(batches, guard)
        self.curve.append(self.measure(batches))

    def train_epoch(self, batches: Batches, guard: Callable[[], None]) -> None:
        """Train one epoch without measuring the error; see `run_epoch`."""
        epoch, steps = self.epochs_done, batches.steps_per_epoch
        check_every = 1 if self._device.type == "cpu" else _CHECK_EVERY
        finite = torch.ones((), dtype=torch.bool, device=self._device)
        self.network.train()
        for step, (images, labels) in enumerate(batches.epoch(self._seed, epoch)):
            guard()
            rate = learning_rate(self._recipe, epoch * steps + step, steps)
            loss = self._step(images, labels, rate)
            finite &= torch.isfinite(loss)
            checked = (step + 1) % check_every == 0 or step + 1 == steps
            if checked and not finite:
                about = "" if check_every == 1 else f"at most {check_every} steps before "
                raise Diverged(
                    f"the loss became non-finite {about}at step {step + 1} of {steps}, "
                    f"epoch {epoch + 1} of {self._recipe.epochs}"
                )

    def state(self) -> dict[str, Any]:
        """Return everything that training depends on, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.network.state_dict() if self._average else None,
            "curve": list(self.curve),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average:
            self._average.network.load_state_dict(state["average"])
        self.curve = [float(error) for error in state["curve"]]

    def _precision(self) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._autocast)

    def _step(self, images: Tensor, labels: Tensor, rate: float) -> Tensor:
        with self._precision():
            loss = functional.cross_entropy(
                self._forward(images), labels, label_smoothing=self._recipe.label_smoothing
            )
        self._optimizer.param_groups[0]["lr"] = rate
        if self._scaler.is_enabled():
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._average:
            self._average.update(self.network)
        return loss.detach()

    def measure(self, batches: Batches) -> float:
        """Return the top-1 error in percent on the validation images."""
        network = self._average.network if self._average else self.network
        correct, total = count_correct(network, batches, self._precision())
        return 100.0 * (total - correct) / total
