"""`designspace export`, as people type it."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

import designspace as ds
from designspace.arch import Body, Model, RegNetParams, Skeleton
from designspace.arch.model_file import read_model, write_model
from designspace.export.target_registry import TARGETS
from designspace.runs.measurements import MeasuredSetting, Measurement


@pytest.fixture
def small(tmp_path):
    regnet = RegNetParams(8, 16, 18.0, 2.2, 1.0, 8)
    model = Model.from_regnet("small-y", regnet, 0.25, Skeleton(32, 10, 8, 2, (2, 2, 2, 2)))
    write_model(model, tmp_path / "m.yaml")
    return tmp_path / "m.yaml"


@pytest.fixture
def tiny(tmp_path):
    """Two blocks: to export them as ONNX takes a fraction of the time of `small`."""
    body = Body((1, 1), (16, 64), (1.0, 1.0), (16, 64), 0.25)
    write_model(Model("tiny", body, Skeleton(16, 10, 8, 2, (2, 2))), tmp_path / "tiny.yaml")
    return tmp_path / "tiny.yaml"


def test_help_and_docstring_name_every_target(cli):
    for text in (cli("export", "--help").out, ds.Model.export.__doc__):
        assert [name for name in TARGETS if name not in text] == []


def test_model_and_torchvision_code_that_rebuilds_by_itself(cli, small, tmp_path):
    outcome = cli("export", small, "--to", "torchvision", "--out", tmp_path / "x")
    assert outcome.code == 0, outcome.err
    assert "torchvision: the same by torchvision" in outcome.out
    model = read_model(tmp_path / "x" / "model.yaml")
    assert model == read_model(small)
    code = (
        "import small_y; network = small_y.small_y()\n"
        "import sys; assert not any('designspace' in name for name in sys.modules)\n"
        "print(sum(p.numel() for p in network.parameters()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "x" / "torchvision",
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == model.params


def test_json_lists_files_and_proofs(cli, small, tmp_path):
    words = ("export", small, "--to", "vissl", "--to", "pycls", "--out", tmp_path / "x", "--json")
    record = json.loads(cli(*words).out)
    assert [report["target"] for report in record["verification"]] == ["vissl", "pycls"]
    assert len(record["files"]) == 3
    assert record["refused"] == {}


def test_onnx_runs_and_agrees(cli, tiny, tmp_path):
    pytest.importorskip("onnxruntime")
    outcome = cli("export", tiny, "--to", "onnx", "--out", tmp_path / "x")
    assert outcome.code == 0, outcome.err
    assert "onnx: the same by onnxruntime" in outcome.out
    assert "outputs equal" in outcome.out
    assert "random weights" in outcome.out


def test_bgr_flips_the_first_convolution(cli, tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    from designspace.export.verify import random_state

    state = random_state(read_model(tiny))
    save_file(state, tmp_path / "w.safetensors")
    words = ("export", tiny, "--to", "model.yaml", "--weights", tmp_path / "w.safetensors")
    outcome = cli(*words, "--bgr", "--out", tmp_path / "x")
    assert outcome.code == 0, outcome.err
    assert "note: weights: the first convolution was flipped from BGR to RGB" in outcome.out
    written = load_file(tmp_path / "x" / "weights.safetensors")["stem.0.weight"]
    assert written.equal(state["stem.0.weight"][:, [2, 1, 0]])


def test_weights_over_the_limit_lie_beside_the_graph(cli, tiny, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    from safetensors.torch import save_file

    from designspace.export import onnx_graph
    from designspace.export.verify import random_state

    monkeypatch.setattr(onnx_graph, "LIMIT_BYTES", 1000)
    save_file(random_state(read_model(tiny)), tmp_path / "w.safetensors")
    words = ("export", tiny, "--to", "onnx", "--out", tmp_path / "x")
    assert cli(*words).code == 2
    outcome = cli(*words, "--weights", tmp_path / "w.safetensors")
    assert outcome.code == 0, outcome.err
    assert "outputs equal" in outcome.out
    graph = tmp_path / "x" / "onnx" / "tiny.onnx"
    assert graph.with_name("tiny.onnx.data").stat().st_size > graph.stat().st_size


def test_a_refused_target_does_not_stop_the_others(cli, tmp_path):
    words = ("export", "RegNetY-256GF", "--to", "onnx", "--to", "vissl", "--out", tmp_path)
    outcome = cli(*words)
    assert outcome.code == 2
    assert "5.1 GB of weights" in outcome.err
    assert "--weights" in outcome.err
    assert (tmp_path / "vissl" / "regnety_256gf.yaml").is_file()
    assert not (tmp_path / "onnx").exists()


def test_one_model_has_a_manifest_too(cli, tmp_path):
    outcome = cli("export", "RegNetY-256GF", "--to", "onnx", "--to", "vissl", "--out", tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["targets"] == ["onnx", "vissl"]
    (entry,) = manifest["models"]
    assert (entry["name"], entry["params"]) == ("RegNetY-256GF", 1_282_601_138)
    assert [report["target"] for report in entry["verification"]] == ["vissl"]
    assert list(entry["refused"]) == ["onnx"]
    assert [file["path"] for file in entry["files"]] == ["model.yaml", "vissl/regnety_256gf.yaml"]
    for file in entry["files"]:
        content = (tmp_path / file["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert len(content) == file["bytes"]
    assert f"manifest: {tmp_path / 'manifest.json'}" in outcome.out


def test_the_front_of_a_run_with_a_manifest(study, cli, tmp_path):
    run, _ = study
    out = tmp_path / "front"
    done = cli("export", run, "--pareto", "--against", "acts", "--to", "vissl", "--out", out)
    assert done.code == 0, done.err
    manifest = json.loads((out / "manifest.json").read_text())
    models = manifest["models"]
    assert manifest["against"] == "acts"
    assert [m["rank"] for m in models] == [*range(1, len(models) + 1)]
    assert [m["cost"] for m in models] == sorted(m["cost"] for m in models)
    assert [m["error"] for m in models] == sorted((m["error"] for m in models), reverse=True)
    frame = ds.load_run(run).to_frame()
    for m in models:
        better = (frame["acts"] <= m["cost"]) & (frame["error"] < m["error"])
        assert not better.any()
        assert (out / f"{m['rank']:02d}-{m['id']}" / "model.yaml").is_file()


def test_measured_costs_of_several_settings_are_not_mixed(cli, refused, tmp_path):
    run = ds.sample("RegNetX@8", n=4, flops="180K:220K", out=tmp_path / "run")
    one = MeasuredSetting("cpu (here)", 1, 1, "fp32", "inference", False, 8, "2.6")
    for i, model in enumerate(run):
        run.record(i, error=40.0 - i)
        body = (model.body.id, model.name, model.flops, model.params, model.acts, 4)
        times = [(one, 0.001 + i / 1e4), (replace(one, batch=64), 0.005 - i / 1e3)]
        run.append_measurements([Measurement(*body, s, t, t, t) for s, t in times])
    words = ("export", run.path, "--pareto", "--against", "latency", "--out", tmp_path / "x")
    message = refused(*words)
    assert "batch 1, fp32" in message
    assert "batch 64, fp32" in message
    assert cli(*words, "--setting", "batch=64").code == 0
    assert json.loads((tmp_path / "x/manifest.json").read_text())["models"][0]["index"] == 3
    assert "no setting matches" in refused(*words, "--setting", "batch=8")
    assert "did you mean batch" in refused(*words, "--setting", "bach=8")
    assert "give pairs" in refused(*words, "--setting", "batch")


def test_the_best_of_a_run_with_a_manifest(study, cli, tmp_path):
    run, folder = study
    for source in (run, folder):
        out = tmp_path / source.name
        outcome = cli(
            "export", source, "--best", 3, "--to", "vissl", "--to", "torchvision", "--out", out
        )
        assert outcome.code == 0, outcome.err
        manifest = json.loads((out / "manifest.json").read_text())
        assert [entry["rank"] for entry in manifest["models"]] == [1, 2, 3]
        errors = [entry["error"] for entry in manifest["models"]]
        assert errors == sorted(errors)
        for entry in manifest["models"]:
            assert "drawn" not in entry
            assert len(entry["files"]) == 3
            for file in entry["files"]:
                content = (out / file["path"]).read_bytes()
                assert hashlib.sha256(content).hexdigest() == file["sha256"]
            model = read_model(out / entry["files"][0]["path"])
            assert (model.body.id, model.flops) == (entry["id"], entry["flops"])
            assert dict(model.provenance)["space"] == "RegNetX@8"
    first, second = ((tmp_path / s.name / "manifest.json").read_text() for s in (run, folder))
    assert [m["id"] for m in json.loads(first)["models"]] == [
        m["id"] for m in json.loads(second)["models"]
    ]


def test_the_manifest_has_the_settings_that_each_model_drew(tmp_path):
    lr = {"distribution": "log_uniform", "low": 0.05, "high": 0.8}
    epochs = {"distribution": "choice", "values": [2, 3]}
    space = {"name": "drawn", "parent": "RegNetX@8", "reason": "A test."}
    space["recipe"] = {"lr": lr, "epochs": epochs}
    run = ds.sample(space, n=3, flops="180K:220K", out=tmp_path / "run")
    for i in range(3):
        run.record(i, error=40.0 - i)
    ds.analyze([run]).save(tmp_path / "findings")
    ds.export_best(run, 2, "model.yaml", tmp_path / "best")
    ds.export_best(tmp_path / "findings", 2, "model.yaml", tmp_path / "best-of-findings")
    ds.export_pareto(run, "model.yaml", tmp_path / "front")
    draws = run.recipe_draws()
    for folder in ("best", "best-of-findings", "front"):
        for entry in json.loads((tmp_path / folder / "manifest.json").read_text())["models"]:
            assert entry["drawn"] == {key: draws[key][entry["index"]] for key in ("lr", "epochs")}
            assert isinstance(entry["drawn"]["epochs"], int)
    origin = dict(run.model("best").provenance)
    assert (float(origin["lr"]), origin["epochs"]) == (
        pytest.approx(draws["lr"][2]),
        f"{draws['epochs'][2]:g}",
    )


def test_a_run_of_any_name_gives_models_that_can_be_read(study, cli, tmp_path):
    run, _ = study
    strange = tmp_path / "mit ü 日本"
    shutil.copytree(run, strange)
    assert cli("analyze", strange, "--out", tmp_path / "study").code == 0
    for source in (strange, tmp_path / "study"):
        done = cli("export", source, "--best", 1, "--to", "vissl", "--out", tmp_path / "x y")
        assert done.code == 0, done
        (model,) = (tmp_path / "x y").glob("01-*/model.yaml")
        assert cli("complexity", model).code == 0
    words = ("--from", tmp_path / "study", "--flops", "400K", "--out", tmp_path / "m.yaml")
    assert cli("derive", *words).code == 0
    assert cli("derive", "--from", tmp_path / "m.yaml", "--scale", 2, *words[4:]).code == 0
    assert cli("complexity", tmp_path / "m.yaml").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.yaml", "--to", "tensorflow"], "no export target 'tensorflow'"),
        (["m.yaml", "--to", "vissl, tim"], "no export target 'tim'"),
        (["RegNetY-129GF", "--to", "timm"], "did you mean RegNetY-12"),
        (["m.yaml", "--to", "timm", "--weights", "none.pth"], "no file none.pth"),
        (["m.yaml", "--to", "timm", "--bgr"], "--bgr needs --weights"),
        (["{run}", "--best", "2", "--bgr"], "--bgr needs --weights"),
        (["m.yaml", "--best", "2"], "m.yaml is a file, not a run folder"),
        (["{run}", "--best", "0"], "--best is 0"),
        (["{run}", "--best", "2", "--weights", "w.pth"], "fits one model"),
        (["{run}", "--best", "2", "--pareto"], "exclude each other"),
        (["{run}", "--pareto", "--against", "latency"], "must have been measured"),
        (["{run}", "--pareto", "--against", "speed"], "known: flops, params, acts"),
        (["m.yaml", "--pareto"], "m.yaml is a file, not a run folder"),
        (["{analysis}", "--best", "2", "--population", "b"], "no population 'b'"),
        (["{run}", "--best", "2", "--population", "b"], "is one run, not findings"),
        (["{run}", "--pareto", "--population", "b"], "--population needs --best"),
        (["{run}", "--best", "2", "--against", "acts"], "--against needs --pareto"),
        (["{run}", "--best", "2", "--setting", "batch=1"], "--setting needs --pareto"),
        (["m.yaml", "--no-verify", "--outputs"], "pass --outputs alone"),
    ],
)
def test_mistakes_are_reported_in_one_line(refused, small, study, monkeypatch, words, message):
    run, analysis = study
    monkeypatch.chdir(small.parent)
    filled = [word.format(run=run, analysis=analysis) for word in words]
    assert message in refused("export", *filled, "--out", "x")


def test_a_missing_library_is_reported(refused, cli, small, tmp_path, monkeypatch):
    from designspace.export import verify

    monkeypatch.setattr(verify, "is_installed", lambda library: library != "timm")
    outcome = cli("export", small, "--to", "timm", "--out", tmp_path / "x")
    assert outcome.code == 0
    assert "written but not verified, timm is not installed" in outcome.out
    text = refused("export", small, "--to", "timm", "--verify", "--out", tmp_path / "x")
    assert "timm is not installed" in text
