"""Weighted k-nearest-neighbor classification of features (Wu et al. 2018)."""

import torch
from torch import Tensor
from torch.nn import functional

# Queries per batch.
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
    """Return the accuracy in percent.

    A neighbor votes with weight exp(cosine similarity / temperature). For small banks, k is limited
    to the size of the bank over twice the number of classes.

    Args:
        bank: Features of labelled images, (n, width).
        bank_labels: Their labels, (n,).
        queries: Features of the images to classify, (m, width).
        query_labels: Their labels, (m,).
        classes: Number of classes.
        k: Number of neighbors.
        temperature: Of the weights.
    """
    bank = functional.normalize(bank.float(), dim=1)
    queries = functional.normalize(queries.float(), dim=1)
    k = max(1, min(k, len(bank) // (2 * classes)))
    correct = 0
    for start in range(0, len(queries), _CHUNK):
        part = slice(start, start + _CHUNK)
        near, rows = (queries[part] @ bank.T).topk(k, dim=1)
        # Subtracting the largest similarity changes no comparison.
        weights = torch.exp((near - near[:, :1]) / temperature)
        votes = torch.zeros(len(near), classes, device=bank.device)
        votes.scatter_add_(1, bank_labels[rows], weights)
        correct += int((votes.argmax(dim=1) == query_labels[part]).sum())
    return 100.0 * correct / len(queries)
