"""An exponential moving average of a network's weights."""

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """A second network whose weights and BatchNorm statistics follow those of the first."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from the network's weights; `decay` is the share that is kept at each step."""
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Follow the network by one step."""
        mine: list[Tensor] = list(self.network.parameters())
        theirs: list[Tensor] = list(network.parameters())
        for own, other in zip(self.network.buffers(), network.buffers(), strict=True):
            if own.is_floating_point():
                mine.append(own)
                theirs.append(other)
            else:
                own.copy_(other)
        torch._foreach_lerp_(mine, theirs, 1 - self._decay)
