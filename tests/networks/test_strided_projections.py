"""Strided 1x1 convolutions on a CPU: equal to torch's, and no shape corrupts memory."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from designspace.arch import Model, Skeleton
from designspace.arch.body import Body
from designspace.networks import build
from designspace.networks.strided_projection import (
    StridedProjection,
    replace_strided_projections,
)
from designspace.space import load_space, sample

SMALL = Model(
    "small",
    Body((1, 2), (16, 24), (2.0, 1.0), (4, 8), se_ratio=0.25),
    Skeleton(16, 5, 8, 2, (2, 2)),
)
CHANNELS_LAST = torch.channels_last


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("batch", "width_in", "width_out", "side", "stride"),
    [(16, 8, 16, 32, 2), (3, 32, 24, 8, 2), (2, 5, 7, 9, 2), (4, 24, 8, 7, 3), (5, 40, 64, 4, 2)],
)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_outputs_and_gradients_equal_torchs_but_for_rounding(
    batch, width_in, width_out, side, stride, threads, set_threads
):
    set_threads(threads)
    torch.manual_seed(0)
    plain = nn.Conv2d(width_in, width_out, 1, stride, bias=False).to(memory_format=CHANNELS_LAST)
    safe = StridedProjection(nn.Conv2d(width_in, width_out, 1, stride, bias=False))
    safe.load_state_dict(plain.state_dict())
    safe.to(memory_format=CHANNELS_LAST)
    images = torch.randn(batch, width_in, side, side)
    results = []
    for layer in (plain, safe):
        inputs = images.clone().to(memory_format=CHANNELS_LAST).requires_grad_()
        outputs = layer(inputs)
        # The plain layer's weight gradient may corrupt memory, so it is not computed.
        torch.manual_seed(1)
        (gradient,) = torch.autograd.grad(outputs, inputs, torch.randn(outputs.shape))
        results.append((outputs, gradient))
    # On maps of a few pixels oneDNN chooses other kernels, which ones depends on the processor.
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    assert results[1][0].is_contiguous(memory_format=CHANNELS_LAST)


def test_weight_gradient_matches_float64():
    torch.manual_seed(0)
    layer = StridedProjection(nn.Conv2d(8, 16, 1, 2, bias=False)).to(memory_format=CHANNELS_LAST)
    images = torch.randn(15, 8, 32, 32).to(memory_format=CHANNELS_LAST)
    outputs = layer(images)
    gradient = torch.randn_like(outputs)
    outputs.backward(gradient)
    expected = torch.einsum("bohw,bihw->oi", gradient.double(), images[:, :, ::2, ::2].double())
    torch.testing.assert_close(
        layer.weight.grad[..., 0, 0].double(), expected, rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("fused", [False, True])
def test_networks_have_no_plain_strided_projection(fused):
    network = build(SMALL, fused=fused)
    strided = [m for m in network.modules() if _is_strided_projection(m)]
    assert len(strided) == 2
    assert all(isinstance(m, StridedProjection) for m in strided)
    assert "trunk_output.block1.block1-0.proj.0.weight" in network.state_dict()


def test_replacing_draws_nothing_and_keeps_weights():
    network = nn.Sequential(nn.Conv2d(3, 4, 1, 2), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, 2))
    before, state = torch.get_rng_state(), network.state_dict()
    replace_strided_projections(network)
    assert torch.equal(torch.get_rng_state(), before)
    assert [type(m) for m in network] == [StridedProjection, nn.Conv2d, nn.Conv2d]
    assert all(network.state_dict()[key] is not None for key in state)
    images = torch.randn(2, 3, 9, 9)
    assert network(images).shape == (2, 4, 2, 2)


def test_exported_graph_has_one_convolution_for_each_projection():
    network = build(SMALL).eval()
    graph = torch.export.export(network, (torch.zeros(2, 3, 16, 16),)).graph
    operations = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert not any("slice" in operation for operation in operations)


def _is_strided_projection(module):
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) != module.stride


@pytest.mark.slow
def test_no_shape_of_sampled_networks_corrupts_memory():
    """Runs in a process of its own, as corruption may kill it or anything that runs later."""
    # More threads than cores must not spin while they wait.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    result = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, (result.returncode, result.stdout[-500:], result.stderr[-500:])


def sweep():
    """Run forward and backward through every convolution of 200 networks, and whole networks.

    Each convolution runs with 1 to 8 threads on odd batches; its gradients must be finite and, as
    corruption need not kill, equal those of other thread counts.
    """
    networks = [
        build(model, device="meta")
        for name in ("AnyNetXA@32", "AnyNetXA@8", "RegNetX@32", "RegNetY@8")
        for model in _models(name, 50)
    ]
    shapes = set()
    for network in networks:
        shapes |= _convolution_shapes(network)
    for number, (kind, width_in, width_out, kernel, stride, groups, side) in enumerate(
        sorted(shapes, key=str)
    ):
        layer = nn.Conv2d(
            width_in, width_out, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        layer = (StridedProjection(layer) if kind == "StridedProjection" else layer).to(
            memory_format=CHANNELS_LAST
        )
        batch = (15, 9, 5, 3)[number % 4]
        images = torch.randn(batch, width_in, side, side).to(memory_format=CHANNELS_LAST)
        gradients = []
        for threads in range(1, 9):
            torch.set_num_threads(threads)
            inputs = images.clone(memory_format=CHANNELS_LAST).requires_grad_()
            layer(inputs).square().sum().backward()
            gradients.append((inputs.grad, layer.weight.grad))
            layer.weight.grad = None
        for gradient in gradients[1:]:
            for one, other in zip(gradients[0], gradient, strict=True):
                assert (one - other).abs().max() <= 1e-3 * one.abs().max(), (kind, layer, side)
    print(len(shapes), "shapes")


def _models(name, count):
    drawn = sample(load_space(name), count).population
    return [drawn.model(i) for i in range(count)]


def _convolution_shapes(network):
    shapes = set()

    def record(module, inputs):
        shape = (module.in_channels, module.out_channels, module.kernel_size[0], module.stride[0])
        shapes.add((type(module).__name__, *shape, module.groups, inputs[0].shape[-1]))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(record)
    network(torch.zeros(1, 3, 32, 32, device="meta"))
    return shapes


if __name__ == "__main__":
    sweep()
