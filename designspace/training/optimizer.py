"""SGD as a recipe states it."""

from typing import Any

import torch
from torch import Tensor, nn

from designspace.runs import Recipe


def sgd(network: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.SGD:
    """Return the optimizer of a network by a recipe."""
    return torch.optim.SGD(
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
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
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
