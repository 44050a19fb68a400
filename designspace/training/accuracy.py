"""Top-1 accuracy of a network on the validation images."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from designspace.data.batches import Batches


@torch.inference_mode()
def count_correct(
    network: nn.Module, batches: Batches, precision: AbstractContextManager[Any] | None = None
) -> tuple[int, int]:
    """Classify all validation images in evaluation mode.

    Args:
        network: Maps images (batch, 3, side, side) to logits (batch, classes).
        batches: The data.
        precision: An autocast context, or None for float32.

    Returns:
        Correctly classified images, and validation images in all.
    """
    network.eval()
    correct = None
    with precision or nullcontext():
        for images, labels in batches.validation():
            hits = (network(images).argmax(1) == labels).sum()
            correct = hits if correct is None else correct + hits
    return (0 if correct is None else int(correct)), batches.validation_size
