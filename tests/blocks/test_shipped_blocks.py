"""The blocks that ship: costs against built networks, training kernels, activations, spaces."""

import numpy as np
import pytest
import torch
from marks import needs_numba, quick_share
from torch import nn

from designspace.arch import ACTIVATIONS, Body, Model, RegNetParams, Skeleton, find_block
from designspace.arch.model_file import read_model, write_model
from designspace.arch.parameter_columns import parameters
from designspace.errors import InputError
from designspace.networks import build
from designspace.networks.count_cost import measure
from designspace.networks.fused_blocks import FusedBatchNorm
from designspace.networks.layers import ACTIVATION_LAYERS, Residual
from designspace.space import load_space, parse_space, sample

SPACES = [
    *(f"{family}{letter}{step}" for letter in ("V", "VR", "R", "Z")
      for family, step in (("AnyNet", "A"), ("AnyNet", "E"), ("RegNet", ""))),
    *("MobileNetV2-like", "EfficientNet-like", "ConvNeXt-like"),
]  # fmt: skip
BLOCKS = ("vanilla", "residual-basic", "linear-bottleneck", "mbconv", "convnext")


def edited(name, **changes):
    space = load_space(name)
    return parse_space({**space.source, **changes}, "test")


def costs_of(model):
    found = measure(build(model, device="meta"), model.skeleton.resolution, model.skeleton.channels)
    return found.flops, found.params, found.acts


# The quick share has a space of each block.
QUICK = ("AnyNetVE", "RegNetVR@32", "AnyNetRA@32", "AnyNetZA@32", "MobileNetV2-like@32")
QUICK += ("EfficientNet-like", "ConvNeXt-like")


@pytest.mark.parametrize("name", quick_share([*SPACES, *(f"{s}@32" for s in SPACES)], QUICK))
def test_costs_are_those_of_the_built_networks(name):
    population = sample(load_space(name), 3, seed=3).population
    for i in range(len(population)):
        model = population.model(i)
        assert (model.flops, model.params, model.acts) == costs_of(model)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    "around",
    [
        {"resolution": 33, "stem_stride": 1, "strides": [2, 1, 2]},
        {"resolution": 67, "stem": "conv7_pool", "stem_stride": 4, "strides": [1, 2, 2]},
        {"resolution": 37, "stem": "patch", "stem_stride": 4, "strides": [2, 2, 1]},
        {"resolution": 18, "stem": "patch", "stem_stride": 1, "strides": [1, 2, 2], "channels": 5},
    ],
)
@pytest.mark.parametrize("head_width", [0, 24])
def test_costs_with_every_stem_and_head(block, around, head_width):
    name = {"vanilla": "AnyNetVA", "residual-basic": "AnyNetVRA", "linear-bottleneck": "AnyNetZA"}
    name |= {"mbconv": "EfficientNet-like", "convnext": "ConvNeXt-like"}
    space = load_space(name[block])
    around = {**around, "classes": 7, "stem_width": 8, "head_width": head_width}
    for se_ratio in (0, 0.25) if find_block(block).squeeze else (0,):
        changed = {**space.source, "input": around, "se_ratio": se_ratio}
        changed["axes"] = {
            **space.source["axes"],
            "w": {"distribution": "uniform", "low": 8, "high": 24, "step": 8},
            "d": {"distribution": "choice", "values": [1, 2]},
        }
        model = sample(parse_space(changed, "test"), 1).population.model(0)
        assert (model.flops, model.params, model.acts) == costs_of(model)
        assert model.output_width == (head_width or model.body.widths[-1])


@needs_numba
@pytest.mark.parametrize("name", ["AnyNetVA@8", "AnyNetVRE@8", "AnyNetZA@8", "EfficientNet-like@8"])
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_fused_networks_compute_the_same(name, activation):
    model = sample(edited(name, activation=activation), 1, seed=2).population.model(0)
    torch.manual_seed(0)
    plain = build(model).to(memory_format=torch.channels_last)
    fused = build(model, fused=True).to(memory_format=torch.channels_last)
    fused.load_state_dict(plain.state_dict())
    norms = [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(norm, FusedBatchNorm) for norm in norms)
    assert any(norm.relu for norm in norms) == (activation == "relu")
    images = torch.randn(16, 3, 8, 8).to(memory_format=torch.channels_last)
    outputs, gradients = [], []
    for network in (plain, fused):
        logits = network(images)
        logits.square().sum().backward()
        outputs.append(logits)
        gradients.append(network.stem[0].weight.grad)
    assert torch.allclose(*outputs, rtol=1e-3, atol=1e-4)
    assert torch.allclose(*gradients, rtol=1e-2, atol=1e-2 * gradients[0].abs().max())


@pytest.mark.parametrize("name", ["AnyNetXA@8", "RegNetX@8", "AnyNetVRA@8", "RegNetZ@8"])
def test_activation_as_an_axis(name, tmp_path):
    space = edited(name, activation=["silu", "relu"])
    single = edited(name, activation="silu")
    assert space.activations == ("relu", "silu")
    assert space.dimensions == single.dimensions + 1
    population = sample(space, 40).population
    assert sorted(set(population.bodies.activations.tolist())) == [0, 1]
    assert set(np.unique(parameters(population.bodies, population.regnets)["activation"])) == {0, 1}
    model = next(m for m in map(population.model, range(40)) if m.body.activation == "silu")
    kinds = {type(m) for m in build(model).modules()} & set(ACTIVATION_LAYERS.values())
    assert kinds == {nn.SiLU}
    write_model(model, tmp_path / "m.yaml")
    assert "activation: silu" in (tmp_path / "m.yaml").read_text()
    again = read_model(tmp_path / "m.yaml")
    assert (again.body, again.skeleton) == (model.body, model.skeleton)
    assert set(sample(single, 5).population.bodies.activations.tolist()) == {1}
    assert single.hash != load_space(name).hash or "Z" in name
    assert len(sample(single.narrow(name="n", reason="r", activation="gelu"), 2).population) == 2


def test_relu_alone_changes_nothing():
    before, after = load_space("AnyNetXA@32"), edited("AnyNetXA@32", activation="relu")
    assert after.hash == before.hash
    body = sample(after, 1).population.bodies.body(0)
    assert "activation" not in body.to_dict()
    assert Body.from_dict({**body.to_dict(), "activation": "gelu"}).id != body.id


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("AnyNetVA", {"se_ratio": 0.25}, "se_ratio: vanilla blocks have none"),
        ("AnyNetVA", {"activation": "swish"}, "activation"),
        ("AnyNetVA", {"activation": ["relu", "relu"]}, "several different ones"),
        ("AnyNetVA", {"activation": []}, "activation: an empty list"),
        (
            "ConvNeXt-like",
            {"block": "vanilla"},
            "axes.t: unknown axis; an anynet of vanilla blocks has exactly the axes d, w",
        ),
    ],
)
def test_mistakes(name, change, message):
    with pytest.raises(InputError, match=message):
        edited(name, **change)
    with pytest.raises(InputError, match="must be odd; found 4"):
        load_space("ConvNeXt-like").narrow(name="n", reason="r", k=[4])
    with pytest.raises(InputError, match="a conv7_pool stem has stride 4"):
        Skeleton(stem="conv7_pool")


@pytest.mark.parametrize("block", BLOCKS)
def test_residual_branches_start_at_zero_on_request(block):
    extras = tuple((axis.name, (3.0,)) for axis in find_block(block).axes)
    body = Body((2,), (8,), (1.0,), (1,), 0.0, block, extras)
    network = build(Model("m", body, Skeleton(8, 4, 8, 1, (1,))), zero_init_residual=True)
    residuals = [m for m in network.modules() if isinstance(m, Residual)]
    assert len(residuals) == (0 if block == "vanilla" else 2)
    x = torch.randn(2, 8, 8, 8).relu()
    for block in residuals:
        assert torch.equal(block.eval()(x), x)


def test_regnets_without_groups_have_one_group():
    population = sample(load_space("RegNetR@32"), 5).population
    assert (population.bodies.group_widths == population.bodies.inner_widths).all()
    names = parameters(sample(load_space("AnyNetRA@32"), 5).population.bodies)
    assert "g" not in names
    assert "b1" in names


def test_regnet_parameters_give_the_same_bodies_with_any_block():
    regnet = RegNetParams(8, 16, 20.0, 2.0)
    like = Body((1,), (8,), (1.0,), (1,), 0.0, "mbconv", (("t", (4.0,)), ("k", (5.0,))), "silu")
    model = Model.from_regnet("m", regnet, 0.25, like=like)
    assert model.body.widths == regnet.body().widths
    assert dict(model.body.extras)["k"] == (5.0,) * model.body.num_stages
    assert model.body.activation == "silu"
    assert ACTIVATIONS[0] == "relu"
