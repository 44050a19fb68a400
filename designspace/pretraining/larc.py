"""LARC: SGD whose step on each tensor is scaled by the ratio of its norm to its gradient's.

Large batches want large rates, and one rate can't fit all layers: where the gradient is large
beside the weights it breaks them, where it is small they hardly move. So You et al. (2017) give
every tensor a rate of its own,

    trust * |p| / (|g| + wd * |p| + eps)

times the schedule's, so that a step changes every tensor by a like share of its length. They call
it LARS. LARC is the name of NVIDIA apex's implementation, which SwAV and SEER train with: with
`clip` it takes the lesser of that rate and the schedule's; without, as both papers have it, it is
LARS, but that the schedule's rate multiplies the momentum and does not enter it. The article that
this project follows says LARS and means this. Biases and BatchNorm are scaled and decay like all
the rest; many later versions of LARS (lightly's too) leave them out.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch import distributed as dist

from designspace.pretraining.dtensor import local_tensor, process_group_of

_EPS = 1e-8


class Larc(torch.optim.SGD):
    """SGD with momentum on scaled gradients.

    Before the step, g becomes (g + wd * p) * trust * |p| / (|g| + wd * |p| + eps); where either
    norm is 0 the gradient stays as it is, without weight decay, as in apex. Of parameters that lie
    in parts on several processes, the norms are those of the whole.
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
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if moved:
            held = [local_tensor(p) for p in moved]
            grads = [local_tensor(p.grad) for p in moved]
            norms, slopes = _norms(held, grads, process_group_of(moved))
            scaled = self._trust * norms / (slopes + self._decay * norms + _EPS)
            moving = (norms > 0) & (slopes > 0)
            torch._foreach_mul_(grads, list(torch.where(moving, scaled, 1.0).unbind()))
            decay = torch.where(moving, scaled * self._decay, 0.0)
            torch._foreach_add_(grads, torch._foreach_mul(held, list(decay.unbind())))
        super().step()


def _norms(
    held: list[Tensor], grads: list[Tensor], group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    """Norms of parameters and of gradients, each (n,), over the parts of all processes."""
    made = torch.stack([torch.stack(torch._foreach_norm(t)).float() for t in (held, grads)])
    if group is not None:
        squares = made.square()
        dist.all_reduce(squares, group=group)
        made = squares.sqrt()
    return made[0], made[1]
