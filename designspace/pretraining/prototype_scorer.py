"""Scores of features against the prototypes of a pretraining."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from designspace.pretraining.recipe import Head
from designspace.pretraining.swav_network import part_of, projection


@dataclass(frozen=True, eq=False)
class PrototypeScorer:
    """Head and prototypes of a pretraining.

    Attributes:
        head: Shape of the projection head.
        state: State of a `SwavNetwork`; the trunk is ignored.
    """

    head: Head
    state: Mapping[str, Tensor]

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Return cosine similarities to the prototypes, (n, K), of pooled features (n, width)."""
        head = projection(features.shape[1], self.head).eval()
        head.load_state_dict(part_of(self.state, "head."))
        embeddings = functional.normalize(head.to(features.device)(features), dim=1)
        weight = self.state["prototypes.weight"].to(features.device)
        return embeddings @ functional.normalize(weight, dim=1).T
