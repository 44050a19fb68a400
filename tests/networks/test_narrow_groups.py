"""Kernels of narrow groups against torch's convolution in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from designspace.networks import narrow_groups
from designspace.networks.fast_convolutions import NarrowGroups, use_fast_convolutions

pytest.importorskip("numba")

ORDER = torch.channels_last
# Channels, width of a group, stride, height and width of the images.
SHAPES = [
    (8, 1, 1, 4, 4),
    (8, 2, 1, 6, 4),  # rows in pairs
    (4, 4, 1, 5, 8),  # one group; single rows
    (12, 3, 1, 8, 4),
    (24, 2, 1, 4, 2),  # 48 lanes
    (48, 4, 1, 2, 2),
    (20, 4, 1, 3, 4),
    (16, 16, 1, 4, 4),  # too wide for the kernels
    (16, 1, 2, 8, 8),
    (8, 2, 2, 2, 4),
    (4, 2, 2, 16, 8),
    (24, 3, 2, 4, 4),
    (40, 4, 2, 6, 12),
]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def convolution(channels, group, stride, bias=False):
    torch.manual_seed(0)
    groups = channels // group
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=groups, bias=bias)


def in_order(*shape):
    return torch.randn(*shape).to(memory_format=ORDER)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", [torch.contiguous_format, ORDER])
def test_outputs_and_gradients_are_those_of_torch(shape, weights):
    channels, group, stride, height, width = shape
    layer = convolution(channels, group, stride)
    images = in_order(3, channels, height, width).requires_grad_()
    gradient = in_order(3, channels, height // stride, width // stride)
    exact, weight = images.detach().double().requires_grad_(), layer.weight.detach().double()
    weight.requires_grad_()
    expected = functional.conv2d(exact, weight, None, stride, 1, 1, channels // group)
    expected.backward(gradient.double())

    network = nn.Sequential(layer)
    use_fast_convolutions(network)
    network.to(memory_format=weights)
    assert narrow_groups.fits_kernels(images, stride)
    assert (type(network[0]) is NarrowGroups) is (group <= narrow_groups.WIDEST)
    # Memory that an earlier step freed, and that holds other values.
    torch.full((2 * images.numel(),), torch.nan)
    outputs = network(images)
    outputs.backward(gradient)

    for result, other in (
        (outputs, expected),
        (images.grad, exact.grad),
        (layer.weight.grad, weight.grad),
    ):
        torch.testing.assert_close(result.double(), other, rtol=1e-5, atol=1e-5)
    assert outputs.is_contiguous(memory_format=ORDER)


@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        pytest.param((2, 8, 4, 3), 1, id="rows that fill no register"),
        pytest.param((2, 8, 5, 6), 2, id="odd height at a stride of 2"),
        pytest.param((0, 8, 4, 4), 1, id="no images"),
    ],
)
def test_other_images_are_left_to_torch(shape, stride):
    layer = convolution(8, 1, stride)
    images = in_order(*shape)
    expected = layer(images)
    network = nn.Sequential(layer)
    use_fast_convolutions(network)
    assert type(layer) is NarrowGroups
    assert torch.equal(network(images), expected)


def test_several_threads_are_left_to_torch():
    images = in_order(2, 8, 4, 4)
    assert narrow_groups.fits_kernels(images, 1)
    torch.set_num_threads(2)
    assert not narrow_groups.fits_kernels(images, 1)


@pytest.mark.parametrize("convert", [torch.Tensor.contiguous, torch.Tensor.double])
def test_other_memory_orders_and_types_equal_torch_to_the_bit(convert):
    layer = convolution(8, 1, 1)
    images = convert(torch.randn(2, 8, 4, 4))
    layer.to(images.dtype)
    expected = layer(images)
    use_fast_convolutions(nn.Sequential(layer))
    assert torch.equal(layer(images), expected)


def test_weights_of_another_type_raise_the_error_of_torch():
    layer = convolution(8, 1, 1)
    use_fast_convolutions(nn.Sequential(layer))
    with pytest.raises(RuntimeError, match="type"):
        layer.double()(in_order(2, 8, 4, 4))


def test_exported_graphs_have_convolutions_alone():
    layers = nn.Sequential(convolution(8, 2, 1), convolution(8, 1, 2))
    use_fast_convolutions(layers)
    graph = torch.export.export(layers.eval(), (in_order(2, 8, 4, 4),)).graph
    operations = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert operations == ["aten.conv2d.default"] * 2


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # a bias
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, (2, 1), 1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 3, 1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular", groups=8, bias=False),
        nn.Conv2d(8, 16, 3, padding=1, groups=8, bias=False),
        nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
    ],
)
def test_layers_of_other_kinds_are_not_computed_by_the_kernels(other):
    assert not narrow_groups.supports(other)


def test_only_the_gradients_that_are_needed_are_computed(monkeypatch):
    from designspace.networks import narrow_group_kernels as kernels

    layer = convolution(8, 2, 1)
    images = in_order(2, 8, 4, 4)
    with monkeypatch.context() as patch:
        patch.delattr(kernels, "image_gradients_kernel")
        narrow_groups.convolve(images, layer.weight, 1).sum().backward()
    assert layer.weight.grad is not None

    layer.weight.requires_grad_(False)
    monkeypatch.delattr(kernels, "weight_gradients_kernel")
    narrow_groups.convolve(images.requires_grad_(), layer.weight, 1).sum().backward()
    assert images.grad is not None
