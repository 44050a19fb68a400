"""A linear classifier on frozen features, by SwAV's protocol.

Declared departures: features are computed once, without augmentation, and scaled to mean 0 and
deviation 1 over the training images, so that one learning rate suits every trunk; few images are
seen often enough for a thousand steps.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

_EPOCHS, _BATCH, _RATE, _MOMENTUM, _DECAY = 100, 256, 0.3, 0.9, 1e-6
_LEAST_STEPS = 1000


def linear_accuracy(
    features: Tensor,
    labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    classes: int,
    seed: int,
) -> float:
    """Train a linear classifier; return its accuracy in percent.

    Args:
        features: Of the labelled images, (n, width).
        labels: Their labels, (n,).
        val_features: Of the images that are told, (m, width).
        val_labels: Their labels, (m,).
        classes: Number of classes.
        seed: Of the order of the images; weights start at 0.
    """
    mean, std = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
    known, told = (features - mean) / std, (val_features - mean) / std
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], lr=_RATE, momentum=_MOMENTUM, weight_decay=_DECAY)
    generator = torch.Generator().manual_seed(seed)
    batch = min(_BATCH, len(known))
    per_epoch = len(known) // batch
    total = max(_EPOCHS * per_epoch, _LEAST_STEPS)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(total):
        if len(order) < batch:
            order = torch.randperm(len(known), generator=generator)
        rows, order = order[:batch].to(known.device), order[batch:]
        rate = _RATE * batch / _BATCH * 0.5 * (1 + math.cos(math.pi * step / total))
        optimizer.param_groups[0]["lr"] = rate
        loss = functional.cross_entropy(known[rows] @ weight.T + bias, labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        right = ((told @ weight.T + bias).argmax(1) == val_labels).float().mean()
    return 100.0 * right.item()
