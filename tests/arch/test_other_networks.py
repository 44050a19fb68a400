"""Published networks of other blocks: figures of pycls, torchvision and timm."""

import json

import pytest
import timm
import torch
import torchvision
from marks import quick_share

from designspace.arch import published
from designspace.arch.catalog import published_names
from designspace.arch.other_networks import OTHER_NETWORKS
from designspace.arch.published_names import published_model
from designspace.errors import InputError
from designspace.networks import build
from designspace.networks.count_cost import measure

# flops, params, acts from pycls' dev/model_complexity.json. Its acts count the outputs of ResNet's
# max-pool, 64 channels of 56 x 56, which are none of a convolution.
POOLED = 64 * 56 * 56
PYCLS = {
    "V-56": (125_485_706, 853_018, 532_490),
    "R-56": (125_747_850, 855_770, 544_778),
    "R-110": (253_149_834, 1_730_714, 1_060_874),
    "ResNet-50": (4_089_185_256, 25_557_032, 11_315_688 - POOLED),
    "ResNeXt-50": (4_230_480_872, 25_028_904, 14_602_216 - POOLED),
    "EfficientNet-B0": (385_825_092, 5_288_548, 6_748_036),
    "EfficientNet-B1": (686_817_992, 7_794_184, 10_884_328),
}
TORCHVISION = {
    "ResNet-18": "resnet18",
    "ResNet-34": "resnet34",
    "ResNet-101": "resnet101",
    "ResNet-152": "resnet152",
    "ResNeXt-50": "resnext50_32x4d",
    "MobileNetV2": "mobilenet_v2",
    **{f"EfficientNet-B{i}": f"efficientnet_b{i}" for i in range(8)},
    "ConvNeXt-T": "convnext_tiny",
    "ConvNeXt-S": "convnext_small",
    "ConvNeXt-B": "convnext_base",
    "ConvNeXt-L": "convnext_large",
}
TIMM = {
    "RegNetZ-500MF": "regnetz_005",
    "RegNetZ-4.0GF": "regnetz_040",
    "RegNetZ-4.0GF-head": "regnetz_040_h",
}
# The quick share has a network of each block: larger siblings differ in numbers alone.
QUICK = ("V-56", "R-56", "ResNet-18", "ResNet-50", "ResNeXt-50", "MobileNetV2", "EfficientNet-B0")
QUICK += ("ConvNeXt-T", "RegNetZ-500MF", "RegNetZ-4.0GF-head")


def figures(model):
    return model.flops, model.params, model.acts


@pytest.mark.parametrize("name", PYCLS)
def test_pycls_figures(name):
    assert figures(published(name)) == PYCLS[name]


def test_parameters_as_published():
    assert published("MobileNetV2").params == 3_504_872
    assert published("ConvNeXt-T").params == 28_589_128


@pytest.mark.parametrize("name", quick_share(OTHER_NETWORKS, QUICK))
def test_built_networks_cost_what_is_counted(name):
    model = published(name)
    found = measure(build(model, device="meta"), model.skeleton.resolution)
    assert (found.flops, found.params, found.acts) == figures(model)


@pytest.mark.parametrize("name", quick_share([*TORCHVISION, *TIMM], QUICK))
def test_other_libraries_build_the_same(name):
    """Parameters and activations; and multiply-adds, as conv + linear of their networks."""
    model = published(name)
    with torch.device("meta"):
        if name in TIMM:
            theirs = timm.create_model(TIMM[name])
        else:
            theirs = getattr(torchvision.models, TORCHVISION[name])()
    found = measure(theirs, model.skeleton.resolution)
    assert (found.flops, found.params, found.acts) == figures(model)


def test_published_names_are_matched_in_any_spelling():
    for name in ("resnet50", "ResNet_50", "resnet-50"):
        assert published(name).name == "ResNet-50"
    assert published_model("efficientnet_b0").name == "EfficientNet-B0"
    for spelled, name in {**TORCHVISION, **TIMM}.items():
        assert published_model(name).name == spelled
    assert published_model("mobilenetv2_100").name == "MobileNetV2"
    assert set(OTHER_NETWORKS) < set(published_names())
    with pytest.raises(InputError, match="did you mean ResNet-50"):
        published("ResNet-51")


# From the papers and from timm's configurations: what a block does not use is left out.
SETTINGS = {
    "V-56": {"block": "vanilla", "extras": {}, "activation": "relu"},
    "RegNetZ-500MF": {
        **{"block": "linear-bottleneck", "extras": {}, "activation": "silu", "se_ratio": 0.25},
        **{"bottleneck_ratios": [0.25] * 4, "group_widths": [4] * 4},
    },
    "EfficientNet-B0": {
        **{"block": "mbconv", "activation": "silu", "se_ratio": 0.25},
        "extras": {"t": [1, 6, 6, 6, 6, 6, 6], "k": [3, 3, 5, 3, 5, 5, 3]},
    },
    "MobileNetV2": {
        **{"block": "mbconv", "activation": "relu6", "se_ratio": 0},
        "extras": {"t": [1, 6, 6, 6, 6, 6, 6], "k": [3] * 7},
    },
    "ConvNeXt-T": {
        **{"block": "convnext", "activation": "gelu"},
        "extras": {"t": [4] * 4, "k": [7] * 4},
    },
    "RegNetY-400MF": {
        **{"bottleneck_ratios": [1] * 4, "group_widths": [8] * 4},
        "se_ratio": 0.25,
    },
}
OF_ALL = ("name", "resolution", "classes", "flops", "params", "acts", "depths", "widths")


@pytest.mark.parametrize("name", SETTINGS)
def test_complexity_states_what_distinguishes_a_network(cli, name):
    summary = json.loads(cli("complexity", name, "--json").out)
    assert {key: value for key, value in summary.items() if key not in OF_ALL} == SETTINGS[name]
    lines = cli("complexity", name).out.splitlines()
    shown = dict(line.split(maxsplit=1) for line in lines[1:])
    for key in {"block", "se_ratio", "activation"} & SETTINGS[name].keys():
        assert shown[key] == str(SETTINGS[name][key])
