"""Supervised training of a whole network, from a pretrained trunk or from scratch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from designspace.arch import Model
from designspace.data.batches import Batches
from designspace.networks import build
from designspace.training.accuracy import count_correct


@dataclass(frozen=True)
class Fit:
    """A schedule.

    Attributes:
        name: What people call it.
        epochs: Passes over the labelled images.
        batch: Images a step.
        trunk_rate: Learning rate of the trunk at this batch.
        head_rate: Learning rate of the classifier.
        weight_decay: On all parameters.
        steps: Shares of the training after which rates are multiplied by `factor`; none is a
            cosine to 0 after five percent of warm-up.
        factor: See steps.
        smoothing: Of labels.
    """

    name: str
    epochs: int
    batch: int
    trunk_rate: float
    head_rate: float
    weight_decay: float
    steps: tuple[float, ...] = ()
    factor: float = 1.0
    smoothing: float = 0.0

    def scale(self, share: float) -> float:
        """Return the factor of the rates after a share of the training, 0 to 1."""
        if self.steps:
            return self.factor ** sum(share >= step for step in self.steps)
        if share < 0.05:
            return share / 0.05
        return 0.5 * (1 + math.cos(math.pi * (share - 0.05) / 0.95))


def low_shot(share: float, images: int) -> Fit:
    """VISSL's low-shot schedule: 20 epochs, x0.2 at 12 and 16, no weight decay.

    Trunk and head rates 0.02 and 5 for 1 percent, 0.01 and 0.2 for 10 percent, at batch 256 (scaled
    with it). Few images are seen oftener, for 400 steps at least: 1 percent of ImageNet are 1000.
    """
    batch = min(256, images)
    trunk, head = (0.02, 5.0) if share < 0.05 else (0.01, 0.2)
    factor = batch / 256
    epochs = max(20, math.ceil(400 / (images // batch)))
    return Fit("low-shot", epochs, batch, trunk * factor, head * factor, 0.0, (0.6, 0.8), 0.2)


def fine_tuning(images: int) -> Fit:
    """SEER's fine-tuning: 35 epochs, 0.0125 at batch 256, a tenth after 30, label smoothing 0.1.

    Few images are seen oftener, for 1000 steps at least.
    """
    batch = min(256, images)
    rate = 0.0125 * batch / 256
    epochs = max(35, math.ceil(1000 / (images // batch)))
    return Fit("fine-tuning", epochs, batch, rate, rate, 1e-4, (30 / 35,), 0.1, 0.1)


def from_scratch(images: int, epochs: int | None = None) -> Fit:
    """Plain supervised training: 0.1 at batch 128, cosine, 10 to 200 epochs by number of images."""
    batch = min(128, images)
    made = min(200, max(10, math.ceil(2000 / (images // batch))))
    rate = 0.1 * batch / 128
    return Fit("from scratch", epochs or made, batch, rate, rate, 5e-4)


def fit(
    model: Model,
    weights: Mapping[str, Tensor] | None,
    batches: Batches,
    schedule: Fit,
    seed: int,
    device: torch.device,
    epochs: Callable[[int, int], None] = lambda done, total: None,
) -> float:
    """Train a network with labels; return its accuracy on the validation images in percent.

    Args:
        model: With its number of classes.
        weights: Of the trunk, or None to begin from random ones.
        batches: Labelled images, in batches of the schedule's size.
        schedule: How.
        seed: Of weights, order and crops.
        device: Where.
        epochs: Told how many epochs are done, of how many.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(model, zero_init_residual=weights is None, fused=device.type == "cpu")
    if weights is not None:
        network.load_state_dict({**network.state_dict(), **weights})
    network.to(device=device, memory_format=torch.channels_last)
    head = list(network.fc.parameters())
    trunk = [p for name, p in network.named_parameters() if not name.startswith("fc.")]
    rates = (schedule.trunk_rate, schedule.head_rate)
    optimizer = torch.optim.SGD(
        [{"params": trunk}, {"params": head}],
        lr=0.0,
        momentum=0.9,
        weight_decay=schedule.weight_decay,
    )
    total = batches.steps_per_epoch * schedule.epochs
    step = 0
    network.train()
    for epoch in range(schedule.epochs):
        for images, labels in batches.epoch(seed, epoch):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule.scale(step / total)
            loss = functional.cross_entropy(
                network(images), labels, label_smoothing=schedule.smoothing
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
        epochs(epoch + 1, schedule.epochs)
    correct, measured = count_correct(network, batches)
    return 100.0 * correct / measured
