"""Training in float16: the device skips steps whose gradients are not finite; the host never waits.

A `GradScaler` that waits calls `Tensor.item`, which fails here; CPUs have the same fused steps.
"""

import math

import pytest
import torch

from designspace.pretraining.larc import Larc
from designspace.runs import Recipe
from designspace.training.accuracy import correct_images
from designspace.training.optimizer import sgd, zero_momentum

CPU = torch.device("cpu")
RECIPE = Recipe("tiny", epochs=1, batch_size=8, lr=0.1, momentum=0.9, weight_decay=0.01)


def recipe_sgd(network, scaled):
    return sgd(network, RECIPE, CPU)


def larc(network, scaled):
    optimizer = Larc(network.parameters(), 0.9, 0.01, 0.001, scaled)
    optimizer.param_groups[0]["lr"] = 0.5
    return optimizer


@pytest.fixture
def no_waits(monkeypatch):
    """Values of tensors can't be read; uninitialised ones are NaN."""

    def item(tensor):
        raise AssertionError("the host waits for the device")

    monkeypatch.setattr(torch.Tensor, "item", item)
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda t, **kwargs: empty_like(t).fill_(math.nan))


def train(make, scaled, bad=()):
    """Train a linear layer for four steps, in those of `bad` on gradients that are not finite."""
    torch.manual_seed(0)
    network = torch.nn.Linear(5, 3)
    optimizer = make(network, scaled)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
    if scaled:
        zero_momentum(optimizer)
    generator = torch.Generator().manual_seed(1)
    for step in range(4):
        images = torch.randn(8, 5, generator=generator)
        loss = network(images).square().sum()
        if step in bad:
            if not scaled:
                optimizer.zero_grad()
                continue
            loss = loss * math.inf
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    momenta = [optimizer.state[p]["momentum_buffer"] for p in network.parameters()]
    return [*network.parameters(), *momenta]


@pytest.mark.parametrize("bad", [(), (0,), (2,), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("make", [recipe_sgd, larc])
def test_steps_that_are_not_finite_are_skipped(no_waits, make, bad):
    scaled = train(make, True, bad)
    if len(bad) == 4:
        assert not any(tensor.any() for tensor in scaled[2:])
        return
    for ours, plain in zip(scaled, train(make, False, bad), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-7)


def test_the_images_that_fill_a_batch_are_no_errors():
    """On a GPU the last batch of the validation images is filled up with labels of -1."""
    labels = [torch.tensor([1, 0, 1]), torch.tensor([1, -1, -1])]

    class Filled:
        validation_size = 4

        def validation(self):
            return [(torch.nn.functional.one_hot(one.clamp(min=0), 2), one) for one in labels]

    assert correct_images(torch.nn.Identity(), Filled()).tolist() == [True] * 4
