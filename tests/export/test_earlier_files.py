"""A second export into a folder replaces the first one: no file of that stays beside the new."""

import json

import pytest
import torch
from safetensors.torch import save_file

import designspace as ds
from designspace.arch import Body, Model, RegNetParams, Skeleton
from designspace.errors import InputError
from designspace.export import onnx_graph
from designspace.export.export_model import export_model
from designspace.networks import build

AROUND = Skeleton(32, 10, 8, 2, (2, 2, 2, 2))
A = Model.from_regnet("a", RegNetParams(8, 16, 18.0, 2.2, 1.0, 8), 0.25, AROUND)
B = Model.from_regnet("b", RegNetParams(9, 16, 18.0, 2.2, 1.0, 8), 0.25, AROUND)
# One group width in transformers: only the nearest model can be written.
MIXED = Model("mixed", Body((1,) * 4, (16, 32, 48, 64), (1.0,) * 4, (8, 16, 8, 16), 0.25), AROUND)


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def write(model, targets, out, **options):
    return export_model(model, targets, out, verify=False, **options)


@pytest.fixture
def checkpoint(tmp_path):
    save_file(build(A).state_dict(), tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_weights_of_another_model_do_not_stay(tmp_path, checkpoint):
    out = tmp_path / "x"
    write(A, ["transformers", "model.yaml"], out, weights=checkpoint)
    assert "weights.safetensors" in files(out)
    exported = write(B, ["transformers", "model.yaml"], out)
    assert files(out) == ["manifest.json", "model.yaml", "transformers/config.json"]
    note = (
        "removed, as an earlier export wrote them: transformers/model.safetensors; "
        "weights.safetensors"
    )
    assert note in exported.notes
    assert note in json.loads((out / "manifest.json").read_text())["models"][0]["notes"]


def test_a_nearest_model_does_not_hide_the_exact_one_written_after_it(tmp_path):
    assert not write(MIXED, ["transformers"], tmp_path, nearest=True).refused
    write(B, ["transformers"], tmp_path)
    assert ds.load_model(tmp_path / "transformers").body == B.body


def test_configs_and_folders_of_other_targets_go(tmp_path):
    write(A, ["pycls", "vissl"], tmp_path)
    write(B, ["pycls"], tmp_path)
    assert files(tmp_path) == ["manifest.json", "model.yaml", "pycls/b.yaml"]
    assert not (tmp_path / "vissl").exists()


def test_the_same_export_again_removes_nothing(tmp_path):
    first = write(A, ["pycls", "vissl"], tmp_path)
    before = files(tmp_path)
    assert write(A, ["pycls", "vissl"], tmp_path).notes == first.notes
    assert files(tmp_path) == before


def test_files_that_were_changed_or_never_listed_stay(tmp_path):
    write(A, ["pycls", "vissl"], tmp_path)
    with (tmp_path / "pycls" / "a.yaml").open("a") as file:
        file.write("# my own\n")
    (tmp_path / "vissl" / "notes.txt").write_text("mine")
    exported = write(B, ["pycls"], tmp_path)
    assert files(tmp_path) == [
        *("manifest.json", "model.yaml", "pycls/a.yaml", "pycls/b.yaml", "vissl/notes.txt")
    ]
    assert "kept, as they were changed since an earlier export: pycls/a.yaml" in exported.notes


def test_the_checkpoint_that_is_read_stays(tmp_path, checkpoint):
    write(A, ["model.yaml", "transformers"], tmp_path, weights=checkpoint)
    exported = write(A, ["timm"], tmp_path, weights=tmp_path / "weights.safetensors")
    assert (tmp_path / "weights.safetensors").is_file()
    assert "kept, as the weights were read from them: weights.safetensors" in exported.notes
    assert not (tmp_path / "transformers").exists()


def test_a_failed_export_removes_nothing(tmp_path):
    write(A, ["pycls", "vissl"], tmp_path)
    before = files(tmp_path)
    with pytest.raises(InputError, match="no file"):
        write(B, ["pycls"], tmp_path, weights=tmp_path / "none.pth")
    assert files(tmp_path) == before
    assert write(MIXED, ["transformers"], tmp_path).refused
    assert files(tmp_path) == before
    # They are not forgotten: the next export removes them.
    write(B, ["pycls"], tmp_path)
    assert files(tmp_path) == ["manifest.json", "model.yaml", "pycls/b.yaml"]


@pytest.mark.parametrize(
    "manifest",
    [
        '{"schema": 1, "models": 3}',
        '{"schema": 1, "models": [{"files": [{"path": 3}]}]}',
        '{"schema": 1, "models": [{"files": [{"path": "../mine", "sha256": "{sha256}"}]}]}',
    ],
    ids=["number", "incomplete", "outside"],
)
def test_other_manifests_remove_nothing(tmp_path, manifest):
    out = tmp_path / "x"
    out.mkdir()
    (tmp_path / "mine").write_text("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (out / "manifest.json").write_text(manifest.replace("{sha256}", empty))
    write(A, ["pycls"], out)
    assert (tmp_path / "mine").is_file()


@pytest.mark.parametrize("manifest", ["{", "[]", '{"manifest_version": 3}'])
def test_a_manifest_of_something_else_is_not_replaced(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match=r"manifest\.json was not written by an export"):
        write(A, ["pycls"], tmp_path)
    assert files(tmp_path) == ["manifest.json"]


def test_external_data_of_an_earlier_graph_goes(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    tiny = Model("tiny", Body((1,), (64,), (1.0,), (64,)), Skeleton(16, 10, 8, 2, (2,)))
    torch.save(build(tiny).state_dict(), tmp_path / "w.pth")
    with monkeypatch.context() as patch:
        patch.setattr(onnx_graph, "LIMIT_BYTES", 1000)
        write(tiny, ["onnx"], tmp_path / "x", weights=tmp_path / "w.pth")
    assert "onnx/tiny.onnx.data" in files(tmp_path / "x")
    write(tiny, ["onnx"], tmp_path / "x", weights=tmp_path / "w.pth")
    assert files(tmp_path / "x") == ["manifest.json", "model.yaml", "onnx/tiny.onnx"]


def test_models_of_an_earlier_export_of_several_go(tmp_path):
    run = ds.sample("RegNetX@8", n=3, flops="180K:220K", out=tmp_path / "run")
    for i, error in enumerate([3.0, 1.0, 2.0]):
        run.record(i, error=error)
    for count in (3, 1):
        ds.export_best(run, count, "pycls", tmp_path / "x")
        assert len([path for path in (tmp_path / "x").iterdir() if path.is_dir()]) == count


@pytest.mark.parametrize("text", ["name: mine\n", "# Our baseline.\n{exported}"])
def test_a_model_of_ones_own_is_not_replaced(tmp_path, text):
    write(B, ["pycls"], tmp_path / "other")
    own = text.replace("{exported}", (tmp_path / "other" / "model.yaml").read_text())
    (tmp_path / "model.yaml").write_text(own)
    with pytest.raises(InputError, match=r"model\.yaml is another model, or was changed since"):
        write(A, ["pycls"], tmp_path)
    assert (tmp_path / "model.yaml").read_text() == own
    assert not (tmp_path / "pycls").exists()


def test_a_checkpoint_is_not_replaced_by_what_was_made_of_it(tmp_path, checkpoint):
    weights = checkpoint.rename(tmp_path / "weights.safetensors")
    before = weights.read_bytes()
    exported = write(A, ["model.yaml"], tmp_path, weights=weights, bgr=True)
    assert "holds the weights that are read" in exported.refused["model.yaml"]
    assert weights.read_bytes() == before
