"""SGD as a recipe states it."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from designspace.networks.layers import ChannelScale
from designspace.runs import Recipe

# Their first call imports torch's compiler, to be left out of what it compiles, which takes each
# worker a second and a half (torch 2.14: `torch._disable_dynamo`, `_use_grad_for_differentiable`).
_METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


class Sgd(torch.optim.SGD):
    """torch's SGD, without the import of torch's compiler; no part of it can be compiled."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the parameters."""
        inspect.unwrap(torch.optim.SGD.step)(self)


for _method in _METHODS:
    setattr(Sgd, _method, inspect.unwrap(getattr(torch.optim.SGD, _method)))


def sgd(network: nn.Module, recipe: Recipe, device: torch.device) -> Sgd:
    """Return the optimizer of a network by a recipe."""
    return Sgd(
        parameter_groups(network, recipe),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        fused=True if device.type in ("cpu", "cuda") else None,
    )


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the parameters, those without weight decay in a group of their own.

    Without `decay_norms` these are all vectors and scalars: scales and shifts of normalization
    layers, biases, and layer scales.
    """
    parameters = list(network.parameters())
    if recipe.decay_norms:
        return [{"params": parameters}]
    # Layer scales have trailing axes of 1.
    scales = {id(one.weight) for one in network.modules() if isinstance(one, ChannelScale)}
    plain = {id(p) for p in parameters if p.ndim <= 1} | scales
    return [
        {"params": [p for p in parameters if id(p) not in plain]},
        {"params": [p for p in parameters if id(p) in plain], "weight_decay": 0.0},
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float | Tensor) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def zero_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Start with a momentum of zero, which is equivalent to none.

    The fused step that a `GradScaler` skips if gradients are not finite, as the first ones in
    float16 often are, would leave the momentum uninitialised.
    """
    for group in optimizer.param_groups:
        for p in group["params"] if group["momentum"] else ():
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
