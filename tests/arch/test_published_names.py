"""Published names of torchvision, timm, transformers, pycls, mmpretrain, ClassyVision."""

from dataclasses import replace

import pytest
import timm
import torch
import torchvision.models.regnet as torchvision_regnet
from timm.models.regnet import adjust_widths_groups_comp, generate_regnet, model_cfgs
from torchvision.models import list_models

from designspace.arch import published
from designspace.arch.published_names import published_model, timm_name
from designspace.errors import InputError

# Those of BatchNorm and ReLU.
TIMM = [
    name
    for name in model_cfgs
    if name.startswith(("regnetx_", "regnety_")) and not name.endswith("_sgn")
]


@pytest.mark.parametrize("name", [name for name in list_models() if name.startswith("regnet")])
def test_torchvisions_names_are_torchvisions_networks(monkeypatch, name):
    monkeypatch.setattr(torchvision_regnet, "_regnet", lambda params, *_, **__: params)
    params = getattr(torchvision_regnet, name)(weights=None)
    body = published_model(name).body
    assert list(body.widths) == params.widths
    assert list(body.depths) == params.depths
    assert list(body.group_widths) == params.group_widths
    assert body.se_ratio == (params.se_ratio or 0)


@pytest.mark.parametrize("name", TIMM)
def test_timms_names_are_timms_networks(name):
    cfg = model_cfgs[name]
    widths, stages, groups = generate_regnet(cfg.wa, cfg.w0, cfg.wm, cfg.depth, cfg.group_size)
    unique, depths = torch.unique(torch.tensor(widths), return_counts=True)
    ratios = [cfg.bottle_ratio] * stages
    final = adjust_widths_groups_comp(unique.tolist(), ratios, groups, cfg.group_min_ratio)
    for text in (name, f"{name}.pycls_in1k", f"timm/{name}.ra3_in1k", f"hf_hub:timm/{name}.tv2"):
        body = published_model(text).body
        assert (list(body.widths), list(body.group_widths)) == final
        assert list(body.depths) == depths.tolist()
        assert bool(body.se_ratio) == bool(cfg.se_ratio)


@pytest.mark.parametrize(
    ("name", "catalog"),
    [
        ("facebook/regnet-y-040", "RegNetY-4.0GF"),
        ("facebook/regnet-x-002", "RegNetX-200MF"),
        ("regnet-y-1280-seer", "RegNetY-128GF"),
        ("facebook/regnet-y-320-seer-in1k", "RegNetY-32GF"),
        ("facebook/regnet-y-10b-seer-in1k", "RegNetY-10B"),
        ("RegNetY-4.0GF", "RegNetY-4.0GF"),
        ("RegNetY-4.0GF_dds_8gpu", "RegNetY-4.0GF"),
        ("RegNetX-400MF_dds_16gpu.yaml", "RegNetX-400MF"),
        ("regnetx_4.0gf", "RegNetX-4.0GF"),
        ("regnetx-12gf_8xb64_in1k", "RegNetX-12GF"),
        ("regnet_y_64gf", "RegNetY-64GF"),
        ("regnet_y_1_6gf", "RegNetY-1.6GF"),
        ("RegNetY040", "RegNetY-4.0GF"),
        ("regnety-8gf", "RegNetY-8.0GF"),
    ],
)
def test_other_names_are_those_of_the_catalog(name, catalog):
    assert published_model(name) == published(catalog)


@pytest.mark.parametrize(
    ("name", "catalog", "changes"),
    [
        ("convnext_tiny.fb_in1k", "ConvNeXt-T", {}),
        ("timm/convnext_base.fb_in22k", "ConvNeXt-B", {"classes": 21841}),
        ("convnext_small.in12k_ft_in1k_384", "ConvNeXt-S", {"resolution": 384}),
        ("convnext_tiny.in12k", "ConvNeXt-T", {"classes": 11821}),
        ("convnext_tiny.fb_in22k_ft_in1k_384", "ConvNeXt-T", {"resolution": 384}),
        ("regnety_160.sw_in12k", "RegNetY-16GF", {"classes": 11821}),
        ("timm/regnety_160.sw_in12k_ft_in1k", "RegNetY-16GF", {}),
        ("facebook/convnext-tiny-224", "ConvNeXt-T", {}),
        ("facebook/convnext-large-384-22k-1k", "ConvNeXt-L", {"resolution": 384}),
        ("facebook/convnext-base-224-22k", "ConvNeXt-B", {"classes": 21841}),
        ("efficientnet_b0.ra_in1k", "EfficientNet-B0", {}),
        ("tf_efficientnet_b0", "EfficientNet-B0", {}),
        ("timm/tf_efficientnet_b5.ns_jft_in1k", "EfficientNet-B5", {}),
        ("google/efficientnet-b3", "EfficientNet-B3", {}),
        ("mobilenetv2_100.ra_in1k", "MobileNetV2", {}),
        ("mobilenet_v2", "MobileNetV2", {}),
        ("google/mobilenet_v2_1.0_224", "MobileNetV2", {"classes": 1001}),
        ("resnet50.a1_in1k", "ResNet-50", {}),
        ("microsoft/resnet-18", "ResNet-18", {}),
        ("tv_resnet152", "ResNet-152", {}),
        ("resnext101_32x4d.fb_swsl_ig1b_ft_in1k", "ResNeXt-101", {}),
        ("regnetz_040_h.ra3_in1k", "RegNetZ-4.0GF-head", {}),
    ],
)
def test_names_of_other_families(name, catalog, changes):
    model = published_model(name)
    tf = "tf_" in name
    assert (timm_name(model) != "") == tf
    plain = replace(model, provenance=model.provenance[:-1]) if tf else model
    assert plain == published(catalog).at(**changes)


def test_names_of_tensorflows_weights_are_kept():
    model = published_model("timm/tf_efficientnet_b5.ns_jft_in1k")
    assert timm_name(model.at(resolution=64)) == "tf_efficientnet_b5"


TIMMS = ("convnext_small", "tf_efficientnet_b2", "mobilenetv2_100", "resnet34", "resnext101_32x4d")


@pytest.mark.parametrize("name", TIMMS)
def test_timms_other_networks_have_as_many_parameters(name):
    with torch.device("meta"):
        network = timm.create_model(name)
    assert published_model(name).params == sum(p.numel() for p in network.parameters())


def test_transformers_networks_have_as_many_parameters():
    from transformers import (
        ConvNextConfig,
        ConvNextForImageClassification,
        EfficientNetConfig,
        EfficientNetForImageClassification,
        MobileNetV2Config,
        MobileNetV2ForImageClassification,
        ResNetConfig,
        ResNetForImageClassification,
    )

    sizes = {"num_labels": 1000}
    coefficients = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
    for name, network, config in (
        ("facebook/convnext-tiny-224", ConvNextForImageClassification, ConvNextConfig(**sizes)),
        (
            "google/efficientnet-b0",
            EfficientNetForImageClassification,
            EfficientNetConfig(**sizes, **coefficients),
        ),
        (
            "google/mobilenet_v2_1.0_224",
            MobileNetV2ForImageClassification,
            MobileNetV2Config(num_labels=1001),
        ),
        ("microsoft/resnet-50", ResNetForImageClassification, ResNetConfig(**sizes)),
    ):
        with torch.device("meta"):
            built = network(config)
        assert published_model(name).params == sum(p.numel() for p in built.parameters()), name


@pytest.mark.parametrize(
    ("name", "supported"),
    [
        ("resnet50d", "ResNet-18, ResNet-34, ResNet-50, ResNet-101, ResNet-152"),
        ("resnetv2_50", "ResNet-18, "),
        ("resnext101_32x8d", "ResNeXt-50, ResNeXt-101"),
        ("convnextv2_tiny", "ConvNeXt-T, ConvNeXt-S, ConvNeXt-B, ConvNeXt-L"),
        ("convnext_base.clip_laiona", "ConvNeXt-T, "),
        ("facebook/convnext-xlarge-224-22k", "ConvNeXt-T, "),
        ("tf_efficientnetv2_s", "EfficientNet-B0, "),
        ("google/efficientnet-b7", "EfficientNet-B0, "),
        ("mobilenetv2_140", "MobileNetV2"),
        ("google/mobilenet_v2_0.75_160", "MobileNetV2"),
        ("mobilenetv3_large_100", "MobileNetV2"),
        ("regnetz_c16", "RegNetZ-500MF, "),
        ("regnetv_064", "RegNetX-200MF, "),
    ],
)
def test_networks_of_a_known_family_name_what_is_supported(name, supported):
    with pytest.raises(
        InputError, match=f"^no published model '{name}'; of its family.*{supported}"
    ):
        published_model(name)


def test_classyvisions_256gf_is_its_own_network():
    model = published_model("regnet_y_256gf")
    assert model.body.widths == (640, 1696, 2544, 5088)
    assert "not SEER's" in dict(model.provenance)["source"]


@pytest.mark.parametrize("name", ["regnety_040_sgn", "timm/regnety_040_sgn.untrained"])
def test_timms_regnet_of_other_layers_is_refused(name):
    assert model_cfgs["regnety_040_sgn"].act_layer == "silu"
    with pytest.raises(InputError, match=f"no published model '{name}'; .* GroupNorm and SiLU"):
        published_model(name)


@pytest.mark.parametrize("name", ["regnetz_c16", "regnetv_064", "regnety_041", "resnet51", ""])
def test_other_networks_are_refused(name):
    with pytest.raises(InputError, match="no published model"):
        published_model(name)
