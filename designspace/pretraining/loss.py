"""The swapped prediction loss: predict a crop's code from the other crops (SwAV, section 3)."""

import torch
from torch import Tensor
from torch.nn import functional


def swapped_prediction(scores: Tensor, assigned: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy over images, assigning crops, and the crops that predict.

    Args:
        scores: Similarities of all crops to the prototypes, (crops, batch, K).
        assigned: Codes of the first crops, (assigning crops, batch, K), without gradient.
        temperature: Of the softmax over prototypes.
    """
    crops, batch = scores.shape[:2]
    count = len(assigned)
    log_p = functional.log_softmax(scores.float() / temperature, dim=2)
    # For each code, the sum over all crops but its own.
    others = log_p.sum(dim=0, keepdim=True) - log_p[:count]
    total = torch.sum(assigned * others)
    return -total / (count * (crops - 1) * batch)
