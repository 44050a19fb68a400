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
        network(torch.empty(1, 3, side, side, device="meta"))
    return {
        "params": sum(p.numel() for p in network.parameters()),
        "flops": counter.get_total_flops() // 2 + sum(biases),
        "acts": sum(elements),
    }


def cost_of(model):
    return {key: getattr(model, key) for key in ("params", "flops", "acts")}


def frames(stages):
    return st.builds(
        Skeleton,
        resolution=st.integers(5, 97),
        classes=st.integers(2, 30),
        stem_width=st.sampled_from([4, 8, 16, 32]),
        stem_stride=st.sampled_from([1, 2]),
        strides=st.lists(st.sampled_from([1, 2]), min_size=stages, max_size=stages).map(tuple),
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
        se_ratio=draw(st.sampled_from([0.0, 0.25, 0.5])),
    )
    return Model("any", body, draw(frames(stages)))


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
    return Model.from_regnet("reg", regnet, se, draw(frames(stages)))


@settings(max_examples=40, deadline=None)
@given(anynets())
def test_anynets_cost_what_their_networks_cost(model):
    assert cost_of(model) == counted(model)


@settings(max_examples=40, deadline=None)
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
