"""Settings that change from step to step: the weight of mixup, and of the weight average."""

import torch
from torch import Tensor

from designspace.runs import Recipe
from designspace.training.mixup import mixing_weights


class StepSettings:
    """Scalars on the device that a step reads, so that a CUDA graph of it can be replayed.

    Attributes:
        mixing: Weight of a batch that is mixed with its reverse, (), or None without mixup.
        averaging: Share of the weights that the average takes over, (), or None if constant.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        """Allocate what the recipe needs."""
        self._recipe = recipe
        varies = bool(recipe.ema_decay) and recipe.ema_period > 1
        self.mixing = torch.ones((), device=device) if recipe.mixup else None
        self.averaging = torch.zeros((), device=device) if varies else None

    def buffers(self) -> list[Tensor]:
        """Return the scalars, in the order of the columns of `epoch`."""
        return [buffer for buffer in (self.mixing, self.averaging) if buffer is not None]

    def epoch(self, seed: int, epoch: int, steps: int) -> Tensor:
        """Return the values of all steps of an epoch on the CPU, (steps, buffers) float32."""
        columns = []
        if self.mixing is not None:
            columns.append(mixing_weights(self._recipe.mixup, seed, epoch, steps))
        if self.averaging is not None:
            last = (torch.arange(steps) + 1 + epoch * steps) % self._recipe.ema_period == 0
            columns.append(last.float() * (1 - self._recipe.ema_decay))
        return torch.stack(columns, 1) if columns else torch.empty(steps, 0)
