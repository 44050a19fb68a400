"""Codes: equipartitioned soft assignments of a batch (SwAV, section 3.1; Cuturi 2013)."""

import torch
from torch import Tensor
from torch import distributed as dist


@torch.no_grad()
def codes(
    scores: Tensor, epsilon: float, iterations: int, group: dist.ProcessGroup | None = None
) -> Tensor:
    """Turn scores into codes by Sinkhorn iterations over the batches of all processes.

    Q = exp(scores / epsilon) is scaled alternately so that each prototype gets 1/K of the mass and
    each image 1/B. Unlike the papers' code, which overflows at small epsilon, this subtracts the
    global maximum first (constant factors cancel) and computes in float32.

    Args:
        scores: Similarities of embeddings and prototypes, (batch, K).
        epsilon: Smoothness; codes approach one-hot as it goes to 0.
        iterations: Number of alternations.
        group: Processes whose batches are assigned together; None for this one alone.

    Returns:
        (batch, K) float32; every row sums to 1.
    """
    q = scores.detach().float() / epsilon
    highest = q.max()
    if group is not None:
        dist.all_reduce(highest, dist.ReduceOp.MAX, group=group)
    q = torch.exp(q - highest)
    # The factors 1/total, 1/K and 1/B cancel in the last scaling.
    for _ in range(iterations):
        per_prototype = q.sum(dim=0)
        if group is not None:
            dist.all_reduce(per_prototype, group=group)
        # Avoid 0 / 0 for a prototype that underflows everywhere.
        q /= per_prototype.clamp_min(torch.finfo(torch.float32).tiny)
        q /= q.sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return q
