"""The folded BatchNorm against torch's, its slow twin."""

import pytest
import torch
from torch import nn

from designspace.networks import norm
from designspace.networks.norm import FoldedBatchNorm


def pair(channels, batch, side, offset=0.0):
    torch.manual_seed(channels)
    theirs, ours = nn.BatchNorm2d(channels), FoldedBatchNorm(channels)
    nn.init.uniform_(theirs.weight, 0.5, 2)
    nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(batch, channels, side, side) * 3 + offset
    return theirs, ours, images.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("channels", "batch", "side"),
    [(2, 64, 16), (4, 64, 16), (8, 64, 32), (12, 32, 16), (20, 35, 17), (28, 8, 32)],
)
@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_values_slopes_and_statistics_are_torchs(channels, batch, side, offset):
    theirs, ours, images = pair(channels, batch, side, offset)
    assert norm._pays(images)
    slopes = torch.randn_like(images)
    found = []
    for layer in (theirs, ours):
        inputs = images.clone(memory_format=torch.channels_last).requires_grad_()
        outputs = layer(inputs)
        outputs.backward(slopes)
        found.append(
            [outputs, inputs.grad, layer.weight.grad, layer.bias.grad, *layer.state_dict().values()]
        )
    assert found[1][0].is_contiguous(memory_format=torch.channels_last)
    for mine, other in zip(found[1], found[0], strict=True):
        scale = other.abs().max().clamp(min=1e-6).item()
        assert (mine - other).abs().max().item() <= 2e-5 * (1 + offset / 3) * scale


def test_slopes_are_those_of_finite_differences_in_the_large():
    """A direction in the input changes a weighted sum as the slope says."""
    _, ours, images = pair(4, 64, 16)
    weights = torch.randn_like(images)
    inputs = images.clone(memory_format=torch.channels_last).requires_grad_()
    (ours(inputs) * weights).sum().backward()
    direction = torch.randn_like(images) * 0.01
    with torch.no_grad():
        ahead, behind = (
            (ours(images + sign * direction).double() * weights).sum() for sign in (1, -1)
        )
    expected = ((ahead - behind) / 2).item()
    assert (inputs.grad * direction).sum().item() == pytest.approx(expected, rel=2e-3)


def test_a_whole_network_has_the_same_slopes():
    """With the in-place ReLUs that follow it in the blocks."""
    from designspace.arch import Frame, Model
    from designspace.arch.stages import Arch
    from designspace.networks import build

    model = Model("m", Arch((2, 1), (16, 24), (4.0, 2.0), (2, 4)), Frame(16, 5, 8, 1, (1, 2)))
    images = torch.randn(64, 3, 16, 16).to(memory_format=torch.channels_last)
    slopes = []
    for layer in (nn.BatchNorm2d, FoldedBatchNorm):
        torch.manual_seed(0)
        network = build(model, norm_layer=layer).to(memory_format=torch.channels_last)
        network(images).square().sum().backward()
        slopes.append([p.grad for p in network.parameters()])
    assert any(m.shape[0] == 4 for m in network.state_dict().values() if m.ndim == 1)
    for theirs, ours in zip(*slopes, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


def test_evaluation_is_torchs_to_the_bit():
    theirs, ours, images = pair(4, 64, 16)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize(
    ("channels", "batch", "side"), [(1, 64, 32), (64, 64, 16), (4, 4, 4), (16, 64, 32), (8, 64, 16)]
)
def test_where_folding_does_not_pay_it_is_torchs_to_the_bit(channels, batch, side):
    theirs, ours, images = pair(channels, batch, side)
    assert torch.equal(ours(images), theirs(images))
    assert torch.equal(ours.running_var, theirs.running_var)


def test_other_memory_orders_are_torchs_to_the_bit():
    theirs, ours, images = pair(4, 64, 16)
    assert torch.equal(ours(images.contiguous()), theirs(images.contiguous()))
