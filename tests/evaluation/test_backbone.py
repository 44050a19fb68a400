"""Trunks of other libraries are evaluated: layouts of VISSL, SwAV, torchvision; what is wrong."""

import pickle
from dataclasses import replace

import pytest
import torch
from torchvision.models import regnet_y_400mf

from designspace.arch import Body, Model, Skeleton, published
from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.evaluation.backbone import Backbone, load_backbone
from designspace.evaluation.scores import ACCURACY, ScoreBook, ScoreKey, ScoreKind, read_table
from designspace.export.state_keys import key_map
from designspace.pretraining.swav_network import trunk_of

SMALL = Model(
    "small",
    Body((1, 1, 2), (8, 16, 16), (1.0, 1.0, 1.0), (8, 8, 8), 0.25),
    Skeleton(resolution=16, classes=10, stem_width=8, stem_stride=1, strides=(2, 2, 2)),
)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return trunk_of(SMALL).state_dict()


def named(state, style):
    mapping = key_map(SMALL, "torchvision", style)
    return {mapping[key]: value for key, value in state.items()}


def vissl(state):
    """As VISSL's trainer writes a SwAV pretraining: trunk and heads apart, in Classy's wrappers."""
    trunk = named(state, "vissl")
    heads = {
        "0.projection_head.0.weight": torch.randn(4, 16),
        "0.prototypes0.weight": torch.randn(3, 4),
    }
    return {
        "phase_idx": 3,
        "iteration": 77,
        "iteration_num": 77,
        "train_phase_idx": 3,
        "classy_state_dict": {
            "train": True,
            "base_model": {"model": {"trunk": trunk, "heads": heads}},
            "optimizer": {"state": {}, "param_groups": []},
            "losses": [5.0],
        },
    }


def swav(state):
    """As facebookresearch/swav's main_swav.py writes it, from a wrapped model."""
    return {
        "epoch": 12,
        "state_dict": {
            **{f"module.{key}": value for key, value in state.items()},
            "module.projection_head.0.weight": torch.randn(6, 16),
            "module.projection_head.1.running_mean": torch.randn(6),
            "module.projection_head.3.bias": torch.randn(4),
            "module.prototypes.weight": torch.randn(3, 4),
        },
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    }


def several_prototypes(state):
    """SwAV with more than one head of prototypes, not wrapped."""
    return {
        "state_dict": {
            **state,
            "prototypes.prototypes0.weight": torch.randn(3, 4),
            "prototypes.prototypes1.weight": torch.randn(5, 4),
        }
    }


def ours(state):
    """A checkpoint of `pretrain`, handed over as a file."""
    network = {f"trunk.{key}": value for key, value in state.items()}
    network |= {"head.0.weight": torch.randn(4, 16), "prototypes.weight": torch.randn(3, 4)}
    return {"format": 1, "key": "x", "iteration": 5, "network": network, "watch": {"steps": 1}}


def with_classifier(state):
    return {**state, "fc.weight": torch.randn(10, 16), "fc.bias": torch.randn(10)}


LAYOUTS = {
    "vissl": (vissl, "vissl"),
    "vissl-trunk": (lambda s: named(s, "vissl"), "vissl"),
    "swav": (swav, "torchvision"),
    "swav-vissl-names": (
        lambda s: {"state_dict": {f"module.{k}": v for k, v in named(s, "vissl").items()}
                   | {"module.prototypes.weight": torch.ones(3, 4)}},
        "vissl",
    ),
    "several-prototypes": (several_prototypes, "torchvision"),
    "ours": (ours, "torchvision"),
    "torchvision": (with_classifier, "torchvision"),
    "timm": (lambda s: named(s, "timm"), "timm"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_features(state, tmp_path, layout):
    make, style = LAYOUTS[layout]
    torch.save(make(state), tmp_path / "w.pth")
    subject = load_backbone(tmp_path / "w.pth", SMALL, 24)
    assert f"({style})" in subject.source
    assert (subject.side, subject.data) == (24, None)
    assert set(subject.weights) == set(state)
    image = torch.randn(2, 3, 24, 24)
    expected = trunk_of(SMALL).eval()
    expected.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(subject.trunk().eval()(image), expected(image))


def test_a_transformers_folder_and_a_head_of_another_size(state, tmp_path):
    arrays = {**state, "fc.weight": torch.zeros(3, 16), "fc.bias": torch.zeros(3)}
    torch.save(named(arrays, "transformers"), tmp_path / "pytorch_model.bin")
    subject = load_backbone(tmp_path, SMALL, None)
    assert "(transformers)" in subject.source
    assert set(subject.weights) == set(state)


def test_torchvisions_own_network_is_read_with_its_own_features(tmp_path):
    torch.manual_seed(0)
    theirs = regnet_y_400mf(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "regnet_y_400mf.pth")
    subject = load_backbone(tmp_path / "regnet_y_400mf.pth", published("RegNetY-400MF"), None)
    assert subject.side == 224
    theirs.fc = torch.nn.Identity()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(subject.trunk().eval()(image), theirs(image), atol=1e-5)


@pytest.mark.parametrize("layout", ["vissl", "swav", "torchvision"])
def test_wrong_keys_and_shapes_are_named(state, tmp_path, layout):
    make, style = LAYOUTS[layout]
    file = tmp_path / "w.pth"
    gone = "trunk_output.block3.block3-1.f.b.0.weight"
    torch.save(make({k: v for k, v in state.items() if k != gone}), file)
    there = next(key for key in named({gone: state[gone]}, style))
    with pytest.raises(InputError, match=f"does not fit small .*1 missing keys: {there}"):
        load_backbone(file, SMALL, None)
    torch.save(make({**state, "stem.0.weight": torch.ones(4, 3, 3, 3)}), file)
    with pytest.raises(InputError, match=r"shapes differ: stem\.0\.weight \(4, 3, 3, 3\) for \(8"):
        load_backbone(file, SMALL, None)


def test_a_strangers_head_is_named(state, tmp_path):
    torch.save({"state_dict": {**state, "decoder.weight": torch.ones(1)}}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"1 unknown keys: decoder\.weight"):
        load_backbone(tmp_path / "w.pth", SMALL, None)


def test_swavs_published_resnet_is_no_regnet(tmp_path):
    layers = {"module.conv1.weight": torch.ones(64, 3, 7, 7), "module.bn1.weight": torch.ones(64)}
    torch.save({"state_dict": layers}, tmp_path / "swav_800ep.pth")
    with pytest.raises(InputError, match=r"none of its keys is one of a RegNet .* conv1\.weight"):
        load_backbone(tmp_path / "swav_800ep.pth", SMALL, None)


class Code:
    """What a pickle may bring along."""

    def __reduce__(self):
        return print, ("run!",)


def test_pickles_and_torn_files_are_refused_from_the_command_line(state, tmp_path, refused):
    write_model(SMALL, tmp_path / "model.yaml")
    whole = tmp_path / "whole.pth"
    torch.save(swav(state), whole)
    files = {
        "torn.pth": whole.read_bytes()[: whole.stat().st_size // 2],
        "pickle.pth": pickle.dumps({"state_dict": state, "hook": Code()}),
        "empty.pth": b"",
        "torn.safetensors": b"\x10\x00\x00\x00\x00\x00\x00\x00{}",
    }
    torch.save({**swav(state), "hook": Code()}, tmp_path / "code.pth")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name in (*files, "code.pth"):
        said = refused(
            "evaluate", tmp_path / name, "--model", tmp_path / "model.yaml", "--data", "digits"
        )
        assert "not a readable checkpoint" in said, name
        assert "run!" not in said


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_float_type_are_read_as_float32(state, tmp_path, dtype):
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    torch.save(cast, tmp_path / "w.pth")
    backbone = load_backbone(tmp_path / "w.pth", SMALL, None)
    key = "stem.0.weight"
    assert torch.equal(backbone.weights[key], cast[key].float())
    assert len(backbone.digest) == 16


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_key(state, tmp_path, value):
    broken = {key: tensor.clone() for key, tensor in state.items()}
    broken["stem.1.bias"][2] = value
    torch.save(broken, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"stem\.1\.bias has values that are NaN or infinite"):
        load_backbone(tmp_path / "w.pth", SMALL, None)
    with pytest.raises(InputError, match=r"stem\.1\.bias has values that are NaN or infinite"):
        Backbone(SMALL, broken, 16, (0.0,) * 3, (1.0,) * 3, "run")


def test_a_folder_of_another_library_needs_a_model(state, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(named(state, "transformers"), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="model is missing"):
        load_backbone(tmp_path, None, None)
    assert set(load_backbone(tmp_path, SMALL, None).weights) >= {"stem.0.weight"}


def test_random_networks_of_other_stems_are_others(state, tmp_path):
    """Scores of random weights are shared by all checkpoints of one network alone."""
    torch.save(named(state, "torchvision"), tmp_path / "a.pth")
    own = load_backbone(tmp_path / "a.pth", SMALL, None)
    assert own.network == load_backbone(tmp_path / "a.pth", SMALL.at(classes=3), 32).network
    other = replace(SMALL, skeleton=replace(SMALL.skeleton, stem_stride=2))
    assert load_backbone(tmp_path / "a.pth", other, None).network != own.network
    published_one = published("RegNetY-400MF")
    backbone = Backbone(published_one, {}, 224, None, None, "x")
    assert backbone.network == str(published_one.body)  # as earlier versions wrote it


def test_scores_of_another_side_say_so(state, tmp_path):
    torch.save(named(state, "torchvision"), tmp_path / "a.pth")
    assert load_backbone(tmp_path / "a.pth", SMALL, None).side_words == ""
    assert load_backbone(tmp_path / "a.pth", SMALL, 16).side_words == ""
    assert load_backbone(tmp_path / "a.pth", SMALL, 32).side_words == ", 32 pixels"


def test_a_damaged_table_of_scores_is_not_replaced(tmp_path):
    book = ScoreBook(tmp_path, 1, lambda text: None)
    key = ScoreKey("knn", "d", 1.0, 3, ScoreKind.RANDOM, "random trunk", 5, "val", "x")
    scores = book.score(key, ("knn",), lambda seed: {ACCURACY: 50.0})
    (tmp_path / "scores.json").write_text("[{,]")
    with pytest.raises(InputError, match=r"cannot read .*scores\.json"):
        book.save_table(scores)
    assert (tmp_path / "scores.json").read_text() == "[{,]"
    (tmp_path / "scores.json").unlink()
    book.save_table(scores)
    assert len(read_table(tmp_path)) == 1
