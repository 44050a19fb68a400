"""LARC: SGD with a learning rate for each tensor, from the ratio of its norm to its gradient's.

Large batches need large learning rates, and no single rate suits all layers. You et al. (2017)
scale the schedule's rate for every tensor by

    trust * |p| / (|g| + wd * |p| + eps)

so that a step changes each tensor by a similar fraction of its norm. They call it LARS. LARC is the
implementation in NVIDIA apex that SwAV and SEER train with: with `clip` it takes the minimum of
that rate and the schedule's; without, as in both papers, it is LARS except that the learning rate
multiplies the momentum instead of entering it. Biases and BatchNorm are scaled and decayed too;
many later versions of LARS (lightly's, for example) exclude them.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch import distributed as dist

from designspace.pretraining.dtensor import local_tensor, process_group_of

_EPS = 1e-8


class Larc(torch.optim.SGD):
    """SGD with momentum on rescaled gradients.

    Before a step, g becomes (g + wd * p) * trust * |p| / (|g| + wd * |p| + eps); if either norm is
    0, the gradient stays as it is, without weight decay, as in apex. Norms of sharded parameters
    are those of the whole tensors.
    """

    def __init__(
        self, params: Iterable[Tensor], momentum: float, weight_decay: float, trust: float
    ) -> None:
        """Prepare; the learning rate is set before each step."""
        super().__init__(params, lr=0.0, momentum=momentum, weight_decay=0.0)
        self._decay, self._trust = weight_decay, trust

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Rescale the gradients in place, then step."""
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if params:
            local = [local_tensor(p) for p in params]
            gradients = [local_tensor(p.grad) for p in params]
            norms, gradient_norms = _norms(local, gradients, process_group_of(params))
            ratio = self._trust * norms / (gradient_norms + self._decay * norms + _EPS)
            nonzero = (norms > 0) & (gradient_norms > 0)
            torch._foreach_mul_(gradients, list(torch.where(nonzero, ratio, 1.0).unbind()))
            decay = torch.where(nonzero, ratio * self._decay, 0.0)
            torch._foreach_add_(gradients, torch._foreach_mul(local, list(decay.unbind())))
        super().step()


def _norms(
    params: list[Tensor], gradients: list[Tensor], group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    """Norms of parameters and of gradients, each (n,), over all shards."""
    norms = torch.stack([torch.stack(torch._foreach_norm(t)).float() for t in (params, gradients)])
    if group is not None:
        squares = norms.square()
        dist.all_reduce(squares, group=group)
        norms = squares.sqrt()
    return norms[0], norms[1]
