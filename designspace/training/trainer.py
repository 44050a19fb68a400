"""Train one network by a recipe."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.arch import Model
from designspace.data.batches import Batches
from designspace.errors import Diverged
from designspace.networks import build
from designspace.runs import Recipe
from designspace.training.accuracy import BoolArray, correct_images
from designspace.training.concurrency import report_steps
from designspace.training.ema import WeightAverage
from designspace.training.lr_schedule import learning_rate
from designspace.training.mixup import mix, mixed_loss
from designspace.training.optimizer import set_learning_rate, sgd, zero_momentum
from designspace.training.static_step import (
    SETUP,
    GraphedSteps,
    StaticEpoch,
    StaticValidation,
    read,
)
from designspace.training.step_settings import StepSettings

# Steps between two checks of the loss on a GPU, as each check synchronises.
_CHECK_EVERY = 50
# Key of the random numbers that layers draw, beside those of the order of images and of mixup.
_LAYERS_STREAM = 2


class Trainer:
    """A network in training: weights, momentum, weight average, and finished epochs.

    Training resumed from `state` by `restore` is bit-identical to an uninterrupted one. On a CPU
    this holds for blocks that draw random numbers too, such as dropout: torch's generator is seeded
    at the beginning of each epoch, as long as the process trains one model at a time. On a GPU such
    blocks draw from the process's generator, which its models share, and are not reproducible.

    Attributes:
        network: The network being trained.
        curve: Validation error in percent after each finished epoch.
        correct: Which validation images are classified correctly, (images,), after the last
            finished epoch; None before the first.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        autocast: torch.dtype | None = None,
        compiled: bool = False,
        static: bool | None = None,
    ) -> None:
        """Build and initialise the network; equal seeds give equal weights on all devices.

        Args:
            model: The network.
            recipe: How to train it.
            seed: Seed of initialisation and data order.
            device: Where to train.
            autocast: Type of autocast, or None for float32.
            compiled: Use torch.compile.
            static: Train in static steps, which CUDA graphs replay; None for CUDA devices only.
        """
        # torch has one random state per process, whose threads may train several models.
        with SETUP, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fused = device.type == "cpu" and not compiled
            network = build(model, recipe.zero_init_residual, fused=fused)
        self._static = (device.type == "cuda" if static is None else static) and not compiled
        if device.type == "cuda":
            _drop_batch_counters(network)
        self.network: nn.Module = network.to(device=device, memory_format=torch.channels_last)
        if compiled:
            # Earlier models count towards the recompilation limit.
            torch.compiler.reset()
        self._forward: Callable[[Tensor], Tensor] = (
            torch.compile(self.network) if compiled else self.network
        )
        self._recipe, self._seed, self._device, self._autocast = recipe, seed, device, autocast
        self._optimizer = sgd(self.network, recipe, device)
        self._settings = StepSettings(recipe, device)
        # Only float16 needs loss scaling; bfloat16 has the range of float32.
        scaled = autocast is torch.float16 and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=scaled)
        if scaled:
            zero_momentum(self._optimizer)
        self._average = WeightAverage(network, recipe.ema_decay) if recipe.ema_decay else None
        self.curve: list[float] = []
        self.correct: BoolArray | None = None
        self._epoch: StaticEpoch | None = None
        self._validation: StaticValidation | None = None
        self._graphs: list[GraphedSteps] = []

    def close(self) -> None:
        """Free graphs and their memory, which refer to the trainer and would outlive it."""
        self._epoch = self._validation = None
        self._graphs.clear()

    @property
    def failed_capture(self) -> str:
        """Why the steps could not be captured as CUDA graphs, or ""."""
        return next((graph.failure for graph in self._graphs if graph.failure), "")

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs."""
        return len(self.curve)

    def run_epoch(self, batches: Batches, guard: Callable[[], None]) -> None:
        """Train one epoch and append the validation error to the curve.

        Args:
            batches: The data.
            guard: Called before each step and batch; raises an exception to stop.

        Raises:
            Diverged: The loss became non-finite.
        """
        self.train_epoch(batches, guard)
        self.curve.append(self.measure(batches, guard))

    def train_epoch(self, batches: Batches, guard: Callable[[], None]) -> None:
        """Train one epoch without measuring the error; see `run_epoch`."""
        static, on_cpu = self._static and batches.resident, self._device.type == "cpu"
        with _seeded(_layers_seed(self._seed, self.epochs_done) if on_cpu else None):
            (self._train_static_epoch if static else self._train_eager_epoch)(batches, guard)

    def _train_eager_epoch(self, batches: Batches, guard: Callable[[], None]) -> None:
        epoch, steps = self.epochs_done, batches.steps_per_epoch
        values = self._settings.epoch(self._seed, epoch, steps)
        check_every = 1 if self._device.type == "cpu" else _CHECK_EVERY
        finite = torch.ones((), dtype=torch.bool, device=self._device)
        self.network.train()
        checked, began = 0, time.perf_counter()
        for step, (images, labels) in enumerate(batches.epoch(self._seed, epoch), start=1):
            guard()
            rate = learning_rate(self._recipe, epoch * steps + step - 1, steps)
            for buffer, value in zip(self._settings.buffers(), values[step - 1], strict=True):
                buffer.copy_(value)
            loss = self._step(images, labels, rate)
            finite &= torch.isfinite(loss)
            if step % check_every == 0 or step == steps:
                self._check(finite, check_every, step, steps)
                report_steps(step - checked, time.perf_counter() - began)
                checked, began = step, time.perf_counter()

    def _train_static_epoch(self, batches: Batches, guard: Callable[[], None]) -> None:
        epoch, steps = self.epochs_done, batches.steps_per_epoch
        if self._epoch is None:
            with SETUP:
                self._epoch = StaticEpoch(
                    batches, self._device, self._train_static, self._settings.buffers()
                )
            self._graphs.append(GraphedSteps(self._epoch.step, self._device, self._drop_gradients))
        static, graph = self._epoch, self._graphs[0]
        set_learning_rate(self._optimizer, static.rate)
        rates = [learning_rate(self._recipe, epoch * steps + i, steps) for i in range(steps)]
        static.load(self._seed, epoch, rates, self._settings.epoch(self._seed, epoch, steps))
        self.network.train()
        for first in range(0, steps, _CHECK_EVERY):
            guard()
            last, began = min(first + _CHECK_EVERY, steps), time.perf_counter()
            graph.run(last - first)
            self._check(read(static.finite), _CHECK_EVERY, last, steps)
            report_steps(last - first, time.perf_counter() - began)

    def _check(self, finite: Tensor, every: int, step: int, steps: int) -> None:
        if not finite:
            about = "at" if every == 1 else f"at most {every} steps before"
            raise Diverged(
                f"the loss became non-finite {about} step {step} of {steps}, "
                f"epoch {self.epochs_done + 1} of {self._recipe.epochs}"
            )

    def state(self) -> dict[str, Any]:
        """Return everything that training depends on, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.network.state_dict() if self._average else None,
            "curve": list(self.curve),
            "correct": None if self.correct is None else torch.from_numpy(self.correct),
        }

    def fits(self, state: dict[str, Any]) -> bool:
        """Whether a state is of a network with the same layers: the code of a block may change."""
        return _parameter_names(state["network"]) == _parameter_names(self.network.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state that `fits`."""
        # Not strict: BatchNorm's counters, which training ignores, are kept on a CPU alone.
        self.network.load_state_dict(state["network"], strict=False)
        self._optimizer.load_state_dict(state["optimizer"])
        # Empty after training without one, on a CPU or in bfloat16.
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        if self._average:
            self._average.network.load_state_dict(state["average"], strict=False)
        self.curve = [float(error) for error in state["curve"]]
        correct = state.get("correct")  # earlier versions lack it
        self.correct = None if correct is None else correct.cpu().numpy()

    def _precision(self) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        # A graph must hold the casts of the weights, so they are not cached between steps.
        return torch.autocast(
            self._device.type, dtype=self._autocast, cache_enabled=not self._static
        )

    def _step(self, images: Tensor, labels: Tensor, rate: float) -> Tensor:
        set_learning_rate(self._optimizer, rate)
        return self._train_static(images, labels)

    def _train_static(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on a batch at the optimizer's learning rate; return the loss."""
        mixing = self._settings.mixing
        with self._precision():
            outputs = self._forward(images if mixing is None else mix(images, mixing))
            loss_of = partial(
                functional.cross_entropy, outputs, label_smoothing=self._recipe.label_smoothing
            )
            loss = loss_of(labels) if mixing is None else mixed_loss(loss_of, labels, mixing)
        if self._scaler.is_enabled():
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
        self._drop_gradients()
        if self._average:
            self._average.update(self.network, self._settings.averaging)
        return loss.detach()

    def _drop_gradients(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)

    def measure(self, batches: Batches, guard: Callable[[], None] | None = None) -> float:
        """Return the top-1 error in percent on the validation images."""
        network = self._average.network if self._average else self.network
        if not (self._static and batches.resident):
            self.correct = correct_images(network, batches, self._precision(), guard)
            return _error(self.correct)
        if self._validation is None:
            with SETUP:
                self._validation = StaticValidation(batches, self._device, self._classify)
            self._graphs.append(
                GraphedSteps(self._validation.step, self._device, self._drop_gradients)
            )
        network.eval()
        self._validation.begin()
        self._graphs[1].run(self._validation.steps)
        self.correct = self._validation.hits().numpy()
        return _error(self.correct)

    @torch.no_grad()
    def _classify(self, images: Tensor) -> Tensor:
        network = self._average.network if self._average else self.network
        with self._precision():
            return network(images).argmax(1)  # type: ignore[no-any-return]


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed torch's generator, and restore it at the end; None leaves it alone.

    Each end excludes other threads, whose networks may be being initialised.
    """
    if seed is None:
        yield
        return
    with SETUP:
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        with SETUP:
            torch.set_rng_state(before)


def _parameter_names(state: Iterable[str]) -> set[str]:
    return {name for name in state if not name.endswith("num_batches_tracked")}


def _error(correct: BoolArray) -> float:
    return 100.0 * (len(correct) - int(correct.sum())) / len(correct)


def _layers_seed(seed: int, epoch: int) -> int:
    """Return the seed of the random numbers that layers draw in an epoch."""
    sequence = np.random.SeedSequence((seed, epoch, _LAYERS_STREAM))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def _drop_batch_counters(network: nn.Module) -> None:
    """Stop BatchNorm layers from counting batches, one launch each, which momentum ignores."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            module.num_batches_tracked = None
