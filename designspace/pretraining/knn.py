"""k-nearest-neighbour classification of features, which needs no training (Wu et al. 2018)."""

import torch
from torch import Tensor
from torch.nn import functional

# Queries compared with the bank at once.
_CHUNK = 1024


@torch.no_grad()
def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    classes: int,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """Return the share of queries, in percent, whose neighbours vote for their label.

    A neighbour's vote weighs exp(cosine similarity / temperature). A bank of few images has fewer
    neighbours worth asking: k is at most its size over twice the number of classes, at least 1.

    Args:
        bank: Features of labelled images, (n, width).
        bank_labels: Their labels, (n,).
        queries: Features of the images to be told, (m, width).
        query_labels: Their labels, (m,).
        classes: Number of classes.
        k: Neighbours that vote.
        temperature: Of their weights.
    """
    bank = functional.normalize(bank.float(), dim=1)
    queries = functional.normalize(queries.float(), dim=1)
    k = max(1, min(k, len(bank) // (2 * classes)))
    right = 0
    for start in range(0, len(queries), _CHUNK):
        part = slice(start, start + _CHUNK)
        near, rows = (queries[part] @ bank.T).topk(k, dim=1)
        # The largest weight is 1: subtracting it changes no comparison.
        weights = torch.exp((near - near[:, :1]) / temperature)
        votes = torch.zeros(len(near), classes, device=bank.device)
        votes.scatter_add_(1, bank_labels[rows], weights)
        right += int((votes.argmax(dim=1) == query_labels[part]).sum())
    return 100.0 * right / len(queries)
