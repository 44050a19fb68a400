"""The forms of convolutions that a CPU computes fastest, against torch's own."""

import pytest
import torch
from torch import nn

from designspace.networks.fast_convolutions import (
    MatrixProjection,
    MergedGroups,
    use_fast_convolutions,
)
from designspace.networks.strided_projection import replace_strided_projections

ORDER = torch.channels_last

PROJECTIONS = [(8, 16, 1), (5, 7, 1), (24, 48, 2), (16, 16, 3)]
# Channels, width of a group, stride, and the width of the group that is computed.
GROUPED = [
    (24, 2, 1, 8),
    (24, 3, 2, 6),
    (20, 4, 1, 4),
    (24, 4, 1, 8),
    (10, 2, 2, 2),
    (18, 2, 1, 6),
    (40, 8, 1, 8),
]


def changed(convolution):
    """The convolution itself, and a copy of it as training uses it."""
    copy = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        convolution.stride,
        convolution.padding,
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    copy.load_state_dict(convolution.state_dict())
    network = nn.Sequential(copy)
    replace_strided_projections(network)
    use_fast_convolutions(network)
    assert list(network[0].state_dict()) == list(convolution.state_dict())
    return network[0]


def outputs_and_gradients(layer, images, gradient):
    inputs = images.clone(memory_format=torch.preserve_format).requires_grad_()
    outputs = layer(inputs)
    outputs.backward(gradient.to(outputs.dtype))
    return [outputs.detach(), inputs.grad, *(p.grad for p in layer.parameters())]


def assert_like_torch(convolution, side=9):
    torch.manual_seed(1)
    fast = changed(convolution)
    images = torch.randn(3, convolution.in_channels, side, side).to(memory_format=ORDER)
    gradient = torch.randn_like(convolution(images))
    results = outputs_and_gradients(fast, images, gradient)
    exact = outputs_and_gradients(convolution.double(), images.double(), gradient)
    for result, expected in zip(results, exact, strict=True):
        torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-5)
    assert results[0].is_contiguous(memory_format=ORDER)
    return fast


@pytest.mark.parametrize(("inputs", "outputs", "stride"), PROJECTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_projections_are_products_of_matrices(inputs, outputs, stride, bias):
    fast = assert_like_torch(nn.Conv2d(inputs, outputs, 1, stride, bias=bias))
    assert type(fast) is MatrixProjection


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "product"),
    [(8, 48, 1, False), (48, 8, 1, False), (16, 16, 1, True), (8, 16, 2, True)],
)
def test_few_channels_of_many_pixels_are_left_to_onednn(inputs, outputs, stride, product):
    fast = changed(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
    images = torch.randn(4, inputs, 32, 32).to(memory_format=ORDER).requires_grad_()
    nodes, step = set(), fast(images).grad_fn
    while step is not None:
        nodes.add(type(step).__name__)
        step = step.next_functions[0][0] if step.next_functions else None
    assert ("ConvolutionBackward0" not in nodes) is product


@pytest.mark.parametrize(("channels", "width", "stride", "computed"), GROUPED)
def test_narrow_groups_are_merged(channels, width, stride, computed):
    groups = channels // width
    fast = assert_like_torch(nn.Conv2d(channels, channels, 3, stride, 1, groups=groups, bias=False))
    merged = fast.merged if isinstance(fast, MergedGroups) else 1
    assert width * merged == computed


def test_other_convolutions_stay():
    for convolution in (
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 16, 3, padding=1, groups=4),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 8, 1, padding=1),
    ):
        assert type(changed(convolution)) is nn.Conv2d


@pytest.mark.parametrize(
    "convolution", [nn.Conv2d(8, 4, 1), nn.Conv2d(8, 8, 3, padding=1, groups=4)]
)
@pytest.mark.parametrize("convert", [torch.Tensor.contiguous, torch.Tensor.double])
def test_other_memory_orders_and_types_equal_torch_to_the_bit(convolution, convert):
    images = convert(torch.randn(2, 8, 6, 6))
    fast, convolution = changed(convolution).to(images.dtype), convolution.to(images.dtype)
    assert torch.equal(fast(images), convolution(images))


def test_exported_graphs_have_convolutions_alone():
    layers = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=4))
    use_fast_convolutions(layers)
    images = torch.zeros(2, 8, 6, 6).to(memory_format=ORDER)
    graph = torch.export.export(layers.eval(), (images,)).graph
    operations = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert operations == ["aten.conv2d.default"] * 2
