"""A linear classifier on frozen features, by SwAV's protocol.

Departures: features are computed once, without augmentation, and standardized over the training
images so that one learning rate suits every trunk; small sets train for at least 1000 steps.
"""

import torch
from torch import Tensor
from torch.nn import functional

from designspace.training.lr_schedule import warmup_cosine

_EPOCHS, _BATCH, _LR, _MOMENTUM, _DECAY = 100, 256, 0.3, 0.9, 1e-6
_MIN_STEPS = 1000


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
        val_features: Of the validation images, (m, width).
        val_labels: Their labels, (m,).
        classes: Number of classes.
        seed: Of the image order; weights start at 0.
    """
    mean, std = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
    val = (val_features - mean) / std
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], lr=_LR, momentum=_MOMENTUM, weight_decay=_DECAY)
    generator = torch.Generator().manual_seed(seed)
    batch = min(_BATCH, len(features))
    per_epoch = len(features) // batch
    total = max(_EPOCHS * per_epoch, _MIN_STEPS)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(total):
        if len(order) < batch:
            order = torch.randperm(len(features), generator=generator)
        rows, order = order[:batch].to(features.device), order[batch:]
        lr = warmup_cosine(step, total=total, warmup=0, peak=_LR * batch / _BATCH)
        optimizer.param_groups[0]["lr"] = lr
        # Standardized here, as a copy of all features may be too large.
        images = (features[rows] - mean) / std
        loss = functional.cross_entropy(images @ weight.T + bias, labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        correct = ((val @ weight.T + bias).argmax(1) == val_labels).float().mean()
    return 100.0 * correct.item()
