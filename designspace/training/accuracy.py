"""Which validation images a network classifies correctly."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from designspace.data.batches import Batches

BoolArray = NDArray[np.bool_]


@torch.inference_mode()
def correct_images(
    network: nn.Module,
    batches: Batches,
    precision: AbstractContextManager[Any] | None = None,
    guard: Callable[[], None] | None = None,
) -> BoolArray:
    """Classify all validation images in evaluation mode.

    Args:
        network: Maps images (batch, 3, side, side) to logits (batch, classes).
        batches: The data.
        precision: An autocast context, or None for float32.
        guard: Called before each batch; raises an exception to stop.

    Returns:
        Which images are classified correctly, (images,).
    """
    network.eval()
    with precision or nullcontext():
        hits = []
        for images, labels in batches.validation():
            if guard is not None:
                guard()
            hits.append(network(images).argmax(1) == labels)
    # On a GPU, the last batch is filled up.
    return np.asarray(torch.cat(hits)[: batches.validation_size].cpu().numpy(), dtype=bool)
