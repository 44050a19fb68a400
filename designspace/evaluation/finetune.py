"""Supervised training of a network, from a pretrained trunk or from scratch."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.arch import Model
from designspace.data.batches import Batches
from designspace.networks import build
from designspace.networks.classifier import classifier_path
from designspace.pretraining.multicrop import mixed_seed
from designspace.training.accuracy import correct_images
from designspace.training.lr_schedule import step_decay, warmup_cosine

# Stream of random numbers of the network's own layers.
_LAYERS = 5

# Called with epochs done, epochs in all, and seconds left.
EpochCallback = Callable[[int, int, float], None]


@dataclass(frozen=True)
class FinetuneSchedule:
    """A training schedule of SGD with momentum 0.9.

    Attributes:
        epochs: Passes over the labelled images.
        batch: Batch size.
        trunk_lr: Peak learning rate of the trunk at this batch size.
        head_lr: Peak learning rate of the classifier.
        weight_decay: Applied to all parameters.
        milestones: Fractions of training after which the rates are multiplied by `gamma`; if empty,
            5 % linear warm-up and then a cosine to 0.
        gamma: See milestones.
        label_smoothing: Of the cross-entropy.
    """

    epochs: int
    batch: int
    trunk_lr: float
    head_lr: float
    weight_decay: float
    milestones: tuple[float, ...] = ()
    gamma: float = 1.0
    label_smoothing: float = 0.0

    def factor(self, step: int, total: int) -> float:
        """Return the ratio of the learning rate at a step to its peak."""
        if self.milestones:
            return step_decay(step, total, self.milestones, self.gamma)
        return warmup_cosine(step, total=total, warmup=round(0.05 * total), peak=1.0)


def low_shot_schedule(share: float, images: int) -> FinetuneSchedule:
    """VISSL's low-shot schedule: 20 epochs, x0.2 at 12 and 16, no weight decay.

    Learning rates of trunk and head are 0.02 and 5 with 1 % of the labels, 0.01 and 0.2 with 10 %,
    at batch size 256 and scaled with it. Small sets train for at least 400 steps (1 % of ImageNet
    takes 1000).
    """
    batch = min(256, images)
    trunk, head = (0.02, 5.0) if share < 0.05 else (0.01, 0.2)
    scale = batch / 256
    epochs = max(20, math.ceil(400 / (images // batch)))
    return FinetuneSchedule(epochs, batch, trunk * scale, head * scale, 0.0, (0.6, 0.8), 0.2)


def finetune_schedule(images: int) -> FinetuneSchedule:
    """SEER's fine-tuning: 35 epochs, 0.0125 at batch 256, x0.1 after 30, label smoothing 0.1.

    Small sets train for at least 1000 steps.
    """
    batch = min(256, images)
    lr = 0.0125 * batch / 256
    epochs = max(35, math.ceil(1000 / (images // batch)))
    return FinetuneSchedule(epochs, batch, lr, lr, 1e-4, (30 / 35,), 0.1, 0.1)


def scratch_schedule(images: int, epochs: int | None = None) -> FinetuneSchedule:
    """Supervised training: 0.1 at batch 128, cosine; 10 to 200 epochs by number of images."""
    batch = min(128, images)
    lr = 0.1 * batch / 128
    epochs = epochs or min(200, max(10, math.ceil(2000 / (images // batch))))
    return FinetuneSchedule(epochs, batch, lr, lr, 5e-4)


def validation_accuracy(
    network: nn.Module, batches: Batches, device: torch.device, autocast: torch.dtype | None = None
) -> float:
    """Return the accuracy of a trained network on the validation images, in percent."""
    precision = torch.autocast(device.type, dtype=autocast, enabled=autocast is not None)
    correct = correct_images(network, batches, precision)
    return 100.0 * int(correct.sum()) / len(correct)


def train_network(
    model: Model,
    weights: Mapping[str, Tensor] | None,
    batches: Batches,
    schedule: FinetuneSchedule,
    seed: int,
    device: torch.device,
    on_epoch: EpochCallback = lambda done, total, seconds_left: None,
    autocast: torch.dtype | None = None,
) -> nn.Module:
    """Train a network with labels.

    Args:
        model: With its number of classes.
        weights: Of the trunk; None for random weights.
        batches: Labelled images in batches of the schedule's size.
        schedule: How to train.
        seed: Of weights, order and crops.
        device: Where to train.
        on_epoch: Called after each epoch.
        autocast: Type of autocast, or None for float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(model, zero_init_residual=weights is None, fused=device.type == "cpu")
    if weights is not None:
        network.load_state_dict({**network.state_dict(), **weights})
    network.to(device=device, memory_format=torch.channels_last)
    classifier = classifier_path(network, model)
    head = list(network.get_submodule(classifier).parameters())
    trunk = [p for name, p in network.named_parameters() if not name.startswith(f"{classifier}.")]
    peaks = (schedule.trunk_lr, schedule.head_lr)
    optimizer = torch.optim.SGD(
        [{"params": trunk}, {"params": head}],
        lr=0.0,
        momentum=0.9,
        weight_decay=schedule.weight_decay,
    )
    total = batches.steps_per_epoch * schedule.epochs
    precision = torch.autocast(device.type, dtype=autocast, enabled=autocast is not None)
    scaler = torch.amp.GradScaler(device.type, enabled=autocast is torch.float16)
    step, start = 0, time.monotonic()
    network.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(mixed_seed(seed, _LAYERS))  # of dropout and the like
        for epoch in range(schedule.epochs):
            for images, labels in batches.epoch(seed, epoch):
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * schedule.factor(step, total)
                with precision:
                    loss = functional.cross_entropy(
                        network(images), labels, label_smoothing=schedule.label_smoothing
                    )
                optimizer.zero_grad()
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.step(optimizer)
                scaler.update()
                step += 1
            per_epoch = (time.monotonic() - start) / (epoch + 1)
            on_epoch(epoch + 1, schedule.epochs, per_epoch * (schedule.epochs - epoch - 1))
    trained: nn.Module = network
    return trained
