"""Mixup: a batch and its labels mixed with those of the batch in reverse order.

Zhang et al. (2018), "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412: one weight a
batch, from Beta(alpha, alpha). Batches are in random order, so that their reverse is as good as a
permutation.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# Key of the stream of mixing weights, beside that of the order of images.
_STREAM = 1


def mixing_weights(alpha: float, seed: int, epoch: int, steps: int) -> Tensor:
    """Return the mixing weight of each step of an epoch, (steps,) float32; ones if alpha is 0."""
    if not alpha:
        return torch.ones(steps)
    stream = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, _STREAM))))
    return torch.from_numpy(stream.beta(alpha, alpha, steps).astype(np.float32))


def mix(images: Tensor, weight: Tensor) -> Tensor:
    """Return weight * images + (1 - weight) * images in reverse order.

    Args:
        images: A batch, (n, ...).
        weight: On the same device, ().
    """
    return torch.lerp(images.flip(0), images, weight.to(images.dtype))


def mixed_loss(loss: Callable[[Tensor], Tensor], labels: Tensor, weight: Tensor) -> Tensor:
    """Return the loss of a mixed batch: that of either labels, weighted.

    Args:
        loss: The batch's loss with given labels.
        labels: Of the batch before it was mixed, (n,).
        weight: As of `mix`.
    """
    return weight * loss(labels) + (1 - weight) * loss(labels.flip(0))
