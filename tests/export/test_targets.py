"""What each library makes of written files, and what is refused because it would come out wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import quick_share
from timm.models.regnet import adjust_widths_groups_comp, generate_regnet
from transformers import RegNetConfig, RegNetForImageClassification

from designspace.arch import Body, Model, RegNetParams, Skeleton, published
from designspace.errors import InputError
from designspace.export import verify
from designspace.export.export_model import export_model
from designspace.export.identifiers import identifier
from designspace.export.read_model import read_model_file
from designspace.export.state_keys import key_names
from designspace.export.target import differences
from designspace.export.target_registry import TARGETS, find_target
from designspace.export.timm_regnet import timm_body
from designspace.export.transformers_config import transformers_config
from designspace.networks import build
from designspace.networks.count_cost import measure

REBUILT = ("torchvision", "timm", "transformers")
SMALL = Model.from_regnet(
    "small", RegNetParams(8, 16, 18.0, 2.2, 1.0, 8), 0.25, Skeleton(32, 10, 8, 2, (2, 2, 2, 2))
)
ODD = Model(
    "odd",
    Body((1, 2, 1), (16, 48, 64), (1.0, 2.0, 4.0), (8, 12, 16), 0.0),
    Skeleton(17, 5, 8, 1, (1, 2, 2)),
)
# 200 * 2.18 / 8 is a tie in float32 and above it in float64: timm makes 432 of 440.
TIE = Model.from_regnet("tie", RegNetParams(22, 200, 107.2, 2.18, 1.0, 8), 0.0).at(32)
MIXED = Model(
    "mixed",
    Body((1, 3, 2, 1), (24, 48, 96, 200), (1.0, 1.0, 2.0, 1.0), (8, 16, 16, 40), 0.5),
    Skeleton(32, 10, 8),
)

regnets = st.builds(
    RegNetParams,
    d=st.integers(2, 12),
    w_0=st.integers(1, 12).map(lambda k: 8 * k),
    w_a=st.integers(0, 600).map(lambda k: k / 10),
    w_m=st.integers(150, 300).map(lambda k: k / 100),
    b=st.sampled_from([1.0, 2.0]),
    g=st.sampled_from([1, 2, 4, 8, 16, 24, 40]),
)


GREY = replace(SMALL, name="grey").at(channels=1)
SPECTRAL = replace(SMALL, name="spectral", skeleton=Skeleton(32, 10, 8, 1, (1, 2, 2, 2), 5))


@pytest.mark.parametrize(
    "model", [SMALL, GREY, published("RegNetX-200MF").at(64)], ids=lambda m: m.name
)
def test_every_library_rebuilds_the_network(tmp_path, model):
    exported = export_model(model, REBUILT, tmp_path, verify=True)
    assert not exported.refused
    assert [report.target for report in exported.verification] == list(REBUILT)
    for report in exported.verification:
        assert f"{model.params:,} parameters" in report.checks
        assert f"{model.flops:,} multiply-adds" in report.checks
        assert report.checks[-1].startswith("outputs equal")


def test_256gf_is_verified_without_memory(tmp_path):
    model = published("RegNetY-256GF")
    names = (*REBUILT, "vissl", "classyvision", "pycls")
    exported = export_model(model, names, tmp_path)
    assert not exported.refused
    assert [report.target for report in exported.verification] == list(names)
    assert all("5.1 GB" in report.skipped[0] for report in exported.verification[:3])
    assert all(
        "widths 746 1492 4103 10444" in report.checks[0] for report in exported.verification[:3]
    )


def test_torchvision_represents_what_the_others_can_not(tmp_path):
    exported = export_model(ODD, REBUILT, tmp_path)
    assert [report.target for report in exported.verification] == ["torchvision"]
    assert "stem stride 1 would be 2" in exported.refused["transformers"]
    assert "stage 2: bottleneck ratio 2 would be 1" in exported.refused["transformers"]
    assert "timm builds RegNets of 4 stages" in exported.refused["timm"]
    assert not (tmp_path / "timm").exists()


@pytest.mark.parametrize(("stages", "strides"), [(3, (1, 2, 2)), (5, (1, 2, 2, 2, 2))])
def test_timm_refuses_other_numbers_of_stages_by_their_number(tmp_path, stages, strides):
    widths = tuple(16 * (i + 1) for i in range(stages))
    body = Body((1,) * stages, widths, (1.0,) * stages, (8,) * stages)
    exported = export_model(Model("any", body, Skeleton(32, 5, 8, 1, strides)), ["timm"], tmp_path)
    assert f"timm builds RegNets of 4 stages; any has {stages}" in exported.refused["timm"]


def test_timm_refuses_four_stages_of_equal_width_as_four_stages(tmp_path):
    body = Body((1, 2, 1, 1), (32,) * 4, (1.0,) * 4, (8,) * 4)
    refused = export_model(Model("equal", body), ["timm"], tmp_path).refused["timm"]
    assert "those nearest to equal, which has 4 stages, give 1" in refused


@pytest.mark.slow
def test_squeeze_widths_of_0_and_other_channels_go_only_where_they_can(tmp_path):
    everywhere = [name for name in TARGETS if name != "model.yaml"]
    tiny = Model(
        "tiny", Body((1, 2), (8, 32), (1.0,) * 2, (8, 8), 1 / 16), Skeleton(16, 5, 8, 2, (1, 2))
    )
    exported = export_model(tiny, everywhere, tmp_path / "tiny")
    assert set(exported.refused) == set(everywhere) - {"pycls", "onnx", "torchscript"}
    assert "squeeze-and-excitation where its width rounds to 0" in exported.refused["torchvision"]
    assert sorted(build(tiny).state_dict()) == sorted(key_names(tiny, "torchvision"))
    exported = export_model(SMALL.at(channels=1), everywhere, tmp_path / "gray")
    assert set(exported.refused) == {"classyvision", "vissl", "pycls"}
    assert "images of 3 channels" in exported.refused["pycls"]


def test_rounding_that_differs_is_refused_with_the_stage(tmp_path):
    exported = export_model(TIE, ["timm"], tmp_path)
    assert "stage 2: width 440 would be 432" in exported.refused["timm"]


def test_nearest_is_written_verified_and_measured(tmp_path):
    exported = export_model(TIE, ["timm"], tmp_path, nearest=True)
    assert not exported.refused
    (report,) = exported.verification
    assert "widths 200 432 952 2072" in report.checks[0]
    (note,) = exported.notes
    assert "stage 2: width 440 would be 432" in note
    assert "times the flops" in note
    free = export_model(Model("free", TIE.body, TIE.skeleton), ["transformers"], tmp_path / "free")
    assert len(free.verification) == 1


def test_nearest_for_transformers_moves_groups_and_ratios(tmp_path):
    refused = export_model(MIXED, ["transformers"], tmp_path).refused["transformers"]
    assert "se_ratio 0.5 would be 0.25" in refused
    exported = export_model(MIXED, ["transformers"], tmp_path, nearest=True)
    assert "widths 32 48 96 192, group widths 16 16 16 16" in exported.verification[0].checks[0]


def test_weights_do_not_go_with_another_model(tmp_path):
    torch.save(build(MIXED).state_dict(), tmp_path / "w.pth")
    names, weights = ["transformers"], tmp_path / "w.pth"
    exported = export_model(MIXED, names, tmp_path, nearest=True, weights=weights)
    assert "not of the nearest model" in exported.refused["transformers"]


def test_a_refused_export_leaves_no_folder(tmp_path):
    (tmp_path / "w.pth").write_text("not a checkpoint")
    with pytest.raises(InputError, match=r"w\.pth"):
        export_model(MIXED, ["timm"], tmp_path / "out", weights=tmp_path / "w.pth")
    assert not (tmp_path / "out").exists()
    exported = export_model(MIXED, ["transformers"], tmp_path / "out")
    assert exported.refused
    assert not (tmp_path / "out" / "transformers").exists()


@settings(max_examples=200, deadline=None)
@given(regnets)
def test_timms_rule_is_restated_to_the_last_bit(regnet):
    widths, stages, groups = generate_regnet(regnet.w_a, regnet.w_0, regnet.w_m, regnet.d, regnet.g)
    unique, depths = torch.unique(torch.tensor(widths), return_counts=True)
    final, groups = adjust_widths_groups_comp(unique.tolist(), [1 / regnet.b] * stages, groups)
    exported = timm_body(regnet, 0.0)
    assert (list(exported.widths), list(exported.depths)) == (final, depths.tolist())
    assert list(exported.group_widths) == groups


@settings(max_examples=25, deadline=None)
@given(regnets, st.sampled_from([0.0, 0.25]))
@pytest.mark.slow
def test_a_random_regnet_is_represented_by_transformers_or_refused(regnet, se_ratio):
    body = regnet.body(se_ratio)
    model = Model("any", body, Skeleton(33, 4, 8, 2, (2,) * body.num_stages), regnet)
    exported = TARGETS["transformers"].represent(model)
    with torch.device("meta"):
        network = RegNetForImageClassification(RegNetConfig(**transformers_config(model)))

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, image):
            return self.network(image).logits

    rebuilt, side = measure(Logits(), 33), model.skeleton.resolution
    assert rebuilt == measure(build(exported, device="meta"), side)
    same = rebuilt == measure(build(model, device="meta"), side)
    assert same == (not differences(model, exported))
    assert same or regnet.b != 1


def test_a_regnet_without_parameters_is_fitted_for_timm():
    body = published("RegNetX-400MF").body
    model = Model("free", body)
    changed = differences(model, TARGETS["timm"].represent(model))
    # The fit is a search: it must come near, and what is off must be said.
    exported = TARGETS["timm"].represent(model)
    assert exported.body.depths == body.depths
    assert np.allclose(exported.body.widths, body.widths, rtol=0.2)
    assert bool(changed) == (exported.body != body)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RegNetY-256GF", "regnety_256gf"),
        ("regnet_y_256gf", "derived_regnet_y_256gf"),
        ("regnety_120", "derived_regnety_120"),
        ("3 blocks@16", "net_3_blocks_16"),
        ("global", "net_global"),
        ("class", "net_class"),
        ("torch", "net_torch"),
        ("nn", "net_nn"),
        ("functional", "net_functional"),
        ("timm", "net_timm"),
        ("hasattr", "net_hasattr"),
        ("random", "net_random"),
        ("globals-2", "globals_2"),
    ],
)
def test_names_of_other_registries_are_never_taken(name, expected):
    assert identifier(Model(name, SMALL.body, SMALL.skeleton)) == expected


def test_no_written_file_carries_the_name_of_the_other_256gf(tmp_path):
    model = Model("regnet_y_256gf", SMALL.body, SMALL.skeleton, SMALL.regnet)
    names = [name for name in TARGETS if name not in ("onnx", "model.yaml")]
    exported = export_model(model, names, tmp_path, verify=False)
    assert len(exported.files) == len(names) + 1
    assert not any(path.stem == "regnet_y_256gf" for path in exported.files)
    data = json.loads((tmp_path / "classyvision" / "derived_regnet_y_256gf.json").read_text())
    assert data["name"] == "regnet"


def test_timm_creates_the_model_by_its_name(tmp_path):
    import timm

    from designspace.export.load_python_module import load

    export_model(SMALL, ["timm"], tmp_path, verify=False)
    load(tmp_path / "timm" / "small.py")
    network = timm.create_model("small", num_classes=3).eval()
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert network.default_cfg["input_size"] == (3, 32, 32)


def test_failed_verification_raises_runtime_error(tmp_path):
    target = TARGETS["torchvision"]
    export_model(SMALL, ["torchvision"], tmp_path, verify=False)
    path = tmp_path / "torchvision" / "small.py"
    path.write_text(path.read_text().replace("widths=[16,", "widths=[24,"))
    theirs = verify.rebuild(target, SMALL, tmp_path / "torchvision")
    with pytest.raises(RuntimeError, match="spatial differ"):
        verify.verify_structure(target, SMALL, theirs, tmp_path)


def test_one_swapped_statistic_changes_the_outputs(tmp_path):
    state = verify.random_state(SMALL)
    assert "equal" in verify.compare_outputs(TARGETS["torchvision"], SMALL, build(SMALL), state)
    key = "trunk_output.block1.block1-0.f.a.1.running_mean"
    wrong = {**state, key: state[key].flip(0)}
    image = verify.probe_image(SMALL)
    with torch.no_grad():
        ours, theirs = (verify.our_network(SMALL, weights)(image) for weights in (state, wrong))
    with pytest.raises(RuntimeError, match="outputs differ"):
        verify.compare_values(ours, theirs, "test")


def test_an_unknown_target_lists_the_nearest():
    with pytest.raises(InputError, match=r"no export target 'tim'; did you mean timm"):
        find_target("tim")


@pytest.mark.parametrize("target", quick_share(["torchvision", "onnx"], ["torchvision"]))
def test_five_channels_and_a_stem_of_stride_1_go_along(tmp_path, target):
    exported = export_model(SPECTRAL, [target], tmp_path, verify=True)
    assert not exported.refused
    assert exported.verification[0].checks[-1].startswith("outputs equal")
    read = read_model_file(tmp_path / "model.yaml")
    assert read.skeleton == SPECTRAL.skeleton


def test_transformers_channels_are_read_back(tmp_path):
    export_model(GREY, ["transformers"], tmp_path, verify=False)
    assert read_model_file(tmp_path / "transformers" / "config.json").skeleton.channels == 1


@pytest.mark.parametrize("name", ["class", "nn", "hasattr", "build_model_with_cfg"])
def test_models_of_names_in_use_are_written_and_verified(tmp_path, name):
    regnet = replace(SMALL, name=name)
    assert not export_model(regnet, ["torchvision", "timm"], tmp_path / "a").refused
    other = replace(regnet, body=replace(SMALL.body, activation="silu"))
    assert not export_model(other, ["torchvision"], tmp_path / "b").refused


def test_timm_refuses_bottlenecks_without_channels(tmp_path):
    model = Model.from_regnet("narrow", RegNetParams(8, 8, 8.0, 2.0, 16.0, 1), 0.0, None)
    refused = export_model(model, ["timm"], tmp_path).refused["timm"]
    assert "timm computes a bottleneck width of 0 from width 8 and bottleneck ratio 16" in refused


def test_gray_images_go_to_torchscript_and_messages_name_it(tmp_path):
    exported = export_model(GREY, ["torchscript", "pycls"], tmp_path)
    assert [report.target for report in exported.verification] == ["torchscript"]
    assert "onnx, torchscript, model.yaml" in exported.refused["pycls"]
    network = torch.jit.load(str(tmp_path / "torchscript" / "grey.pt"))
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 10)
