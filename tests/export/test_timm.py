"""timm's other classes than RegNet: what they represent, what they refuse, and weights."""

from dataclasses import replace

import pytest
import timm
import torch
from marks import quick_share
from safetensors.torch import load_file

from designspace.arch import Body, BodyBatch, Model, Skeleton, published
from designspace.export.convert_weights import read_weights
from designspace.export.export_model import export_model
from designspace.export.load_python_module import load
from designspace.export.state_keys import rename
from designspace.export.verify import compare_values, our_network, random_state

NAMES = {
    "ConvNeXt-T": "convnext_tiny",
    "ConvNeXt-S": "convnext_small",
    "MobileNetV2": "mobilenetv2_100",
    "EfficientNet-B0": "efficientnet_b0",
    "EfficientNet-B3": "efficientnet_b3",
    "ResNet-18": "resnet18",
    "ResNet-50": "resnet50",
    "ResNeXt-50": "resnext50_32x4d",
    "RegNetZ-4.0GF-head": "regnetz_040_h",
}
QUICK = ("ConvNeXt-T", "MobileNetV2", "EfficientNet-B0", "ResNet-50", "ResNeXt-50")
ONES = (1.0,) * 4


def convnext(expansion=4.0, **around):
    extras = (("t", (expansion,) * 4), ("k", (3.0, 7.0, 5.0, 7.0)))
    body = Body((1, 2, 1, 1), (8, 16, 16, 24), ONES, (1,) * 4, 0.0, "convnext", extras, "gelu")
    shape = {"stem_stride": 4, "strides": (1, 2, 2, 2), "stem": "patch", **around}
    return Model("timm_small", body, Skeleton(64, 5, **{"stem_width": 8, **shape}))


def mbconv(widths=(8, 16, 16, 24), t=(1, 3, 2, 6), se_ratio=0.25, activation="silu", **around):
    extras = (("t", tuple(map(float, t))), ("k", (3.0, 5.0, 3.0, 7.0)))
    body = Body((2, 1, 2, 1), widths, ONES, (1,) * 4, se_ratio, "mbconv", extras, activation)
    shape = {"stem_width": 16, "strides": (1, 2, 2, 2), "head_width": 40, **around}
    return Model("timm_small", body, Skeleton(64, 5, **shape))


def resnet(ratios=(2.0,) * 4, groups=(8, 12, 16, 24), activation="relu", se_ratio=0.0, **around):
    """A network of bottlenecks, by default with 4 groups and half the width inside."""
    body = Body((1, 2, 1, 1), (64, 96, 128, 192), ratios, groups, se_ratio, activation=activation)
    shape = {"stem_stride": 4, "strides": (1, 2, 2, 2), "stem": "conv7_pool", **around}
    return Model("timm_small", body, Skeleton(64, 5, **{"stem_width": 64, **shape}))


def basic(**around):
    body = Body((1, 2, 1, 1), (64, 24, 24, 40), ONES, (1,) * 4, block="residual-basic")
    return Model("timm_small", body, replace(resnet().skeleton, **around))


SMALL = {
    "convnext": convnext(),
    "convnext, patches of 2": convnext(stem_stride=2, strides=(2, 2, 2, 2), channels=2),
    "mbconv": mbconv(),
    "mbconv, no squeeze": mbconv(se_ratio=0.0, activation="relu6", head_width=0),
    # A first block of 16 channels has a squeeze width of 2, the others, of 4 channels, have 0.
    "mbconv, no squeeze in narrow blocks": mbconv((4, 4, 4, 4), (1, 2, 4, 6), 0.1),
    "mbconv, ties": mbconv((18, 18, 18, 18), (1, 4, 4, 4), 0.25, stem_width=18),
    "mbconv, six halvings": Model(
        "timm_small",
        Body(
            *((1,) * 5, (8, 8, 8, 12, 12), (1.0,) * 5, (1,) * 5, 0.0, "mbconv"),
            (("t", (1.0, 2.0, 1.0, 1.0, 2.0)), ("k", (3.0,) * 5)),
            "relu",
        ),
        Skeleton(64, 5, 20, 2, (2,) * 5),
    ),
    "resnext": resnet(),
    "resnet": resnet((4.0,) * 4, (16, 24, 32, 48), "silu", channels=1),
    "residual-basic": basic(),
}


def first_stages(model, count):
    bodies = BodyBatch.from_bodies([model.body]).first_stages(count)
    return Model(model.name, bodies.body(0), model.skeleton.with_stages(count))


def refusal(model, folder, **options):
    done = export_model(model, ["timm"], folder, outputs=False, **options)
    assert not (folder / "timm").exists()
    return done.refused["timm"]


@pytest.mark.parametrize("name", quick_share(NAMES, QUICK))
def test_published_networks_are_timms_of_that_name(name):
    model = published(name).at(64)
    with torch.device("meta"):
        theirs = timm.create_model(NAMES[name]).eval()
    assert sum(p.numel() for p in theirs.parameters()) == model.params
    state = random_state(model)
    theirs.load_state_dict(rename(state, model, "timm"), strict=True, assign=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, output = our_network(model, state)(images), theirs(images)
    assert "outputs equal" in compare_values(ours, output, name)


@pytest.mark.parametrize("name", SMALL)
def test_written_modules_run_with_converted_weights_and_those_come_back(name, tmp_path):
    model = SMALL[name]
    state = random_state(model)
    torch.save(state, tmp_path / "ours.pth")
    done = export_model(model, ["timm"], tmp_path, weights=tmp_path / "ours.pth")
    assert not done.refused
    assert "outputs equal" in done.verification[0].checks[-1]
    load(tmp_path / "timm" / "timm_small.py")
    written = tmp_path / "timm" / "timm_small.safetensors"
    theirs = timm.create_model("timm_small").eval()
    theirs.load_state_dict(load_file(written), strict=True)
    images = torch.randn(2, model.skeleton.channels, 64, 64)
    with torch.no_grad():
        expected = our_network(model, state)(images)
        torch.testing.assert_close(theirs(images), expected, rtol=1e-5, atol=1e-5)
    back = read_weights(written, model)
    assert back.style == "timm"
    assert all(torch.equal(back.state[key], state[key]) for key in state)
    trunk = read_weights(written, model, trunk_only=True)
    assert set(state) - set(trunk.state) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("name", SMALL)
def test_timm_extracts_features_of_written_modules_with_options_of_its_own(name, tmp_path):
    model = SMALL[name]
    export_model(model, ["timm"], tmp_path, verify=False)
    load(tmp_path / "timm" / "timm_small.py")
    network = timm.create_model("timm_small", features_only=True, act_layer="gelu").eval()
    maps = network(torch.zeros(1, model.skeleton.channels, 64, 64))
    assert maps[-1].shape[1] == model.body.widths[-1]


def test_layer_scale_is_drawn_so_that_outputs_show_its_branch():
    model = convnext()
    state = random_state(model)
    key = "trunk_output.block1.block1-0.f.depthwise.weight"
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = our_network(model, state)(image)
        after = our_network(model, {**state, key: state[key].flip(-1)})(image)
    assert float((before - after).abs().max() / before.abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (convnext(3.0), "stage 1: t 3 would be 4; stage 2: t 3 would be 4"),
        (convnext(strides=(1, 2, 1, 2)), "strides 1 2 1 2 would be 1 2 2 2"),
        (convnext(stem_stride=2, strides=(1, 2, 2, 2)), "strides 1 2 2 2 would be 2 2 2 2"),
        (convnext(stem_width=16), "stem width 16 would be 8"),
        (convnext(head_width=64), "head width 64 would be 0"),
        (convnext(stem="conv3", stem_stride=2), "convnext blocks with a patch stem (ConvNeXt)"),
        (convnext().at(72), "input of stage 3 has a side of 9, for stride 2"),
        (first_stages(convnext(), 3), "timm builds ConvNeXts of 4 stages; timm_small has 3"),
    ],
)
def test_convnexts_are_refused_with_what_timm_would_build(model, reason, tmp_path):
    assert reason in refusal(model, tmp_path)


SPECIFIC = [
    (
        mbconv((8, 12, 16, 24), (1, 3, 3, 6)),
        "multiples of 8; timm_small has others (stage 3: 12 x 3 = 36)",
    ),
    (mbconv(stem_stride=1), "stem stride 1 would be 2"),
    (mbconv(stem="patch", stem_stride=2), "mbconv blocks with a conv3 stem (EfficientNet)"),
    (resnet(groups=(8, 6, 16, 24)), "stage 2: group width 6 would be 12"),
    (resnet((2.0, 4.0, 2.0, 2.0), (8, 6, 16, 24)), "stage 2: bottleneck ratio 4 would be 2"),
    (resnet(stem_width=32), "stem width 32 would be 64"),
    (resnet(strides=(2, 2, 2, 1)), "strides 2 2 2 1 would be 1 2 2 2"),
    (resnet(se_ratio=0.25), "squeeze-and-excitation behind a block's last convolution"),
    (basic(head_width=64), "head width 64 would be 0"),
    (first_stages(basic(), 3), "timm builds ResNets of 4 stages; timm_small has 3"),
    (basic(stem="conv3", stem_stride=2), "residual-basic blocks with a conv7_pool stem (ResNet)"),
    (resnet(stem="patch"), "a conv3 stem (RegNet) or a conv7_pool stem (ResNet)"),
]


@pytest.mark.parametrize(("model", "reason"), SPECIFIC)
def test_other_networks_are_refused_with_what_timm_would_build(model, reason, tmp_path):
    assert reason in refusal(model, tmp_path)


def test_the_nearest_convnext_is_verified(tmp_path):
    done = export_model(convnext(3.0, stem_width=16), ["timm"], tmp_path, nearest=True)
    assert not done.refused
    assert "t 3 would be 4" in done.notes[0]
    assert "outputs equal" in done.verification[0].checks[-1]


def test_blocks_without_a_class_of_timm_are_refused_by_name(tmp_path):
    body = Body((1,) * 4, (8,) * 4, ONES, (1,) * 4, block="vanilla")
    text = refusal(Model("plain", body, Skeleton(32, 5, 8)), tmp_path)
    assert "timm has no class for vanilla blocks, of which plain is made" in text
