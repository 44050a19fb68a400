"""VISSL, ClassyVision and pycls, which can't be installed any more: their keys and rules.

How each library builds a network from the keys of its file is reimplemented here, independently of
the code that writes the files: ClassyVision `models/regnet.py` and `models/anynet.py`, VISSL
`models/trunks/regnet.py`, pycls `models/regnet.py`, `models/blocks.py` and `models/anynet.py`.
"""

import json
from collections import OrderedDict

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from vissl_schema import VisslFile

from designspace.arch import Body, Model, RegNetParams, Skeleton, published
from designspace.export.classyvision import trunk_config
from designspace.export.export_model import export_model
from designspace.export.pycls_config import pycls_config
from designspace.export.state_keys import key_map
from designspace.export.verify import our_network, random_state
from designspace.export.vissl import head_dims
from designspace.networks import build
from designspace.networks.count_cost import measure

NAMES = ("vissl", "classyvision", "pycls")
FREE = Model(
    "free",
    Body((1, 2, 1, 2, 1), (16, 48, 48, 64, 80), (1.0, 2.0, 1.0, 4.0, 0.5), (8, 12, 48, 8, 32), 0.5),
    Skeleton(40, 7, 16, 1, (1, 2, 2, 1, 2)),
)
SMALL = Model.from_regnet(
    "small", RegNetParams(8, 16, 18.0, 2.2, 1.0, 8), 0.25, Skeleton(32, 10, 8, 2, (2, 2, 2, 2))
)


# ClassyVision ---------------------------------------------------------------------------------


def classy_stages(keys):
    """(width, stride, depth, group width, multiplier) of each stage."""
    if keys.get("name") == "anynet":
        order = ("widths", "strides", "depths", "group_widths", "bottleneck_multipliers")
        return list(zip(*(keys[k] for k in order), strict=True))
    u = np.arange(keys["depth"]) * keys["w_a"] + keys["w_0"]
    capacity = np.round(np.log(u / keys["w_0"]) / np.log(keys["w_m"]))
    blocks = np.round(keys["w_0"] * np.power(keys["w_m"], capacity) / 8) * 8
    widths, depths = [], []
    for width in blocks.astype(int).tolist():
        if widths and widths[-1] == width:
            depths[-1] += 1
        else:
            widths.append(width)
            depths.append(1)
    multiplier = keys.get("bottleneck_multiplier", 1.0)
    inner = [int(w * multiplier) for w in widths]
    groups = [min(keys["group_width"], v) for v in inner]
    inner = [int(round(v / g) * g) for v, g in zip(inner, groups, strict=True)]
    widths = [int(v / multiplier) for v in inner]
    n = len(widths)
    return list(zip(widths, [2] * n, depths, groups, [multiplier] * n, strict=True))


class ClassyBlock(nn.Module):
    def __init__(self, width_in, width, stride, group_width, multiplier, se_ratio):
        super().__init__()
        inner = round(width * multiplier)
        self.proj = self.bn = None
        if width_in != width or stride != 1:
            self.proj = nn.Conv2d(width_in, width, 1, stride, bias=False)
            self.bn = nn.BatchNorm2d(width)
        f = OrderedDict()
        f["a"] = nn.Sequential(
            nn.Conv2d(width_in, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()
        )
        f["b"] = nn.Sequential(
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner // group_width, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
        )
        if se_ratio:
            f["se"] = ClassySqueeze(inner, round(se_ratio * width_in))
        f["c"] = nn.Conv2d(inner, width, 1, bias=False)
        f["final_bn"] = nn.BatchNorm2d(width)
        self.f = nn.Sequential(f)

    def forward(self, x):
        shortcut = x if self.proj is None else self.bn(self.proj(x))
        return torch.relu(shortcut + self.f(x))


class ClassySqueeze(nn.Module):
    def __init__(self, width, squeezed):
        super().__init__()
        self.excitation = nn.Sequential(
            nn.Conv2d(width, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, width, 1), nn.Sigmoid()
        )

    def forward(self, x):
        return x * self.excitation(x.mean((2, 3), keepdim=True))


class ClassyStem(nn.Module):
    def __init__(self, kind, width):
        super().__init__()
        stride = {"simple_stem_in": 2, "res_stem_cifar": 1}[kind]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, x):
        return self.stem(x)


def classy_parts(keys):
    """The stem, and (name, stage) for each stage."""
    width_in = keys.get("stem_width", 32)
    stem = ClassyStem(keys.get("stem_type", "simple_stem_in"), width_in)
    se_ratio = keys.get("se_ratio", 0.25) if keys.get("use_se", True) else None
    stages = []
    for i, (width, stride, depth, group_width, multiplier) in enumerate(classy_stages(keys), 1):
        blocks = OrderedDict()
        for j in range(depth):
            blocks[f"block{i}-{j}"] = ClassyBlock(
                width_in, width, stride if j == 0 else 1, group_width, multiplier, se_ratio
            )
            width_in = width
        stages.append((f"block{i}", nn.Sequential(blocks)))
    return stem, stages


def vissl_trunk(keys):
    """VISSL's trunk: ClassyVision's parts as conv1, res2, res3, …, pooled and flattened."""
    stem, stages = classy_parts(keys)
    blocks = OrderedDict(conv1=stem)
    for i, (_, stage) in enumerate(stages):
        blocks[f"res{i + 2}"] = stage
    blocks["avgpool"], blocks["flatten"] = nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1)
    trunk = nn.Module()
    trunk._feature_blocks = nn.ModuleDict(blocks)
    trunk.forward = lambda x: nn.Sequential(*trunk._feature_blocks.values())(x)
    return trunk


# pycls ----------------------------------------------------------------------------------------


def pycls_stages(config):
    """(width, stride, depth, group width, multiplier) of each stage, as pycls has them."""
    if config["MODEL"]["TYPE"] == "anynet":
        net = config["ANYNET"]
        order = ("WIDTHS", "STRIDES", "DEPTHS", "GROUP_WS", "BOT_MULS")
        return list(zip(*(net[k] for k in order), strict=True))
    net = config["REGNET"]
    u = np.arange(net["DEPTH"]) * net["WA"] + net["W0"]
    k = np.round(np.log(u / net["W0"]) / np.log(net["WM"]))
    blocks = np.round(net["W0"] * np.power(net["WM"], k) / 8).astype(int) * 8
    widths, depths = (x.tolist() for x in np.unique(blocks, return_counts=True))
    groups = [min(net["GROUP_W"], w) for w in widths]
    widths = [max(g, int(round(w / g) * g)) for w, g in zip(widths, groups, strict=True)]
    n = len(widths)
    return list(zip(widths, [2] * n, depths, groups, [1.0] * n, strict=True))


# What is held against them --------------------------------------------------------------------


def stages_of(model):
    body = model.body
    multipliers = [1 / b for b in body.bottleneck_ratios]
    rows = (body.widths, model.skeleton.strides, body.depths, body.group_widths, multipliers)
    return list(zip(*rows, strict=True))


def written(model, folder):
    """Export, and read the three files back as each library would."""
    exported = export_model(model, NAMES, folder)
    assert not exported.refused
    assert [report.target for report in exported.verification] == list(NAMES)
    paths = {path.parent.name: path for path in exported.files if path.parent.name in NAMES}
    vissl = yaml.safe_load(paths["vissl"].read_text())
    VisslFile.model_validate(vissl)
    vissl = vissl["config"]
    assert vissl["MODEL"]["HEAD"]["PARAMS"][0][1]["dims"][0] == model.body.widths[-1]
    return (
        vissl,
        json.loads(paths["classyvision"].read_text()),
        yaml.safe_load(paths["pycls"].read_text()),
        paths,
    )


@pytest.mark.parametrize(
    "model",
    [SMALL, FREE, *(published(f"RegNetY-{n}") for n in ("8.0GF", "128GF", "256GF", "10B"))],
    ids=lambda m: m.name,
)
def test_each_library_gets_the_stages(tmp_path, model):
    vissl, classy, pycls, _ = written(model, tmp_path)
    assert classy_stages(vissl["MODEL"]["TRUNK"]["REGNET"]) == stages_of(model)
    assert classy_stages(classy) == stages_of(model)
    assert pycls_stages(pycls) == stages_of(model)


@pytest.mark.parametrize("model", [SMALL, FREE, published("RegNetX-400MF")], ids=lambda m: m.name)
def test_the_restated_trunk_is_the_same_network(tmp_path, model):
    vissl, classy, _, _ = written(model, tmp_path)
    with torch.device("meta"):
        trunk = vissl_trunk(vissl["MODEL"]["TRUNK"]["REGNET"])
        body = vissl_trunk({k: v for k, v in classy.items() if k != "heads"})
    ours = build(model, device="meta")
    ours.fc = nn.Identity()
    expected = measure(ours, model.skeleton.resolution)
    assert measure(trunk, model.skeleton.resolution) == expected
    assert measure(body, model.skeleton.resolution) == expected


@pytest.mark.parametrize("model", [SMALL, FREE], ids=lambda m: m.name)
def test_converted_weights_give_the_same_features_in_vissl(tmp_path, model):
    vissl, *_ = written(model, tmp_path)
    trunk = vissl_trunk(vissl["MODEL"]["TRUNK"]["REGNET"]).eval()
    state, skeleton = random_state(model), model.skeleton
    mapping = key_map(model, "torchvision", "vissl")
    trunk.load_state_dict({mapping[key]: state[key] for key in mapping}, strict=True)
    ours = our_network(model, state)
    ours.fc = nn.Identity()
    image = torch.randn(2, 3, skeleton.resolution, skeleton.resolution)
    with torch.no_grad():
        torch.testing.assert_close(trunk(image), ours(image), rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    regnet=st.builds(
        RegNetParams,
        d=st.integers(2, 30),
        w_0=st.integers(1, 30).map(lambda k: 8 * k),
        w_a=st.integers(0, 2000).map(lambda k: k / 10),
        w_m=st.integers(150, 300).map(lambda k: k / 100),
        b=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
        g=st.integers(1, 64),
    ),
    stride=st.sampled_from([1, 2]),
)
def test_random_regnets_come_out_as_they_are(regnet, stride):
    stages = regnet.body().num_stages
    skeleton = Skeleton(64, 10, 32, stride, (stride, *(2,) * (stages - 1)))
    model = Model.from_regnet("any", regnet, 0.25, skeleton)
    assert classy_stages(trunk_config(model)) == stages_of(model)
    assert pycls_stages(pycls_config(model)) == stages_of(model)


def test_heads_follow_the_trunk():
    """SEER (see the facts): 8192 without BatchNorm from 64GF on, else 4096 with it."""
    expected = {
        "8.0GF": ([2016, 4096, 4096, 256], True),
        "32GF": ([3712, 4096, 4096, 256], True),
        "64GF": ([4920, 8192, 8192, 256], False),
        "128GF": ([7392, 8192, 8192, 256], False),
        "256GF": ([10444, 8192, 8192, 256], False),
        "10B": ([28280, 8192, 8192, 256], False),
    }
    for name, head in expected.items():
        assert head_dims(published(f"RegNetY-{name}")) == head
    # The regime is that at 224 pixels, whatever the input.
    assert head_dims(published("RegNetY-256GF").at(96))[0][1] == 8192


def test_the_256gf_recipe(tmp_path):
    """Batch 8192: lr 9.6 after 8,000 of 122,070 iterations from 0.15, to 0.0096 (see the facts)."""
    vissl, _, _, paths = written(published("RegNetY-256GF"), tmp_path)
    assert paths["vissl"].read_text().startswith("# @package _global_\n")
    lr = vissl["OPTIMIZER"]["param_schedulers"]["lr"]
    assert [s["start_value"] for s in lr["schedulers"]] == pytest.approx([0.15, 9.6])
    assert lr["schedulers"][1]["end_value"] == pytest.approx(0.0096)
    assert lr["lengths"][0] == pytest.approx(8000 / 122_070, abs=1e-6)
    assert vissl["LOSS"]["swav_loss"]["num_iters"] == 10
    crops = vissl["DATA"]["TRAIN"]["TRANSFORMS"][0]
    assert (crops["size_crops"], crops["num_crops"]) == ([224, 96], [2, 4])
    assert "name" not in vissl["MODEL"]["TRUNK"]["REGNET"]
    assert vissl["MODEL"]["TRUNK"]["NAME"] == "regnet"


def test_the_10b_is_sharded_as_its_public_config(tmp_path):
    vissl, *_ = written(published("RegNetY-10B").at(160), tmp_path)
    assert vissl["MODEL"]["TRUNK"]["NAME"] == "regnet_fsdp"
    assert vissl["MODEL"]["TRUNK"]["REGNET"]["stage_checkpoints"] == [[2], [7], [9, 17], []]
    assert vissl["MODEL"]["HEAD"]["PARAMS"][0][0] == "swav_head_fsdp"
    assert vissl["TRAINER"]["TASK_NAME"] == "self_supervision_fsdp_task"
    assert vissl["OPTIMIZER"]["name"] == "sgd_fsdp"
    assert vissl["DATA"]["TRAIN"]["TRANSFORMS"][0]["size_crops"] == [160, 96]
