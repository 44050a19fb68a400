"""Scores of features against the prototypes of a pretraining."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
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

    @cached_property
    def _network(self) -> nn.Module:
        state = part_of(self.state, "head.")
        with torch.device("meta"):
            head = projection(next(iter(state.values())).shape[1], self.head).eval()
        # Copies, as a module moves its tensors to a device.
        head.load_state_dict({key: value.clone() for key, value in state.items()}, assign=True)
        network: nn.Module = head
        return network

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Return cosine similarities to the prototypes, (n, K), of pooled features (n, width)."""
        embeddings = functional.normalize(self._network.to(features.device)(features), dim=1)
        weight = self.state["prototypes.weight"].to(features.device)
        return embeddings @ functional.normalize(weight, dim=1).T
