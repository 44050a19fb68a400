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

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from designspace.pretraining.dtensor import local_tensor, process_group_of

_EPS = 1e-8
# Tensors up to so many elements are rescaled in one buffer on a GPU: by a ratio of its own each
# would take two launches. Most tensors of a network are this small.
_SMALL = 1 << 16


class Larc(torch.optim.SGD):
    """SGD with momentum on rescaled gradients.

    Before a step, g becomes (g + wd * p) * trust * |p| / (|g| + wd * |p| + eps); if either norm is
    0, the gradient stays as it is, without weight decay, as in apex. Norms of sharded parameters
    are those of the whole tensors.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        momentum: float,
        weight_decay: float,
        trust: float,
        scaled: bool = False,
    ) -> None:
        """Prepare; the learning rate is set before each step.

        Args:
            params: Parameters.
            momentum: Momentum.
            weight_decay: Weight decay.
            trust: See the formula above.
            scaled: A `GradScaler` unscales the gradients and steps. The device skips steps whose
                gradients are not finite, and the host doesn't wait to learn about it.
        """
        super().__init__(
            params,
            lr=0.0,
            momentum=momentum,
            weight_decay=0.0,
            foreach=not scaled,
            fused=scaled,
        )
        self._decay, self._trust = weight_decay, trust
        self._small: dict[int, tuple[list[int], Tensor]] = {}

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
            decay = torch.where(nonzero, ratio * self._decay, 0.0)
            ratio = torch.where(nonzero, ratio, 1.0)
            small, owners = self._small_tensors(local, gradients)
            if small:
                rescale_together(local, gradients, ratio[owners], decay[owners], small)
            rest = sorted(set(range(len(local))) - set(small))
            rescale(local, gradients, ratio, decay, rest)
        super().step()

    def _small_tensors(
        self, params: list[Tensor], gradients: list[Tensor]
    ) -> tuple[list[int], Tensor]:
        """Return which tensors to rescale in one buffer, and which one each element is of."""
        if len(params) not in self._small:
            on_gpu = params[0].device.type == "cuda"
            rows = [
                i
                for i, (p, g) in enumerate(zip(params, gradients, strict=True))
                if on_gpu and p.numel() <= _SMALL and p.stride() == g.stride() and _is_dense(p)
            ]
            owners = np.repeat(np.array(rows, np.int64), [params[i].numel() for i in rows])
            self._small[len(params)] = rows, torch.from_numpy(owners).to(params[0].device)
        return self._small[len(params)]


def rescale(
    params: list[Tensor], gradients: list[Tensor], ratio: Tensor, decay: Tensor, rows: list[int]
) -> None:
    """Multiply gradients by their ratio and add their parameter times its decay, in place.

    Args:
        params: Parameters.
        gradients: Their gradients.
        ratio: One per tensor, (n,).
        decay: Likewise.
        rows: Which tensors.
    """
    if rows:
        ratios, decays = ratio.unbind(), decay.unbind()
        own = [gradients[i] for i in rows]
        torch._foreach_mul_(own, [ratios[i] for i in rows])
        decayed = torch._foreach_mul([params[i] for i in rows], [decays[i] for i in rows])
        torch._foreach_add_(own, decayed)


def rescale_together(
    params: list[Tensor], gradients: list[Tensor], ratios: Tensor, decays: Tensor, rows: list[int]
) -> None:
    """Do the same to dense tensors, in a number of launches that does not depend on theirs.

    `ratios` and `decays` have one value per element of the tensors, one after the other.
    """
    weights, own = ([_flat(tensors[i]) for i in rows] for tensors in (params, gradients))
    scaled = torch.cat(own).mul_(ratios)
    scaled.add_(torch.cat(weights).mul_(decays))
    torch._foreach_copy_(own, torch.split(scaled, [len(part) for part in own]))


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (
        tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def _flat(tensor: Tensor) -> Tensor:
    """View a dense tensor in the order of its memory."""
    return tensor.as_strided((tensor.numel(),), (1,))


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
