"""The torch networks: torchvision's, with the stages of the model."""

import math
from dataclasses import replace

import pytest
import torch
from torchvision.models import get_model
from torchvision.models.regnet import BlockParams, RegNet

from designspace.arch import CATALOG, Model, Skeleton, published
from designspace.arch.body import Body
from designspace.networks import build
from designspace.networks.layers import Residual

SMALL = Model(
    "small",
    Body((1, 2), (16, 24), (2.0, 1.0), (4, 8), se_ratio=0.25),
    Skeleton(16, 5, 8, 1, (1, 2)),
)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("RegNetX-800MF", "regnet_x_800mf"), ("RegNetY-400MF", "regnet_y_400mf")],
)
def test_state_keys_and_shapes_are_torchvisions(name, theirs):
    # Not RegNetX-400MF and RegNetY-800MF: torchvision rounds two of their widths otherwise.
    expected = get_model(theirs).state_dict()
    ours = build(published(name), device="meta").state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in expected.items()}


@pytest.mark.parametrize("name", ["RegNetX-200MF", "RegNetY-400MF"])
def test_weights_outputs_and_gradients_of_a_seed_are_torchvisions(name):
    model, body = published(name), published(name).body
    torch.manual_seed(3)
    ours = build(model)
    torch.manual_seed(3)
    theirs = RegNet(
        BlockParams(
            depths=list(body.depths),
            widths=list(body.widths),
            group_widths=list(body.group_widths),
            bottleneck_multipliers=[1 / b for b in body.bottleneck_ratios],
            strides=list(model.skeleton.strides),
            se_ratio=body.se_ratio or None,
        ),
        stem_width=model.skeleton.stem_width,
    )
    for (key, value), (name_of_theirs, expected) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert key == name_of_theirs
        assert torch.equal(value, expected), key
    images = torch.randn(2, 3, 64, 64)
    for network in (ours, theirs):
        network(images).square().mean().backward()
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)
    for parameter, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_parameters_on_meta_are_those_counted(name):
    model = published(name)
    network = build(model, device="meta")
    assert sum(p.numel() for p in network.parameters()) == model.params
    assert all(p.is_meta for p in network.parameters())


@pytest.mark.parametrize(
    ("strides", "stem_stride", "side"),
    [((1, 2), 1, 8), ((2, 2), 1, 4), ((1, 1), 2, 8), ((2, 2), 2, 2)],
)
def test_strides_are_those_of_the_skeleton(strides, stem_stride, side):
    model = replace(SMALL, skeleton=Skeleton(16, 5, 8, stem_stride, strides))
    network = build(model)
    images = torch.randn(2, 3, 16, 16)
    assert network.trunk_output(network.stem(images)).shape == (2, 24, side, side)
    assert network(images).shape == (2, 5)
    assert model.skeleton.stage_resolutions()[-1] == side


def test_any_number_of_stages():
    for stages in (1, 5):
        body = Body((1,) * stages, (8,) * stages, (1.0,) * stages, (4,) * stages)
        model = Model("m", body, Skeleton(32, 3, 8, 1, (1,) * stages))
        assert build(model)(torch.randn(2, 3, 32, 32)).shape == (2, 3)


def test_initialised_as_in_the_paper():
    torch.manual_seed(0)
    network = build(published("RegNetX-400MF"))
    conv = network.trunk_output.block4[0].f.b[0]
    fan_out = 9 * conv.out_channels
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)
    assert network.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert network.fc.bias.abs().max() == 0


def test_zero_init_residual_starts_blocks_as_their_shortcut():
    blocks = [m for m in build(SMALL, zero_init_residual=True).modules() if _is_block(m)]
    images = torch.randn(4, 24, 8, 8)
    same = blocks[-1]
    assert not hasattr(same, "proj")
    assert torch.equal(same(images), images.relu())
    usual = [m for m in build(SMALL).modules() if _is_block(m)][-1]
    assert not torch.equal(usual(images), images.relu())


def _is_block(module):
    return isinstance(module, Residual)


def test_equal_seeds_give_equal_weights():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(SMALL).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
