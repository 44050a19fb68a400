"""The closed form of cost against the built network, counted by torch and by fvcore."""

import logging

import pytest
import torch
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from designspace.arch import Body, Model, RegNetParams, Skeleton, group_compatible, published
from designspace.networks import build


def counted(model):
    """Parameters, multiply-adds and activations of the built network, on `meta`."""
    network = build(model, device="meta").eval()
    elements, biases = [], []

    def hook(module, _, output):
        elements.append(output.numel())
        biases.append(output.numel() if module.bias is not None else 0)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(hook)
    side = model.skeleton.resolution
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, model.skeleton.channels, side, side, device="meta"))
    return {
        "params": sum(p.numel() for p in network.parameters()),
        "flops": counter.get_total_flops() // 2 + sum(biases),
        "acts": sum(elements),
    }


def cost_of(model):
    return {key: getattr(model, key) for key in ("params", "flops", "acts")}


def skeletons(stages):
    return st.builds(
        Skeleton,
        resolution=st.integers(5, 97),
        classes=st.integers(2, 30),
        stem_width=st.sampled_from([4, 8, 16, 32]),
        stem_stride=st.sampled_from([1, 2]),
        strides=st.lists(st.sampled_from([1, 2]), min_size=stages, max_size=stages).map(tuple),
        channels=st.sampled_from([1, 3, 12]),
    )


@st.composite
def anynets(draw):
    import numpy as np

    stages = draw(st.integers(3, 5))

    def some(values):
        return draw(st.lists(values, min_size=stages, max_size=stages))

    widths = np.array(some(st.integers(1, 12))) * 8
    ratios = np.array(some(st.sampled_from([0.5, 1.0, 2.0, 4.0])))
    groups = np.array(some(st.sampled_from([1, 2, 3, 4, 8, 16, 32])))
    widths, groups = group_compatible(widths, ratios, groups)
    body = Body(
        depths=tuple(some(st.integers(1, 3))),
        widths=tuple(int(w) for w in widths),
        bottleneck_ratios=tuple(float(b) for b in ratios),
        group_widths=tuple(int(g) for g in groups),
        # With 1/16 and 1/64 some squeeze widths round to 0.
        se_ratio=draw(st.sampled_from([0.0, 1 / 64, 1 / 16, 0.25, 0.5])),
    )
    return Model("any", body, draw(skeletons(stages)))


@st.composite
def regnets(draw):
    regnet = RegNetParams(
        d=draw(st.integers(1, 10)),
        w_0=8 * draw(st.integers(1, 6)),
        w_a=draw(st.floats(0, 40)),
        w_m=draw(st.floats(1.5, 3)),
        b=draw(st.sampled_from([0.5, 1.0, 2.0, 4.0])),
        g=draw(st.sampled_from([1, 2, 4, 8, 16, 24])),
    )
    se = draw(st.sampled_from([0.0, 0.25]))
    stages = regnet.body(se).num_stages
    return Model.from_regnet("reg", regnet, se, draw(skeletons(stages)))


@settings(max_examples=15, deadline=None)
@given(anynets())
def test_anynets_cost_what_their_networks_cost(model):
    assert cost_of(model) == counted(model)


@settings(max_examples=15, deadline=None)
@given(regnets())
def test_regnets_cost_what_their_networks_cost(model):
    assert cost_of(model) == counted(model)


@pytest.mark.parametrize("name", ["RegNetX-400MF", "RegNetY-1.6GF", "RegNetY-256GF"])
def test_published_models_cost_what_their_networks_cost(name):
    assert cost_of(published(name)) == counted(published(name))


@pytest.mark.parametrize(
    ("name", "resolution"), [("RegNetX-200MF", 64), ("RegNetY-200MF", 65), ("RegNetY-400MF", 32)]
)
def test_fvcore_agrees(name, resolution):
    """fvcore counts BatchNorm and pooling too unless told not to, and no bias additions."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    model = published(name).at(resolution)
    network = build(model).eval()
    image = torch.zeros(1, 3, resolution, resolution)
    left_out = dict.fromkeys(("aten::batch_norm", "aten::adaptive_avg_pool2d"), lambda i, o: 0)
    analysis = FlopCountAnalysis(network, image).set_op_handle(**left_out)
    analysis.unsupported_ops_warnings(False)
    body, classes = model.body, model.skeleton.classes
    biases = classes
    if body.se_ratio:
        before = (model.skeleton.stem_width, *body.widths)
        for i, (depth, width) in enumerate(zip(body.depths, body.widths, strict=True)):
            squeezes = round(before[i] / 4) + (depth - 1) * round(width / 4)
            biases += squeezes + depth * width
    assert analysis.total() + biases == model.flops
    acts = ActivationCountAnalysis(network, image)
    acts.unsupported_ops_warnings(False)
    assert acts.total() == model.acts


def test_blocks_whose_squeeze_width_rounds_to_0_have_no_squeeze_and_excitation():
    body = Body((1, 2), (8, 32), (1.0, 1.0), (8, 8), se_ratio=1 / 16)
    model = Model("m", body, Skeleton(16, 5, 8, 1, (1, 2)))
    # round(8 / 16) is 0, as in Python and pycls; the second stage begins with an input of 8.
    assert model.squeeze_widths == ((0, 0), (0, 2))
    network = build(model)
    assert [name for name, _ in network.named_modules() if name.endswith(".se")] == [
        "trunk_output.block2.block2-1.f.se"
    ]
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    assert cost_of(model) == counted(model)
    with_fused = build(model, fused=True)
    assert list(with_fused.state_dict()) == list(network.state_dict())


def test_images_of_any_number_of_channels():
    model = Model("m", Body((1,), (8,), (1.0,), (8,)), Skeleton(16, 5, 8, 1, (1,)))
    assert model.at(channels=3) == model
    spectral = model.at(channels=12)
    assert spectral.params - model.params == 9 * 9 * 8
    assert build(spectral)(torch.zeros(2, 12, 16, 16)).shape == (2, 5)
    assert "channels" not in model.skeleton.to_dict()
    assert Skeleton.from_dict(spectral.skeleton.to_dict()) == spectral.skeleton
