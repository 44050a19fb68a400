"""Exponential moving average of a network's weights."""

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """A second network whose weights and BatchNorm statistics average those of the first."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from the network's weights; `decay` is the fraction kept at each step."""
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, share: Tensor | None = None) -> None:
        """Average in the network's current weights.

        Args:
            network: The network in training.
            share: Fraction that the average takes over, (), on the device; by default 1 - decay.
        """
        averages: list[Tensor] = list(self.network.parameters())
        values: list[Tensor] = list(network.parameters())
        for average, value in zip(self.network.buffers(), network.buffers(), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        if share is None:
            torch._foreach_lerp_(averages, values, 1 - self._decay)
            return
        if share.device.type == "cpu":
            for average, value in zip(averages, values, strict=True):
                average.lerp_(value, share.to(average.dtype))
            return
        # A lerp by a tensor has no kernel for many tensors.
        changes = torch._foreach_sub(values, averages)
        torch._foreach_mul_(changes, share)
        torch._foreach_add_(averages, changes)
