"""Published names of torchvision, timm, transformers, pycls, mmpretrain, ClassyVision."""

import pytest
import torch
import torchvision.models.regnet as torchvision_regnet
from timm.models.regnet import adjust_widths_groups_comp, generate_regnet, model_cfgs
from torchvision.models import list_models

from designspace.arch import published
from designspace.arch.published_names import published_model
from designspace.errors import InputError

TIMM = [name for name in model_cfgs if name.startswith(("regnetx_", "regnety_"))]


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


def test_classyvisions_256gf_is_its_own_network():
    model = published_model("regnet_y_256gf")
    assert model.body.widths == (640, 1696, 2544, 5088)
    assert "not SEER's" in dict(model.provenance)["source"]


@pytest.mark.parametrize("name", ["regnetz_c16", "regnetv_064", "regnety_041", "resnet51", ""])
def test_other_networks_are_refused(name):
    with pytest.raises(InputError, match="no published model"):
        published_model(name)
