"""Codes: soft assignments of a batch to prototypes, equally shared (SwAV §3.1, Cuturi 2013)."""

import torch
from torch import Tensor
from torch import distributed as dist


@torch.no_grad()
def codes(
    scores: Tensor, epsilon: float, iterations: int, group: dist.ProcessGroup | None = None
) -> Tensor:
    """Turn scores into codes by Sinkhorn's iterations, over the batches of all processes.

    Q = exp(scores / epsilon) is scaled in turn so that each prototype gets 1/K of the whole and
    each image 1/B. The global maximum is subtracted first and all is done in float32: the papers'
    code overflows at small epsilon, and the result does not depend on a constant factor.

    Args:
        scores: Similarities of embeddings and prototypes, (batch, K).
        epsilon: Smoothness; towards 0 codes become one-hot.
        iterations: Times that prototypes, then images are scaled.
        group: Processes whose batches are assigned together; None for this one alone.

    Returns:
        (batch, K) float32; every row sums to 1.
    """
    q = scores.detach().float() / epsilon
    highest = q.max()
    if group is not None:
        dist.all_reduce(highest, dist.ReduceOp.MAX, group=group)
    q = torch.exp(q - highest)
    # Constant factors cancel: 1/total, 1/K and 1/B change nothing after an image's own scaling.
    for _ in range(iterations):
        per_prototype = q.sum(dim=0)
        if group is not None:
            dist.all_reduce(per_prototype, group=group)
        # A prototype that underflows everywhere has no mass to share.
        q /= per_prototype.clamp_min(torch.finfo(torch.float32).tiny)
        q /= q.sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return q
