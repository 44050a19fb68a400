"""Scaling rules, targets, and the golden 256GF."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from designspace.arch import Body, Model, RegNetParams, Skeleton, published
from designspace.derivation.cost_target import Target
from designspace.derivation.derive_model import (
    as_family,
    beyond_published,
    nearest_published,
)
from designspace.derivation.nearest_scale import nearest_scaled
from designspace.derivation.scale_model import regime, scale_model
from designspace.derivation.scaled_models import scale
from designspace.derivation.scaling_rules import RULES, find_rule
from designspace.errors import InputError
from designspace.networks import build
from designspace.space import load_space, sample

WIDTH = RULES["width"]
SMALL = Model.from_regnet(
    "small", RegNetParams(8, 16, 18.0, 2.2, 1.0, 8), 0.0, Skeleton(8, 10, 8, 1, (1, 2, 2, 2))
)


@pytest.mark.parametrize("how", [{"factor": 2.0}, {"target": Target("flops", 256e9)}])
def test_128gf_scaled_by_two_is_the_published_256gf(how):
    """Widths as published by SEER; w_0 and w_a as computed for this rule (see the facts)."""
    derived = scale_model(published("RegNetY-128GF"), WIDTH, **how)
    assert derived.factor == 2
    assert derived.model.body == published("RegNetY-256GF").body
    assert derived.model.regnet == RegNetParams(27, 648, 227.45, 2.52, 1.0, 373)
    assert (derived.model.flops, derived.model.params) == (254_384_928_298, 1_282_601_138)
    assert any("456 -> 644.88 -> 648" in step for step in derived.steps)


def test_the_exact_flops_of_128gf_would_miss():
    derived = scale_model(published("RegNetY-128GF"), WIDTH, factor=256 / 127.51789635)
    assert derived.model.regnet.g == 374
    assert derived.model.body != published("RegNetY-256GF").body


def test_32gf_scaled_to_64gf_and_256gf():
    """Computed once on the built networks: 64.4G and 288M, 258G and 1.14B."""
    for factor, flops, params in ((2, 64.4e9, 288e6), (8, 258e9, 1.14e9)):
        derived = scale_model(published("RegNetY-32GF"), WIDTH, factor=float(factor)).model
        assert derived.flops == pytest.approx(flops, rel=0.005)
        assert derived.params == pytest.approx(params, rel=0.005)


def test_a_derived_model_can_be_derived_from_by_its_regime():
    half_way = scale_model(published("RegNetY-64GF"), WIDTH, factor=2.0).model
    assert regime(half_way) == 128e9
    assert scale_model(half_way, WIDTH, factor=2.0).factor == 2
    assert regime(scale_model(half_way, WIDTH, Target("flops", 256e9)).model) == 256e9


@pytest.mark.parametrize("name", sorted(RULES))
def test_rules_share_out_the_whole_factor(name):
    rule = RULES[name]
    depth, width, side = rule.factors(8.0)
    assert depth * width**2 * side**2 == pytest.approx(8)


def test_fast_is_that_of_the_paper():
    """arXiv 2103.06877 §5: alpha = 0.8, so that activations grow by about s^0.6."""
    assert RULES["fast"].factors(10.0) == pytest.approx((10**0.1, 10**0.4, 10**0.05))
    assert find_rule("dWr") is RULES["fast"]
    assert find_rule("dwr") is RULES["dwr"]
    assert find_rule("w") is WIDTH


def test_an_unknown_rule_lists_the_nearest():
    with pytest.raises(InputError, match=r"no scaling rule 'widht'; did you mean width\?"):
        find_rule("widht")


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("parent", ["RegNetX-400MF", "RegNetY-1.6GF", "RegNetY-8.0GF"])
def test_every_rule_gives_a_network_near_the_factor(name, parent):
    before = published(parent)
    derived = scale_model(before, RULES[name], factor=4.0).model
    assert derived.flops / before.flops == pytest.approx(4, rel=0.3)
    assert derived.body.num_stages == 4
    assert derived.regnet.w_0 % 8 == 0


def test_acts_grow_as_the_paper_says():
    """Width scaling by the root of s, depth and resolution scaling by s."""
    parent = published("RegNetY-1.6GF")
    growth = {
        name: scale_model(parent, RULES[name], factor=10.0).model.acts / parent.acts
        for name in RULES
    }
    assert growth["width"] == pytest.approx(math.sqrt(10), rel=0.1)
    assert growth["resolution"] == pytest.approx(10, rel=0.05)
    assert growth["depth"] > 7
    assert growth["width"] < growth["fast"] < growth["dwr"] < growth["depth"]


@pytest.mark.parametrize(
    ("measure", "value"), [("flops", 3e6), ("params", 400_000), ("acts", 25_000)]
)
@pytest.mark.parametrize("rule", ["width", "dw", "fast"])
def test_a_target_without_a_regime_is_solved_for(measure, value, rule):
    target = Target(measure, value)
    derived = scale_model(SMALL, RULES[rule], target)
    assert derived.model.skeleton.strides == SMALL.skeleton.strides
    distance = abs(target.of(derived.model) / value - 1)
    assert distance < 0.02
    assert not derived.warnings


@pytest.mark.parametrize("measure", ["flops", "params", "acts"])
@pytest.mark.parametrize("ratio", [0.6, 1.3, 2.5, 7.0])
@pytest.mark.parametrize("parent", ["RegNetX-400MF", "RegNetY-1.6GF", "RegNetY-16GF"])
def test_a_target_is_reached_within_two_percent_with_group_widths_as_the_parents(
    parent, ratio, measure
):
    """Issue 22, 24: RegNetY-400MF to 1G had 0.886 of it, with groups of 11."""
    before = published(parent)
    target = Target(measure, ratio * getattr(before, measure))
    derivation = scale_model(before, WIDTH, target)
    assert target.of(derivation.model) == pytest.approx(target.value, rel=0.02)
    assert derivation.model.regnet.g % 8 == 0
    assert not derivation.warnings
    old, new = before.regnet, derivation.model.regnet
    assert abs(new.d - old.d) <= 2
    assert new.w_m == pytest.approx(old.w_m, rel=0.13)


def test_ratios_below_1_that_no_width_may_fit_are_scaled_where_groups_divide():
    """pycls' bottleneck multiplier of 2.5: a ratio of 0.4."""
    body = Body((2,) * 4, (64, 128, 256, 512), (0.4,) * 4, (32,) * 4)
    parent = Model("parent", body, Skeleton(32, 10, 16, 1, (1, 2, 2, 2)))
    derived = scale_model(parent, WIDTH, Target("flops", 2.0 * parent.flops)).model
    assert derived.flops / parent.flops == pytest.approx(2, rel=0.02)
    assert scale_model(parent, WIDTH, factor=4.0).model.body.widths == (128, 256, 512, 1024)
    with pytest.raises(InputError, match=r"group widths that divide them; .* give a target"):
        scale_model(parent, WIDTH, factor=1.3)


def test_a_free_body_reaches_its_target_too():
    free = Model("free", published("RegNetY-400MF").body)
    derivation = scale_model(free, WIDTH, Target("flops", 1e9))
    assert derivation.model.flops == pytest.approx(1e9, rel=0.02)
    assert all(g % 8 == 0 for g in derivation.model.body.group_widths)
    assert derivation.model.name == "AnyNetY-1GF-derived"


def test_a_name_has_the_size_of_the_model():
    derivation = scale_model(published("RegNetX-200MF"), WIDTH, Target("flops", 12e6))
    assert derivation.model.name == "RegNetX-19.68MF-derived"
    assert derivation.model.flops == pytest.approx(19.68e6, rel=1e-3)
    assert "1.64 times the target" in derivation.warnings[0]


def test_a_factor_that_rounding_misses_warns_and_is_not_in_the_name():
    derivation = scale_model(published("RegNetY-400MF"), WIDTH, factor=2.0)
    assert derivation.model.name == "RegNetY-400MF-x1.7"
    assert "1.7 times the flops" in derivation.warnings[0]
    exact = scale_model(published("RegNetY-128GF"), WIDTH, factor=2.0)
    assert (exact.model.name, exact.warnings) == ("RegNetY-128GF-x2", ())


def test_out_of_reach_is_reported_with_the_distance():
    with pytest.raises(InputError, match=r"out of reach .* rule 'resolution'.*of the target"):
        scale_model(published("RegNetX-400MF"), RULES["resolution"], Target("params", 1e9))
    with pytest.raises(InputError, match=r"out of reach .* times the target"):
        scale_model(SMALL, WIDTH, Target("flops", 10.0))


def test_a_free_body_is_scaled_by_its_stages():
    body = Body((1, 2, 3, 1), (32, 64, 96, 256), (1, 1, 2, 1), (8, 16, 16, 32), 0.0)
    model = Model("free", body, SMALL.skeleton)
    assert scale_model(model, WIDTH, factor=1.0).model.body == body
    derived = scale_model(model, RULES["dw"], factor=16.0).model
    assert derived.body.depths == (4, 8, 12, 4)
    assert derived.body.widths == (64, 128, 192, 512)
    assert derived.body.group_widths == (16, 32, 32, 64)


SINGLE = Model.from_regnet("single", RegNetParams(8, 8, 8.0, 2.0, 1.0, 64))


def test_a_regnet_of_single_groups_stays_one():
    """Its stages are 8, 16, 32 and 64 wide, so that groups of 64 are whole stages."""
    model = scale_model(SINGLE, WIDTH, factor=16.0).model
    assert model.body == Body((1, 1, 3, 3), (32, 64, 128, 256), (1.0,) * 4, (32, 64, 128, 256), 0.0)
    assert model.body == model.regnet.body()


@pytest.mark.parametrize("rule", ["width", "dw"])
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3, 16.0, 1000.0])
def test_single_groups_stay_single_at_any_factor(rule, factor):
    body = scale_model(SINGLE, RULES[rule], factor=factor).model.body
    assert body.group_widths == body.widths


def test_a_target_is_reached_with_single_groups():
    target = Target("flops", 16.0 * SINGLE.flops)
    model = scale_model(SINGLE, WIDTH, target).model
    assert target.of(model) == pytest.approx(target.value, rel=0.02)
    assert model.body.group_widths == model.body.widths


def test_a_group_width_that_rounds_widths_still_scales():
    """Stages of 40 and 48 channels, which groups of 40 make 40 and 40."""
    parent = Model.from_regnet("rounded", RegNetParams(2, 40, 8.0, 1.2, 1.0, 40))
    assert parent.body.widths == (40, 40)
    assert scale_model(parent, WIDTH, factor=1.0).model.body == parent.body
    model = scale_model(parent, WIDTH, factor=4.0).model
    assert (model.body.widths, model.body.group_widths) == ((80, 80), (80, 80))


DEPTHWISE = Model.from_regnet(
    "depthwise", RegNetParams(9, 16, 13.2, 1.85, 4.0, 1), 0.0, SMALL.skeleton
)


@pytest.mark.parametrize("parent", [DEPTHWISE, replace(DEPTHWISE, regnet=None)])
@pytest.mark.parametrize("rule", ["width", "dw"])
def test_depthwise_convolutions_stay_depthwise(parent, rule):
    """A group width of 1 is a choice of the paper's; 2 would be another kind of convolution."""
    widened = scale_model(parent, RULES[rule], factor=16.0)
    target = Target("flops", 3.3 * parent.flops)
    reached = scale_model(parent, RULES[rule], target)
    assert target.of(reached.model) == pytest.approx(target.value, rel=0.02)
    for derived in (widened, reached):
        assert derived.model.body.group_widths == (1, 1, 1, 1)
        assert "Group width 1 kept: the 3x3 convolutions stay depthwise." in derived.steps
        assert "g 1 -> " not in " ".join(derived.steps)
        assert "width and group width x" not in " ".join(derived.steps)


@pytest.mark.parametrize("name", ["RegNetR@32", "RegNetVR@32"])
def test_steps_of_blocks_without_groups_say_nothing_of_them(name):
    space = load_space(name)
    parent = sample(space, 1, (), 0).population.model(0)
    steps = " ".join(scale_model(parent, WIDTH, factor=4.0).steps[1:])
    assert "w_0" in steps
    assert " g " not in steps
    assert "width and group width x" not in steps
    assert ("group widths" in steps) == (name == "RegNetR@32")


@pytest.mark.parametrize("factor", [0.0, 1e10, math.nan])
def test_a_factor_out_of_range_is_refused(factor):
    with pytest.raises(InputError, match=r"^scale is .*from 1e-9 to 1e9") as error:
        scale_model(SMALL, WIDTH, factor=factor)
    assert error.value.argument == "scale"


def test_small_images_scale_to_the_pixel_and_large_ones_to_four():
    assert scale_model(SMALL, RULES["resolution"], factor=2.0).model.skeleton.resolution == 11
    large = scale_model(published("RegNetY-400MF"), RULES["resolution"], factor=2.0).model
    assert large.skeleton.resolution == 316


def test_family_and_skeleton():
    with_se = as_family(published("RegNetX-400MF"), "regnety")
    assert with_se.body.se_ratio == 0.25
    assert as_family(with_se, "regnety") is with_se
    moved = with_se.with_skeleton(SMALL.skeleton)
    assert regime(moved) is None
    assert regime(with_se.at(resolution=64)) is None
    assert regime(with_se.at(classes=10)) == 400e6
    assert regime(with_se) == 400e6


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Target("flops", 250e9), "RegNetY-256GF"),
        (Target("flops", 480e6), "RegNetY-400MF"),
        (Target("params", 20.5e6), "RegNetY-4.0GF"),
    ],
)
def test_the_nearest_published_model_is_the_start(target, name):
    assert nearest_published("regnety", target).name == name


def test_what_lies_beyond_the_published_models_is_reported():
    assert beyond_published(published("RegNetY-200MF")) is None
    assert beyond_published(published("RegNetX-32GF")) is None
    larger = scale_model(published("RegNetX-32GF"), WIDTH, factor=10.0).model
    assert "beyond RegNetX-32GF" in beyond_published(larger)


@settings(max_examples=60, deadline=None)
@given(
    regnet=st.builds(
        RegNetParams,
        d=st.integers(4, 30),
        w_0=st.integers(1, 30).map(lambda k: 8 * k),
        w_a=st.floats(1, 120),
        w_m=st.floats(1.5, 3),
        b=st.sampled_from([1.0, 2.0]),
        g=st.sampled_from([1, 4, 8, 16, 40]),
    ),
    factor=st.floats(1, 64),
    rule=st.sampled_from(sorted(RULES)),
)
def test_scaling_any_regnet_gives_a_sound_network_or_says_why_not(regnet, factor, rule):
    parent = Model.from_regnet("any", regnet, 0.25)
    if not len(scale(parent, RULES[rule], np.array([factor]))):
        with pytest.raises(InputError, match="gives no model of"):
            scale_model(parent, RULES[rule], factor=factor)
        return
    derived = scale_model(parent, RULES[rule], factor=factor).model
    assert derived.body.num_stages == parent.body.num_stages
    assert derived.body == derived.regnet.body(0.25)
    assert dict(derived.provenance)["parent"] == "any"


@pytest.mark.parametrize("rule", list(RULES))
def test_every_rule_finds_a_network_of_a_third_of_the_parents_cost(rule):
    parent = published("RegNetY-16GF")
    measure = {"resolution": "acts", "depth": "params"}.get(rule, "acts")
    target = Target(measure, getattr(parent, measure) / 3)
    scaled, best = nearest_scaled(parent, RULES[rule], target)
    assert getattr(scaled.cost, measure)[best] == pytest.approx(target.value, rel=0.3)


@pytest.mark.slow
def test_every_rule_reports_a_target_out_of_reach():
    for rule in RULES.values():
        with pytest.raises(InputError, match="1 multiply-adds is out of reach of RegNetY-16GF"):
            scale_model(published("RegNetY-16GF"), rule, Target("flops", 1.0))


@pytest.mark.parametrize("rule", ["width", "dwr"])
@pytest.mark.parametrize("target", [None, Target("flops", 1.7e9), Target("params", 9e6)])
def test_a_scaled_convnext_is_a_convnext(rule, target):
    """Its stem is as wide as its first stage; otherwise a convolution would lie between them."""
    parent, factor = published("ConvNeXt-T"), None if target else 0.25
    model = scale_model(parent, RULES[rule], target, factor).model
    assert model.body.widths[0] < parent.body.widths[0]
    assert target is None or target.of(model) == pytest.approx(target.value, rel=0.02)
    with torch.device("meta"):
        network = build(model)
    assert not any("block1-0.downsample" in name for name, _ in network.named_modules())
    assert sum(parameter.numel() for parameter in network.parameters()) == model.params
