"""Checkpoints between the libraries' key names, both ways, and what does not fit."""

import json
from argparse import Namespace
from itertools import cycle
from pathlib import PosixPath
from pickle import dumps

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.models.regnet import RegNet as TimmRegNet
from timm.models.regnet import RegNetCfg
from transformers import RegNetConfig, RegNetForImageClassification, RegNetModel

from designspace.arch import Model, RegNetParams, Skeleton, published
from designspace.arch.published_names import published_model
from designspace.errors import InputError
from designspace.export.convert_weights import read_weights, write_safetensors
from designspace.export.export_model import export_model
from designspace.export.state_keys import STYLES, key_names, rename
from designspace.export.transformers_config import transformers_config
from designspace.export.verify import random_state
from designspace.networks import build

SKELETON = Skeleton(32, 10, 8, 2, (2, 2, 2, 2))
Y = Model.from_regnet("y", RegNetParams(8, 16, 18.0, 2.2, 1.0, 8), 0.25, SKELETON)
X = Model.from_regnet("x", RegNetParams(8, 16, 18.0, 2.2, 1.0, 8), 0.0, SKELETON)


def names(model, style):
    return key_names(model, style)


def library_keys(model, style):
    with torch.device("meta"):
        if style == "torchvision":
            return set(build(model).state_dict())
        if style == "timm":
            r = model.regnet
            cfg = RegNetCfg(r.d, r.w_0, r.w_a, r.w_m, r.g, 1 / r.b, model.body.se_ratio)
            return set(TimmRegNet(cfg, stem_width=model.skeleton.stem_width).state_dict())
        return set(
            RegNetForImageClassification(RegNetConfig(**transformers_config(model))).state_dict()
        )


@pytest.mark.parametrize("style", ["torchvision", "timm", "transformers"])
@pytest.mark.parametrize("model", [X, Y, published("RegNetY-1.6GF")], ids=lambda m: m.name)
def test_key_names_are_those_of_the_libraries(model, style):
    assert set(names(model, style)) == library_keys(model, style)
    assert len(set(names(model, style))) == len(names(model, style))


# The quick share has each library once as source and once as target, with gates and without.
PAIRS = [(m, a, b) for m in (X, Y) for a in sorted(STYLES) for b in sorted(STYLES)]
QUICK = [(X, "pycls", "vissl")]
QUICK += [(Y, a, b) for a, b in zip(sorted(STYLES), sorted(STYLES, reverse=True), strict=True)]


@pytest.mark.parametrize(
    ("model", "source", "target"),
    [pytest.param(*p, marks=() if p in QUICK else pytest.mark.slow) for p in PAIRS],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_conversion_keeps_every_array(tmp_path, model, source, target):
    state = random_state(model)
    first = read_weights(_written(state, tmp_path / "ours.safetensors"), model)
    assert first.style == "torchvision"
    there = rename(first.state, model, source)
    second = read_weights(_written(there, tmp_path / f"{source}.safetensors"), model)
    assert second.style == source
    assert second.classifier == (source != "vissl")
    arrays = rename(second.state, model, target)
    assert set(arrays) == set(names(model, target)) - (
        {names(model, target)[-2], names(model, target)[-1]}
        if source == "vissl" != target
        else set()
    )
    back = read_weights(_written(arrays, tmp_path / f"{target}2.safetensors"), model).state
    assert all(torch.equal(back[key], state[key]) for key in back)
    assert len(back) >= len(state) - 2


def _written(state, path):
    write_safetensors(state, path, "test")
    return path


def test_exported_weights_run_alike_in_every_library(tmp_path):
    state = random_state(Y)
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    targets = ("torchvision", "timm", "transformers", "vissl", "model.yaml")
    weights = export_model(Y, targets, tmp_path, weights=tmp_path / "w.pth")
    assert not weights.refused
    assert all("outputs equal" in report.checks[-1] for report in weights.verification[:3])
    assert any("vissl: its trunks have no classifier" in note for note in weights.notes)
    image = torch.randn(2, 3, 32, 32)
    ours = build(Y)
    ours.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    folder = tmp_path / "transformers"
    theirs = RegNetForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = ours.eval()(image)
        torch.testing.assert_close(theirs(image).logits, expected, rtol=1e-5, atol=1e-5)
        features = RegNetModel.from_pretrained(folder).eval()(image).pooler_output.flatten(1)
        trunk = ours.avgpool(ours.trunk_output(ours.stem(image))).flatten(1)
        torch.testing.assert_close(features, trunk, rtol=1e-5, atol=1e-5)
    assert "_feature_blocks.res2.block1-0.f.se.excitation.0.weight" in load_file(
        tmp_path / "vissl" / "y.safetensors"
    )
    # And the way back: a timm checkpoint becomes ours.
    again = export_model(
        Y,
        ["model.yaml"],
        tmp_path / "back",
        weights=tmp_path / "timm" / "y.safetensors",
    )
    assert "read as timm" in again.notes[0]
    back = load_file(tmp_path / "back" / "weights.safetensors")
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_vissl_checkpoints_with_wrappers_heads_and_parts(tmp_path):
    """As VISSL writes them; its sharded trunks group blocks in parts."""
    state = random_state(Y)
    theirs = dict(zip(names(Y, "vissl"), (state[k] for k in names(Y, "torchvision")), strict=False))
    parted = {
        key.replace(".block3-", ".block3-part0.block3-"): value for key, value in theirs.items()
    }
    wrapped = {
        "classy_state_dict": {
            "base_model": {"model": {"trunk": parted, "heads": {"0.clf": torch.ones(1)}}}
        }
    }
    torch.save(wrapped, tmp_path / "seer.torch")
    weights = read_weights(tmp_path / "seer.torch", Y)
    assert (weights.style, weights.classifier) == ("vissl", False)
    assert "pretraining heads" in weights.notes[0]
    assert set(weights.state) == set(state) - {"fc.weight", "fc.bias"}


def test_a_transformers_trunk_and_its_folder(tmp_path):
    network = RegNetModel(RegNetConfig(**transformers_config(Y)))
    network.save_pretrained(tmp_path / "folder")
    weights = read_weights(tmp_path / "folder", Y)
    assert (weights.style, weights.classifier) == ("transformers", False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_type_becomes_float32_and_exports(tmp_path, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in random_state(Y).items()}
    save_file(state, tmp_path / "w.safetensors")
    exported = export_model(Y, ["timm", "vissl"], tmp_path, weights=tmp_path / "w.safetensors")
    assert not exported.refused
    name = str(dtype).removeprefix("torch.")
    assert f"weights: converted from {name} to float32" in exported.notes
    written = load_file(tmp_path / "timm" / "y.safetensors")
    assert written["stem.conv.weight"].dtype == torch.float32
    assert torch.equal(written["stem.conv.weight"], state["stem.0.weight"].float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_by_their_first_key(tmp_path, value):
    state = random_state(Y)
    state["trunk_output.block2.block2-0.f.b.0.weight"].view(-1)[3] = value
    state["fc.bias"][0] = value
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"block2-0\.f\.b\.0\.weight has values that are NaN or"):
        read_weights(tmp_path / "w.safetensors", Y)
    state["trunk_output.block2.block2-0.f.b.0.weight"].zero_()
    save_file(state, tmp_path / "w.safetensors")
    assert not read_weights(tmp_path / "w.safetensors", Y, trunk_only=True).classifier


def _renamed(state, style, model=Y):
    return dict(
        zip(names(model, style), (state[k] for k in names(model, "torchvision")), strict=False)
    )


def _prefixed(prefix):
    return lambda state: {f"{prefix}{key}": value for key, value in state.items()}


def _averaged(state):
    return {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in state.items()}}


def _mmpretrain(state):
    arrays = _renamed(state, "mmpretrain")
    named = {k if k.startswith("head") else f"backbone.{k}": v for k, v in arrays.items()}
    return {"meta": {"epoch": 100}, "state_dict": named}


OPTIONS = Namespace(data=PosixPath("imagenet"), lr=0.1, model="regnet_y_400mf")
CHECKPOINTS = {
    "pycls .pyth": (
        lambda s: {"epoch": 99, "model_state": _renamed(s, "pycls"), "optimizer_state": {}},
        "pycls",
    ),
    "mmpretrain": (_mmpretrain, "mmpretrain"),
    "VISSL's converter": (
        lambda s: {
            "model_state_dict": {
                k.removeprefix("_feature_blocks."): v for k, v in _renamed(s, "vissl").items()
            }
        },
        "vissl",
    ),
    "backbone.": (_prefixed("backbone."), "torchvision"),
    "net.": (_prefixed("net."), "torchvision"),
    "module.model.": (_prefixed("module.model."), "torchvision"),
    "EMA module": (_averaged, "torchvision"),
    "EMA module alone": (lambda s: {"model_ema": _averaged(s)}, "torchvision"),
    "torchvision training": (
        lambda s: {"model": s, "model_ema": _averaged(s), "epoch": 3, "args": OPTIONS},
        "torchvision",
    ),
    "timm training": (
        lambda s: {"arch": "regnety_004", "state_dict": _renamed(s, "timm"), "args": OPTIONS},
        "timm",
    ),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_of_training_scripts_are_read(tmp_path, kind):
    state, (wrap, style) = random_state(Y), CHECKPOINTS[kind]
    torch.save(wrap(state), tmp_path / "w.pth")
    weights = read_weights(tmp_path / "w.pth", Y)
    assert weights.style == style
    assert set(weights.state) >= set(state) - {"fc.weight", "fc.bias"}
    assert all(torch.equal(array, state[key]) for key, array in weights.state.items())


@pytest.mark.parametrize("layout", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("sharded", [False, True])
def test_transformers_folders_are_read(tmp_path, layout, sharded):
    state = random_state(Y)
    arrays = _renamed(state, "transformers")
    save = save_file if layout.endswith("safetensors") else torch.save
    if sharded:
        shards = {"a-00001-of-00002.bin": {}, "a-00002-of-00002.bin": {}}
        if save is save_file:
            shards = {name.replace("bin", "safetensors"): {} for name in shards}
        where = dict(zip(arrays, cycle(shards), strict=False))
        for key, array in arrays.items():
            shards[where[key]][key] = array
        for name, part in shards.items():
            save(part, tmp_path / name)
        (tmp_path / f"{layout}.index.json").write_text(json.dumps({"weight_map": where}))
    else:
        save(arrays, tmp_path / layout)
    weights = read_weights(tmp_path, Y)
    assert (weights.style, weights.classifier) == ("transformers", True)
    assert all(torch.equal(array, state[key]) for key, array in weights.state.items())


def test_a_folder_without_weights_and_a_bad_index(tmp_path):
    with pytest.raises(InputError, match=r"no model\.safetensors or pytorch_model\.bin"):
        read_weights(tmp_path, Y)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    with pytest.raises(InputError, match="not an index of shards"):
        read_weights(tmp_path, Y)


def test_a_head_of_another_size_is_no_reason_to_refuse_where_it_is_dropped(tmp_path):
    state = random_state(Y)
    state |= {"fc.weight": torch.zeros(7, state["fc.weight"].shape[1]), "fc.bias": torch.zeros(7)}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"shapes differ: fc\.weight"):
        read_weights(tmp_path / "w.safetensors", Y)
    assert not read_weights(tmp_path / "w.safetensors", Y, trunk_only=True).classifier
    exported = export_model(Y, ["vissl"], tmp_path, weights=tmp_path / "w.safetensors")
    assert not exported.refused
    assert len(exported.files) == 3


def test_missing_unknown_and_misshapen_keys_are_listed(tmp_path):
    state = random_state(Y)
    path = tmp_path / "w.safetensors"
    broken = {k: v for k, v in state.items() if "block2-0.f.b" not in k}
    save_file({**broken, "ema.decay": torch.ones(1)}, path)
    with pytest.raises(
        InputError, match=r"5 missing keys: .*block2-0\.f\.b\.0.*1 unknown keys: ema"
    ):
        read_weights(path, Y)
    save_file({**state, "stem.0.weight": torch.ones(4, 3, 3, 3)}, path)
    with pytest.raises(InputError, match=r"1 shapes differ: stem\.0\.weight \(4, 3, 3, 3\) for"):
        read_weights(path, Y)
    save_file({k: v for k, v in state.items() if k != "fc.bias"}, path)
    with pytest.raises(InputError, match=r"1 missing keys: fc\.bias"):
        read_weights(path, Y)
    with pytest.raises(InputError, match="does not fit x"):
        read_weights(_written(state, path), X)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable checkpoint"),
        (b"PK\x03\x04 not really", "not a readable checkpoint"),
        (None, "no file"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_files_that_are_not_checkpoints(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_weights(tmp_path / name, Y)


class Evil:
    def __reduce__(self):
        return (print, ("run!",))


@pytest.mark.parametrize("write", [torch.save, lambda data, path: path.write_bytes(dumps(data))])
@pytest.mark.parametrize("data", [{"state_dict": Evil()}, {"w": np.ones(2)}, Evil()])
def test_python_objects_in_a_checkpoint_are_not_opened(tmp_path, capsys, write, data):
    write(data, tmp_path / "w.pth")
    with pytest.raises(
        InputError, match=r"(objects, .* never|a pickle .* never) loaded|is never loaded"
    ) as e:
        read_weights(tmp_path / "w.pth", Y)
    assert "weights_only" not in str(e.value)
    assert "run!" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["README.md", "w.npz", "w.safetensors", "w.pth"])
def test_files_of_other_kinds_get_clear_messages(tmp_path, name):
    (tmp_path / name).write_text("# A title\n\nmuch text, no arrays\n" * 50)
    with pytest.raises(InputError, match=r"not a readable checkpoint: (neither|not a safet)") as e:
        read_weights(tmp_path / name, Y)
    assert "weights_only" not in str(e.value)
    assert "\n" not in str(e.value)


def test_a_checkpoint_of_something_else(tmp_path):
    save_file({"layer.weight": torch.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="none of its keys is one of a RegNet"):
        read_weights(tmp_path / "w.safetensors", Y)
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="has no arrays"):
        read_weights(tmp_path / "w.pth", Y)


BGR = ("pycls", "mmpretrain")


@pytest.mark.parametrize("style", sorted(STYLES))
def test_checkpoints_for_bgr_images_say_so(tmp_path, style):
    state = random_state(Y)
    weights = read_weights(_written(rename(state, Y, style), tmp_path / "w.safetensors"), Y)
    assert torch.equal(weights.state["stem.0.weight"], state["stem.0.weight"])
    assert any("expect BGR images" in note for note in weights.notes) == (style in BGR)


@pytest.mark.parametrize("style", BGR)
def test_bgr_makes_the_network_take_rgb_in_the_target(tmp_path, style):
    state = random_state(Y)
    checkpoint = _written(rename(state, Y, style), tmp_path / "w.safetensors")
    exported = export_model(Y, ["timm"], tmp_path / "x", weights=checkpoint, bgr=True)
    note = "weights: the first convolution was flipped from BGR to RGB"
    (entry,) = json.loads((tmp_path / "x" / "manifest.json").read_text())["models"]
    assert note in exported.notes
    assert note in entry["notes"]
    assert not any("expect BGR" in text for text in exported.notes)
    written = load_file(tmp_path / "x" / "timm" / "y.safetensors")
    assert torch.equal(written["stem.conv.weight"], state["stem.0.weight"][:, [2, 1, 0]])
    theirs, rgb = build(Y).eval(), torch.randn(1, 3, 32, 32)
    theirs.load_state_dict(state)
    library = TimmRegNet(RegNetCfg(8, 16, 18.0, 2.2, 8, 1.0, 0.25), num_classes=10, stem_width=8)
    library.load_state_dict(written)
    with torch.no_grad():
        torch.testing.assert_close(library.eval()(rgb), theirs(rgb[:, [2, 1, 0]]))


def test_bgr_needs_a_checkpoint_of_three_channels(tmp_path):
    with pytest.raises(InputError, match="bgr is True without a checkpoint"):
        export_model(Y, ["timm"], tmp_path / "x", bgr=True)
    gray = Y.at(channels=1)
    checkpoint = _written(random_state(gray), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="flips a first convolution of 3 channels"):
        export_model(gray, ["timm"], tmp_path / "x", weights=checkpoint, bgr=True)
    assert not (tmp_path / "x").exists()


AVERAGED = {
    "timm": lambda s: {"state_dict": _renamed(s, "timm"), "state_dict_ema": _renamed(s, "timm")},
    "torchvision": lambda s: {"model": s, "model_ema": _averaged(s)},
    "pycls": lambda s: {"model_state": _renamed(s, "pycls"), "ema_state": _renamed(s, "pycls")},
}


@pytest.mark.parametrize("kind", AVERAGED)
def test_averaged_weights_that_were_not_used_are_named(tmp_path, kind):
    data = AVERAGED[kind](random_state(Y))
    raw, averaged = data
    torch.save(data, tmp_path / "w.pth")
    note = f"averaged weights ({averaged}) are in the file too and were not used"
    assert any(note in text for text in read_weights(tmp_path / "w.pth", Y).notes)
    for name, content in ((raw, {raw: data[raw]}), (averaged, data[averaged])):
        torch.save(content, tmp_path / f"{name}.pth")
        notes = read_weights(tmp_path / f"{name}.pth", Y).notes
        assert not any("averaged" in text for text in notes)


def test_timms_weights_of_tensorflow_are_refused(tmp_path):
    torch_model, tf_model = (published_model(f"{tf}efficientnet_b0") for tf in ("", "tf_"))
    state = random_state(torch_model)
    path = _written(rename(state, torch_model, "timm"), tmp_path / "timm.safetensors")
    assert read_weights(path, torch_model).style == "timm"
    with pytest.raises(InputError, match=r"timm runs tf_efficientnet_b0 with TensorFlow's padding"):
        read_weights(path, tf_model)
    own = _written(state, tmp_path / "ours.safetensors")
    assert read_weights(own, tf_model).style == "torchvision"


def test_trunks_are_traced_without_invented_classifier(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    state = random_state(Y)
    trunk = {key: array for key, array in state.items() if not key.startswith("fc.")}
    checkpoint = _written(trunk, tmp_path / "w.safetensors")
    exported = export_model(Y, ["onnx", "torchscript"], tmp_path, weights=checkpoint)
    assert [report.target for report in exported.verification] == ["onnx", "torchscript"]
    for target in ("onnx", "torchscript"):
        note = f"{target}: the checkpoint has no classifier; the outputs are features"
        assert note in exported.notes
    ours, image = build(Y).eval(), torch.randn(1, 3, 32, 32)
    ours.load_state_dict(state)
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "y.onnx"))
    assert [output.name for output in session.get_outputs()] == ["features"]
    with torch.no_grad():
        features = ours.avgpool(ours.trunk_output(ours.stem(image))).flatten(1)
        traced = torch.jit.load(str(tmp_path / "torchscript" / "y.pt"))(image)
    torch.testing.assert_close(traced, features)
    graph = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    torch.testing.assert_close(graph, features, rtol=1e-4, atol=1e-5)


def test_a_classifier_is_read_where_one_target_of_several_has_it(tmp_path):
    ours, image = build(Y).eval(), torch.randn(1, 3, 32, 32)
    checkpoint = _written(ours.state_dict(), tmp_path / "w.safetensors")
    exported = export_model(Y, ["vissl", "torchscript"], tmp_path, weights=checkpoint)
    assert "torchscript" not in " ".join(exported.notes)
    network = torch.jit.load(str(tmp_path / "torchscript" / "y.pt"))
    with torch.no_grad():
        torch.testing.assert_close(network(image), ours(image))
