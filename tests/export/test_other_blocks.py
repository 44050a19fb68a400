"""Exports of networks of other blocks, with other activations, stems and heads."""

from dataclasses import replace

import pytest
import torch
from marks import quick_share

from designspace.arch import published
from designspace.errors import InputError
from designspace.export.convert_weights import read_weights
from designspace.export.export_model import export_model
from designspace.export.read_model import read_model_file
from designspace.export.state_keys import rename
from designspace.networks import build
from designspace.pretraining.swav_network import trunk_of
from designspace.space import load_space, parse_space, sample

SPACES = ["AnyNetVA", "AnyNetVRE", "RegNetR", "RegNetZ", "EfficientNet-like", "ConvNeXt-like"]
PYCLS = {"AnyNetVA", "AnyNetVRE", "RegNetR", "RegNetZ"}


def model_of(name, **changes):
    space = load_space(f"{name}@8")
    return sample(parse_space({**space.source, **changes}, "test"), 1, seed=4).population.model(0)


@pytest.mark.parametrize("name", quick_share(SPACES, ["RegNetR", "RegNetZ", "ConvNeXt-like"]))
def test_every_network_goes_to_code_torchscript_and_pycls(name, tmp_path):
    model = model_of(name)
    done = export_model(model, ["torchvision", "torchscript", "pycls", "vissl"], tmp_path)
    verified = {report.target: report.checks for report in done.verification}
    assert "outputs equal" in verified["torchvision"][-1]
    assert "outputs equal" in verified["torchscript"][-1]
    assert ("pycls" in verified) == (name in PYCLS)
    if name != "RegNetR":
        assert "supports RegNets" in done.refused["vissl"]
    again = read_model_file(tmp_path / "model.yaml")
    assert (again.body, again.skeleton, again.regnet) == (model.body, model.skeleton, model.regnet)


def test_activations_of_regnets_go_along(tmp_path):
    model = model_of("AnyNetXA", activation="silu", se_ratio=0.25)
    done = export_model(model, ["torchvision", "pycls", "transformers"], tmp_path)
    assert {report.target for report in done.verification} == {"torchvision", "pycls"}
    assert "silu" in done.refused["transformers"]


@pytest.mark.parametrize("name", ["RegNetZ-500MF", "RegNetZ-4.0GF-head"])
def test_timm_builds_regnetz(name, tmp_path):
    done = export_model(published(name).at(64), ["timm"], tmp_path, outputs=False)
    assert not done.refused
    assert [report.target for report in done.verification] == ["timm"]


def test_resnets_go_to_pycls_and_code(tmp_path):
    model = published("ResNet-50").at(32)
    done = export_model(model, ["pycls", "torchvision"], tmp_path, outputs=False)
    assert not done.refused
    read = read_model_file(next((tmp_path / "pycls").glob("*.yaml")))
    assert read.body == model.body
    assert read.skeleton.stem == "conv7_pool"


@pytest.mark.parametrize("name", SPACES)
def test_trunks_have_the_stated_width(name):
    model = model_of(name)
    assert trunk_of(model).eval()(torch.zeros(2, 3, 8, 8)).shape == (2, model.output_width)


def test_torchscript_keeps_the_padding_of_its_resolution(tmp_path):
    """36 pixels through strides of 4 and 2 leave sides that are not whole patches."""
    model = model_of("ConvNeXt-like").at(resolution=38)
    export_model(model, ["torchscript"], tmp_path)
    (file,) = tmp_path.rglob("*.pt")
    network = torch.jit.load(str(file))
    assert network(torch.zeros(3, 3, 38, 38)).shape == (3, model.skeleton.classes)


def test_a_regnetz_without_a_head_is_another_network_in_timm(tmp_path):
    model = model_of("RegNetZ")
    assert not model.skeleton.head_width
    done = export_model(model, ["timm"], tmp_path, outputs=False)
    assert "timm puts an activation behind the last stage" in done.refused["timm"]
    headless = published("RegNetZ-4.0GF").at(resolution=64)
    weights = rename(build(headless).state_dict(), headless, "timm")
    torch.save(weights, tmp_path / "theirs.pth")
    with pytest.raises(InputError, match="which has an activation behind the last stage"):
        read_weights(tmp_path / "theirs.pth", headless)


@pytest.mark.parametrize("verify", [None, False])
def test_squeeze_widths_of_0_are_refused_by_timm_for_every_network_of_its_regnet(tmp_path, verify):
    """timm takes a width of 0 for none that is stated: 1/16 of the width inside."""
    z = published("RegNetZ-500MF").at(64)
    y = published("RegNetY-200MF").at(64)
    for model in (z, replace(y, body=replace(y.body, activation="silu"))):
        narrow = replace(model, skeleton=replace(model.skeleton, stem_width=2))
        refused = export_model(narrow, ["timm"], tmp_path, verify=verify).refused["timm"]
        assert "can't leave out squeeze-and-excitation where its width rounds to 0" in refused


@pytest.mark.parametrize("target", ["torchscript", "onnx"])
def test_what_torch_cannot_export_is_refused_and_the_others_are_written(
    target, tmp_path, monkeypatch
):
    """As a block of one's own may be."""
    if target == "onnx":
        pytest.importorskip("onnxscript")

    def fails(*args, **options):
        raise RuntimeError("no rule for my_own_op\nmore")

    monkeypatch.setattr(torch.jit, "trace", fails)
    monkeypatch.setattr(torch.onnx, "export", fails)
    done = export_model(model_of("RegNetX"), [target, "pycls"], tmp_path, verify=False)
    assert "RuntimeError: no rule for my_own_op" in done.refused[target]
    assert (tmp_path / "manifest.json").is_file()
    assert [path.suffix for path in (tmp_path / "pycls").iterdir()] == [".yaml"]


def test_a_graph_stays_where_the_next_one_fails(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    model = model_of("RegNetX")
    export_model(model, ["onnx"], tmp_path, verify=False)
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: 1 / 0)
    done = export_model(model, ["onnx"], tmp_path, verify=False)
    assert "ZeroDivisionError" in done.refused["onnx"]
    assert [path.suffix for path in (tmp_path / "onnx").iterdir()] == [".onnx"]
