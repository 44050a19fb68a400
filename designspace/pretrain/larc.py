"""LARC: SGD whose step on each tensor is scaled by the ratio of its norm to its gradient's.

You et al. 2017 call the method LARS; LARC is apex's name, and SwAV and SEER use it with clipping
off, which is LARS but for where weight decay enters. Weights, biases and BatchNorm are all scaled.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

_EPS = 1e-8


class Larc(torch.optim.SGD):
    """SGD with momentum on scaled gradients.

    Before the step, g becomes (g + wd * p) * trust * |p| / (|g| + wd * |p| + eps); where either
    norm is 0 the gradient stays as it is, without weight decay, as in apex.
    """

    def __init__(
        self, params: Iterable[Tensor], momentum: float, weight_decay: float, trust: float
    ) -> None:
        """Prepare; the learning rate is set before each step."""
        super().__init__(params, lr=0.0, momentum=momentum, weight_decay=0.0)
        self._decay, self._trust = weight_decay, trust

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Scale the gradients in place, then step."""
        held = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        grads = [p.grad for p in held]
        if held:
            norms = torch.stack(torch._foreach_norm(held)).float()
            slopes = torch.stack(torch._foreach_norm(grads)).float()
            scaled = self._trust * norms / (slopes + self._decay * norms + _EPS)
            moving = (norms > 0) & (slopes > 0)
            torch._foreach_mul_(grads, list(torch.where(moving, scaled, 1.0).unbind()))
            decay = torch.where(moving, scaled * self._decay, 0.0)
            torch._foreach_add_(grads, torch._foreach_mul(held, list(decay.unbind())))
        super().step()
