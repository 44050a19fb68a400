"""Swapped prediction: from each other crop of an image, predict the code of this one (SwAV §3)."""

import torch
from torch import Tensor
from torch.nn import functional


def swapped_prediction(scores: Tensor, assigned: Tensor, temperature: float) -> Tensor:
    """Return the loss of one batch.

    Args:
        scores: Similarities to the prototypes of all crops, (crops, batch, K).
        assigned: Codes of the first crops, (assigning crops, batch, K), without gradient.
        temperature: Of the softmax over prototypes.

    Returns:
        Cross-entropy, the mean over images, over the other crops, and over assigning crops.
    """
    crops, batch = scores.shape[:2]
    count = len(assigned)
    log_p = functional.log_softmax(scores.float() / temperature, dim=2)
    # For each code the sum over all crops but its own.
    others = log_p.sum(dim=0, keepdim=True) - log_p[:count]
    total = torch.sum(assigned * others)
    return -total / (count * (crops - 1) * batch)
