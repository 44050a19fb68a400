"""Weighted k-nearest-neighbor classification of features (Wu et al. 2018).

By default 200 neighbors, as there, but the temperature 0.1 in place of 0.07. DINO's tables are of
20 neighbors and 0.07 (Caron et al. 2021).
"""

import torch
from torch import Tensor
from torch.nn import functional

NEIGHBORS, TEMPERATURE = 200, 0.1
# Queries per batch.
_CHUNK = 1024


@torch.no_grad()
def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    classes: int,
    k: int | None = None,
    temperature: float = TEMPERATURE,
) -> float:
    """Return the accuracy in percent.

    A neighbor votes with weight exp(cosine similarity / temperature).

    Args:
        bank: Features of labelled images, (n, width).
        bank_labels: Their labels, (n,).
        queries: Features of the images to classify, (m, width).
        query_labels: Their labels, (m,).
        classes: Number of classes.
        k: Number of neighbors; None for 200, in small banks their size over twice the number of
            classes.
        temperature: Of the weights.
    """
    bank = functional.normalize(bank.float(), dim=1)
    queries = functional.normalize(queries.float(), dim=1)
    if k is None:
        k = max(1, min(NEIGHBORS, len(bank) // (2 * classes)))
    k = min(k, len(bank))
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
