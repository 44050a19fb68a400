"""Published networks of other blocks: figures of pycls, torchvision and timm."""

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
