"""BatchNorm with its residual sum and ReLU in one kernel, against torch's, the slow twin."""

import pytest
import torch
from marks import needs_numba
from torch import nn

from designspace.arch import Model, Skeleton
from designspace.arch.body import Body
from designspace.networks import build, numba_loops
from designspace.networks.fast_convolutions import use_fast_convolutions
from designspace.networks.fused_blocks import FusedBatchNorm

ORDER = torch.channels_last


def pair(channels, batch, side, offset=0.0):
    torch.manual_seed(channels)
    theirs, ours = nn.BatchNorm2d(channels), FusedBatchNorm(channels)
    nn.init.uniform_(theirs.weight, 0.5, 2)
    nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(batch, channels, side, side) * 3 + offset
    return theirs, ours, images.to(memory_format=ORDER)


@needs_numba
@pytest.mark.parametrize(
    ("channels", "batch", "side"),
    # Folded to many pixels a row, few, and none; with rows left over from fours; of 1 x 1 pixels.
    [(2, 64, 16), (4, 64, 16), (17, 35, 17), (28, 8, 32), (1, 5, 3), (200, 9, 1), (64, 64, 8)],
)
@pytest.mark.parametrize("offset", [0.0, 20.0])
@pytest.mark.parametrize(("relu", "add"), [(False, False), (True, False), (True, True)])
def test_values_gradients_and_statistics_match_torch(channels, batch, side, offset, relu, add):
    theirs, ours, images = pair(channels, batch, side, offset)
    ours.relu = relu
    gradients, identity = torch.randn_like(images), torch.randn_like(images)
    # Values that rounding may put on either side of the ReLU's corner get no gradient.
    with torch.no_grad():
        gradients[(theirs(images) + (identity if add else 0)).abs() < 1e-3] = 0
    theirs.load_state_dict(ours.state_dict())
    results = []
    for layer in (theirs, ours):
        inputs = images.clone(memory_format=ORDER).requires_grad_()
        added = identity.clone(memory_format=ORDER).requires_grad_()
        if layer is ours:
            outputs = layer(inputs, added if add else None)
        else:
            outputs = layer(inputs) + added if add else layer(inputs)
            outputs = outputs.relu() if relu else outputs
        outputs.backward(gradients)
        results.append(
            [outputs, inputs.grad, layer.weight.grad, layer.bias.grad, *layer.state_dict().values()]
            + ([added.grad] if add else [])
        )
    assert results[1][0].is_contiguous(memory_format=ORDER)
    for mine, other in zip(results[1], results[0], strict=True):
        scale = other.abs().max().clamp(min=0.1).item()
        assert (mine - other).abs().max().item() <= 2e-5 * (1 + offset / 3) * scale


@needs_numba
def test_gradients_match_finite_differences():
    """The directional derivative of a weighted sum of the output."""
    _, ours, images = pair(4, 64, 16)
    weights = torch.randn_like(images)
    inputs = images.clone(memory_format=ORDER).requires_grad_()
    (ours(inputs) * weights).sum().backward()
    direction = torch.randn_like(images) * 0.01
    with torch.no_grad():
        ahead, behind = (
            (ours(images + sign * direction).double() * weights).sum() for sign in (1, -1)
        )
    expected = ((ahead - behind) / 2).item()
    assert (inputs.grad * direction).sum().item() == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("se_ratio", [0.0, 0.25])
@pytest.mark.parametrize("training", [True, False])
def test_a_whole_network_is_the_same(se_ratio, training):
    """The same weights from the same seed, the same state keys, outputs and gradients."""
    stages = Body((2, 1), (16, 24), (4.0, 2.0), (2, 4), se_ratio)
    model = Model("m", stages, Skeleton(16, 5, 8, 1, (1, 2)))
    images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    images = images.to(memory_format=ORDER)
    networks, outputs = [], []
    for kind in ("plain", "fused", "exact"):
        torch.manual_seed(0)
        network = build(model, fused=kind == "fused").to(memory_format=ORDER).train(training)
        network, inputs = (
            (network.double(), images.double()) if kind == "exact" else (network, images)
        )
        outputs.append(network(inputs))
        outputs[-1].square().sum().backward()
        networks.append(network)
    plain, ours, exact = networks
    assert any(isinstance(module, FusedBatchNorm) for module in ours.modules())
    assert list(ours.state_dict()) == list(plain.state_dict())
    assert torch.allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    reference = dict(exact.named_parameters())
    for (name, theirs), mine in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
        # Rounding puts a few values on the other side of a ReLU's corner, with torch's layers too.
        expected = reference[name].grad
        allowed = max(0.02 * expected.norm(), 1.5 * (theirs.grad - expected).norm())
        assert (mine.grad - expected).norm() <= allowed, name


def test_other_memory_orders_and_types_equal_torch_to_the_bit():
    for convert in (torch.Tensor.contiguous, torch.Tensor.double):
        theirs, ours, images = pair(4, 64, 16)
        images = convert(images)
        theirs, ours = theirs.to(images.dtype), ours.to(images.dtype)
        ours.relu = True
        assert torch.equal(ours(images, images), (theirs(images) + images).relu())
        assert torch.equal(ours.running_var, theirs.running_var)


@needs_numba
def test_gradients_in_another_memory_order_are_accepted():
    """The gradient of mean pooling is an expanded single value."""
    theirs, ours, images = pair(8, 4, 8)
    gradients = []
    for layer in (theirs, ours):
        inputs = images.clone(memory_format=ORDER).requires_grad_()
        (layer(inputs) * torch.arange(8.0)[:, None, None]).sum(1).mean().backward()
        gradients.append(layer.bias.grad)
    assert torch.allclose(*gradients, rtol=1e-5)


def test_nan_stays_nan():
    _, ours, images = pair(4, 8, 4)
    ours.relu = True
    images[0, 1, 0, 0] = torch.nan
    outputs = ours(images)
    assert outputs[:, 1].isnan().all()
    assert outputs[:, 0].isfinite().all()


def test_a_single_value_has_no_variance():
    with pytest.raises(ValueError, match="more than 1 value"):
        FusedBatchNorm(3)(torch.randn(1, 3, 1, 1))


@needs_numba
def test_second_derivatives_are_refused():
    _, ours, images = pair(4, 8, 4)
    outputs = ours(images.requires_grad_())
    (gradient,) = torch.autograd.grad(outputs.square().sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("se_ratio", [0.0, 0.25])
def test_without_numba_torch_trains_the_same_network(se_ratio, monkeypatch):
    monkeypatch.setattr(numba_loops, "available", lambda: False)
    model = Model("m", Body((2,), (16,), (2.0,), (4,), se_ratio), Skeleton(8, 5, 8, 1, (2,)))
    images = torch.randn(16, 3, 8, 8).to(memory_format=ORDER)
    networks, outputs = [], []
    for fused in (False, True):
        torch.manual_seed(0)
        networks.append(build(model, fused=fused).to(memory_format=ORDER))
        use_fast_convolutions(networks[-1])  # as fused networks do
        outputs.append(networks[-1](images))
        outputs[-1].square().sum().backward()
    assert torch.equal(*outputs)
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(networks[0].buffers(), networks[1].buffers(), strict=True):
        assert torch.equal(one, other)
