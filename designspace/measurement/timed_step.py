"""The step that is timed: a forward pass, or one of training."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Step = Callable[[], object]


def inference_step(
    forward: Callable[[Tensor], Tensor], images: Tensor, autocast: torch.dtype | None
) -> Step:
    """Return a forward pass without gradients."""

    def step() -> object:
        with torch.inference_mode(), _autocast(images, autocast):
            return forward(images)

    return step


def training_step(
    network: nn.Module,
    forward: Callable[[Tensor], Tensor],
    images: Tensor,
    autocast: torch.dtype | None,
) -> Step:
    """Return a step of SGD with momentum: forward, cross-entropy, backward, update.

    Args:
        network: Holds the weights.
        forward: The network, or its compiled form.
        images: A batch, (n, channels, resolution, resolution).
        autocast: Type of autocast, or None for float32; float16 scales the loss.
    """
    device = images.device.type
    fused = device in ("cpu", "cuda")
    optimizer = torch.optim.SGD(
        network.parameters(), lr=1e-4, momentum=0.9, fused=fused, foreach=False
    )
    scaler = torch.amp.GradScaler(device, enabled=autocast is torch.float16 and device == "cuda")
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(images, autocast):
            loss = functional.cross_entropy(forward(images), labels)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        return loss

    return step


def calibrate(network: nn.Module, images: Tensor) -> None:
    """Set the statistics of BatchNorm from two images, as training would.

    With those of a fresh network activations may become denormal, which slows a CPU down.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images[:1].repeat(2, 1, 1, 1) + torch.rand_like(images[:1]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _autocast(images: Tensor, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return nullcontext() if dtype is None else torch.autocast(images.device.type, dtype)
