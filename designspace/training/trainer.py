"""One network, trained by a recipe: nothing in the step but forward, backward and optimizer."""

import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.arch import Model
from designspace.data.batches import Batches
from designspace.networks import build
from designspace.runs import Recipe
from designspace.training.accuracy import count_correct
from designspace.training.ema import WeightAverage
from designspace.training.lr_schedule import learning_rate

# Steps between two looks at the loss where a look would make the processor wait for the device.
_LOOK_EVERY = 50
# torch has one random state a process; a Dask worker may run trials in several threads.
_SEEDING = threading.Lock()


class Diverged(Exception):
    """The loss became non-finite; the message says when."""


class Trainer:
    """A network in training: weights, momentum, average, and the epochs done.

    `state` and `restore` carry all of it, so that training goes on bit for bit where it was.
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
        """Build and initialise the network; equal seeds give equal weights on every device."""
        with _SEEDING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fused = device.type == "cpu" and not compiled
            network = build(model, recipe.zero_init_residual, fused=fused)
        self.network: nn.Module = network.to(device=device, memory_format=torch.channels_last)
        if compiled:
            # What was compiled for the models before counts against a limit, past which none is.
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
        # float16 alone needs its loss scaled; bfloat16 has float32's range.
        self._scaler = torch.amp.GradScaler(
            device.type, enabled=autocast is torch.float16 and device.type == "cuda"
        )
        self._average = WeightAverage(network, recipe.ema_decay) if recipe.ema_decay else None
        self.curve: list[float] = []

    @property
    def epochs_done(self) -> int:
        """Epochs that were trained and measured."""
        return len(self.curve)

    def run_epoch(self, batches: Batches, guard: Callable[[], None]) -> None:
        """Train one epoch and measure the error after it.

        Args:
            batches: The data.
            guard: Called before each step; raises to stop.

        Raises:
            Diverged: The loss became non-finite.
        """
        self.train_epoch(batches, guard)
        self.curve.append(self.measure(batches))

    def train_epoch(self, batches: Batches, guard: Callable[[], None]) -> None:
        """Take the steps of the next epoch; see `run_epoch`."""
        epoch, steps = self.epochs_done, batches.steps_per_epoch
        look_every = 1 if self._device.type == "cpu" else _LOOK_EVERY
        finite = torch.ones((), dtype=torch.bool, device=self._device)
        self.network.train()
        for step, (images, labels) in enumerate(batches.epoch(self._seed, epoch)):
            guard()
            rate = learning_rate(self._recipe, epoch * steps + step, steps)
            loss = self._step(images, labels, rate)
            if look_every == 1:
                healthy = math.isfinite(loss.item())
            else:
                finite &= torch.isfinite(loss)
                looking = (step + 1) % look_every == 0 or step + 1 == steps
                healthy = not looking or bool(finite)
            if not healthy:
                about = "" if look_every == 1 else f"at most {look_every} steps before "
                raise Diverged(
                    f"the loss became non-finite {about}at step {step + 1} of {steps}, "
                    f"epoch {epoch + 1} of {self._recipe.epochs}"
                )

    def state(self) -> dict[str, Any]:
        """Return all that decides how training goes on, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.network.state_dict() if self._average else None,
            "curve": list(self.curve),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
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
