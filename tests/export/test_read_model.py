"""What export writes is read back as a model, and so are other people's files."""

import json
from dataclasses import replace

import pytest

from designspace.arch import Body, Model, RegNetParams, Skeleton, published
from designspace.errors import InputError
from designspace.export.export_model import export_model
from designspace.export.read_model import read_model_file

SMALL = Model.from_regnet(
    "small", RegNetParams(8, 16, 18.0, 2.2, 1.0, 8), 0.25, Skeleton(32, 10, 8, 2, (2, 2, 2, 2))
)
FREE = Model(
    "free",
    Body((1, 2, 1), (16, 48, 64), (1.0, 2.0, 4.0), (8, 12, 16), 0.0),
    Skeleton(40, 7, 16, 1, (1, 2, 2)),
)
# What a file of each library does not say gets ImageNet's value.
FILES = {
    "model.yaml": ("model.yaml", {}),
    "pycls": ("pycls/{}.yaml", {}),
    "vissl": ("vissl/{}.yaml", {"classes": 1000}),
    "classyvision": ("classyvision/{}.json", {"resolution": 224}),
    "transformers": ("transformers", {"resolution": 224}),
}


@pytest.mark.parametrize("target", FILES)
@pytest.mark.parametrize(
    "model", [SMALL, FREE, published("RegNetX-1.6GF"), published("RegNetY-256GF")], ids=str
)
def test_every_exported_file_is_read_back(tmp_path, cli, model, target):
    exported = export_model(model, [target], tmp_path, outputs=False)
    if target == "transformers" and model is FREE:
        assert "stem stride 1 would be 2" in exported.refused[target]
        return
    assert not exported.refused
    file, implied = FILES[target]
    path = tmp_path / file.format(exported.files[-1].stem)
    read = read_model_file(path)
    assert read.body == model.body
    assert read.skeleton == replace(model.skeleton, **implied)
    if target in ("pycls", "classyvision", "vissl") and model.skeleton.stem_stride == 2:
        assert read.regnet == model.regnet
    record = json.loads(cli("complexity", path, "--json").out)
    assert record["params"] == model.at(classes=read.skeleton.classes).params


PYCLS_REGNET = """
MODEL: {TYPE: regnet, NUM_CLASSES: 1000}
REGNET: {SE_ON: True, DEPTH: 27, W0: 48, WA: 20.71, WM: 2.65, GROUP_W: 24, BOT_MUL: 1.0}
BN: {EPS: 1e-5}
OPTIM: {BASE_LR: 0.1, LR_POLICY: cos, WEIGHT_DECAY: 5e-5}
TRAIN: {DATASET: imagenet, BATCH_SIZE: 128, IM_SIZE: 224}
OUT_DIR: .
"""
PYCLS_ANYNET = """
MODEL: {TYPE: anynet}
ANYNET:
  STEM_TYPE: res_stem_cifar
  STEM_W: 16
  DEPTHS: [2, 3]
  WIDTHS: [16, 32]
  STRIDES: [1, 2]
  BOT_MULS: [0.5, 1.0]
  GROUP_WS: [8, 16]
TRAIN: {DATASET: cifar10, IM_SIZE: 32}
"""


def test_other_peoples_pycls_configs(tmp_path):
    path = tmp_path / "RegNetY-1.6GF_dds_8gpu.yaml"
    path.write_text(PYCLS_REGNET)
    model = read_model_file(path)
    assert model.name == "RegNetY-1.6GF_dds_8gpu"
    assert model.body == published("RegNetY-1.6GF").body
    path.write_text(PYCLS_ANYNET)
    model = read_model_file(path)
    assert model.body == Body((2, 3), (16, 32), (2.0, 1.0), (8, 16))
    assert model.skeleton == Skeleton(32, 10, 16, 1, (1, 2))
    path.write_text(PYCLS_ANYNET.replace("  GROUP_WS: [8, 16]\n", ""))
    assert read_model_file(path).body.group_widths == (8, 32)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("STEM_TYPE: res_stem_cifar", "STEM_TYPE: deep_stem", r"ANYNET\.STEM_TYPE"),
        ("STEM_W: 16", "BLOCK_TYPE: dense_block", r"ANYNET\.BLOCK_TYPE.*dense_block"),
        ("TYPE: anynet", "TYPE: resnet", r"MODEL\.TYPE.*resnet"),
        ("[8, 16]", "[8, 12]", "group width 12 does not divide"),
        ("[8, 16]", "[8]", "group_widths has 1 values"),
        ("[0.5, 1.0]", "[0.5, 0]", "bottleneck_ratios has 1 values"),
        ("STRIDES: [1, 2]", "STRIDES: [1]", "2 stages but 1 strides"),
    ],
)
def test_networks_that_can_not_be_built_are_refused_by_key(tmp_path, before, after, message):
    path = tmp_path / "config.yaml"
    assert before in PYCLS_ANYNET
    path.write_text(PYCLS_ANYNET.replace(before, after))
    with pytest.raises(InputError, match=message) as refused:
        read_model_file(path)
    assert str(path) in str(refused.value)


def test_a_published_transformers_config(tmp_path):
    config = {
        "architectures": ["RegNetForImageClassification"],
        "depths": [2, 6, 12, 2],
        "embedding_size": 32,
        "groups_width": 64,
        "hidden_act": "relu",
        "hidden_sizes": [128, 192, 512, 1088],
        "id2label": {str(i): f"label {i}" for i in range(1000)},
        "layer_type": "y",
        "model_type": "regnet",
        "num_channels": 3,
        "torch_dtype": "float32",
    }
    folder = tmp_path / "regnet-y-040"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    model = read_model_file(folder)
    assert (model.name, model.body) == ("regnet-y-040", published("RegNetY-4.0GF").body)
    assert model.skeleton == Skeleton()
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "resnet"}))
    with pytest.raises(InputError, match="model_type"):
        read_model_file(folder)


def test_a_published_vissl_config(tmp_path):
    path = tmp_path / "regnet128Gf.yaml"
    path.write_text(
        "# @package _global_\nconfig:\n  MODEL:\n    TRUNK:\n      NAME: regnet\n      REGNET:\n"
        "        depth: 27\n        w_0: 456\n        w_a: 160.83\n        w_m: 2.52\n"
        "        group_width: 264\n    HEAD: {PARAMS: []}\n"
    )
    assert read_model_file(path).body == published("RegNetY-128GF").body


VISSL = (
    "config: {{MODEL: {{TRUNK: {{REGNET: {{depth: 9, w_0: 8, w_a: 8.0, w_m: 2.5, group_width: 8}}}}"
    "}}, DATA: {{TRAIN: {{TRANSFORMS: [{{name: A, size: {size}}}]}}}}}}"
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.json", "[]", "must be a map"),
        ("m.json", "{", "is not JSON"),
        ("m.json", '{"name": "regnet_y_256gf"}', "may be another network"),
        ("m.json", '{"name": "regnet"}', "the key depth is missing"),
        ("m.yaml", "MODEL: 3", "MODEL"),
        ("m.yaml", "config: {}", "no config.MODEL.TRUNK.REGNET"),
        ("m.yaml", "name: x", "needs `regnet`"),
        ("m.yaml", VISSL.format(size="'${a.b}'"), r"size is '\$.*; give whole numbers"),
        ("m.yaml", VISSL.format(size="[224, x]"), r"size is \[224, 'x'\]; give whole numbers"),
    ],
)
def test_other_files_are_refused_with_their_name(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        read_model_file(tmp_path / name)
    assert name in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("m.yaml", PYCLS_REGNET.replace("1e-5}", "1.0e-3}"), r"BN\.EPS"),
        ("m.json", '{"name": "regnet", "depth": 9, "w_0": 8, "bn_epsilon": 0.001}', "bn_epsilon"),
        (
            "m.yaml",
            "config: {MODEL: {TRUNK: {REGNET: {depth: 9, w_0: 8, bn_epsilon: 1.0e-3}}}}",
            "bn_epsilon",
        ),
    ],
    ids=["pycls", "classyvision", "vissl"],
)
def test_another_epsilon_of_batchnorm_is_refused_by_its_key(tmp_path, name, text, key):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{key}: must be 1e-05.*found 0\.001"):
        read_model_file(tmp_path / name)
    (tmp_path / name).write_text(text.replace("1.0e-3", "1.0e-5").replace("0.001", "1e-5"))
    assert read_model_file(tmp_path / name).body.num_stages >= 1


def test_a_transformers_config_without_labels_has_two_classes(tmp_path):
    from transformers import RegNetConfig, RegNetForImageClassification

    config = RegNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=8)
    config.save_pretrained(tmp_path)
    network = RegNetForImageClassification(RegNetConfig.from_pretrained(tmp_path))
    model = read_model_file(tmp_path)
    assert model.skeleton.classes == network.classifier[1].out_features == 2
    assert model.params == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("target", ["pycls", "classyvision", "vissl"])
@pytest.mark.parametrize("b", [49.0, 6.125, 11.625, 12.25, 3.6])
def test_ratios_whose_inverse_is_rounded_are_read_back(tmp_path, target, b):
    assert 1 / (1 / b) != b
    width = 80 * b
    body = Body((1, 2), (round(width), round(2 * width)), (b, b), (8, 8))
    export_model(Model("any", body, Skeleton(strides=(1, 2))), [target], tmp_path)
    (path,) = (tmp_path / target).iterdir()
    assert read_model_file(path).body == body


@pytest.mark.parametrize("target", ["pycls", "classyvision", "vissl"])
def test_ratios_that_no_file_holds_exactly_are_still_exported(tmp_path, target):
    b = 3.1622776601683795  # the square root of 10; 1 / b has no inverse that is b
    model = Model("any", Body((1,), (253,), (b,), (8,)), Skeleton(strides=(2,)))
    assert [report.target for report in export_model(model, [target], tmp_path).verification]


PYCLS_BASIC = """
MODEL: {TYPE: anynet}
ANYNET:
  STEM_W: 16
  BLOCK_TYPE: res_basic_block
  DEPTHS: [2, 3]
  WIDTHS: [16, 32]
  STRIDES: [1, 2]
"""


@pytest.mark.parametrize("unused", ["GROUP_WS: [24, 24]", "BOT_MULS: [0.001, 7.0]"])
def test_keys_that_basic_blocks_do_not_use_do_not_matter(tmp_path, unused):
    (tmp_path / "m.yaml").write_text(PYCLS_BASIC + f"  {unused}\n")
    body = read_model_file(tmp_path / "m.yaml").body
    assert body == Body((2, 3), (16, 32), (1.0, 1.0), (1, 1), block="residual-basic")
