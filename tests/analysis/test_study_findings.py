"""From an analysis folder to a network: medians, extrapolation, search."""

import json
import shutil

import numpy as np
import pytest

import designspace as ds
from designspace.analysis.read_findings import read_findings
from designspace.arch import RegNetParamsBatch, Skeleton
from designspace.derivation.search_by_findings import fit_predictor
from designspace.errors import InputError


def test_findings_have_the_skeleton_and_the_best_models_of_the_run(study):
    run, folder = study
    found = read_findings(folder)
    assert found.population == "regnetx"
    assert found.space == "RegNetX@8"
    assert found.skeleton == Skeleton(8, 10, 8, 1, (1, 2, 2, 2))
    assert found.flops[0] >= 180_000
    assert found.flops[1] <= 220_000
    low, median, high = found.intervals["d"]
    assert low <= median <= high
    assert median == pytest.approx(10, abs=1)
    best = found.models(3)
    assert [model.rank for model in best] == [1, 2, 3]
    assert best[0].error <= best[1].error <= best[2].error
    assert best[0].model.body.id == best[0].id
    assert dict(best[0].model.provenance)["run"] == str(run)
    assert dict(best[0].model.provenance)["seed"] == "0"


def test_derive_from_findings(study, cli, tmp_path):
    _, folder = study
    out = tmp_path / "m.yaml"
    told = cli("derive", "--family", "regnety", "--flops", "1.5M", "--from", folder, "--out", out)
    assert told.code == 0, told.err
    assert "range of the best" in told.out
    assert "population regnetx (the only one), 40 models of RegNetX@8. The likely" in told.out
    assert "an extrapolation by a factor of 6.8" in told.out
    inside = cli("derive", "--flops", "200K", "--from", folder, "--out", out, "--json")
    record = json.loads(inside.out)
    assert record["flops"] == pytest.approx(200_000, rel=0.1)
    assert record["resolution"] == 8
    assert not any("extrapolation" in warning for warning in record["warnings"])
    assert record["provenance"]["space"] == "RegNetX@8"


def test_findings_in_memory_derive_the_same_models_as_their_folder(study):
    run, folder = study
    findings = ds.analyze(run)
    for target in ({"flops": "400K"}, {"flops": "400K", "search": 60, "seed": 3}):
        memory = ds.derive("regnety", source=findings, **target)
        saved = ds.derive("regnety", source=folder, **target)
        assert memory.body == saved.body
        assert dict(memory.provenance)["findings"] == "findings in memory"
        assert dict(memory.provenance)["run"] == str(run)
    with pytest.raises(InputError, match="no population 'regnety'"):
        ds.derive("regnety", source=findings, flops="400K", population="regnety")
    with pytest.raises(InputError, match="source is a list; it must be"):
        ds.derive("regnety", source=[findings], flops="400K")


def test_derive_for_imagenet_says_that_the_findings_are_of_small_images(study, cli, tmp_path):
    _, folder = study
    words = (
        "derive",
        "--flops",
        "1G",
        "--imagenet",
        "--from",
        folder,
        "--out",
        tmp_path / "m.yaml",
    )
    record = json.loads(cli(*words, "--json").out)
    assert record["resolution"] == 224
    assert record["flops"] == pytest.approx(1e9, rel=0.1)
    assert any("8 pixel images" in warning for warning in record["warnings"])


def test_search_finds_what_was_hidden_in_the_errors(study, cli, tmp_path):
    _, folder = study
    words = ("derive", "--flops", "400K", "--from", folder, "--search", 60, "--seed", 3)
    record = json.loads(cli(*words, "--out", tmp_path / "m.yaml", "--json").out)
    assert record["flops"] == pytest.approx(400_000, rel=0.021)
    assert 8 <= record["regnet"]["d"] <= 13
    assert record["provenance"]["searched"] == "RegNetX@8"
    assert any("rank correlation" in step for step in record["steps"])


def test_the_predictor_ranks_models_that_it_has_not_seen():
    rng = np.random.default_rng(5)
    regnets = RegNetParamsBatch(
        d=rng.integers(4, 30, 200),
        w_0=8 * rng.integers(1, 20, 200),
        w_a=rng.uniform(8, 60, 200),
        w_m=rng.uniform(1.5, 3, 200),
        b=rng.choice([1.0, 2.0, 4.0], 200),
        g=rng.choice([1, 2, 4, 8, 16], 200),
    )
    errors = 40 + 5 * np.log(regnets.d / 12) ** 2 + 2 * np.log(regnets.b) + rng.normal(0, 0.1, 200)
    half = np.arange(100)
    predictor = fit_predictor(regnets.take(half), errors[half])
    rest = predictor(regnets.take(half + 100))
    assert np.corrcoef(rest, errors[100:])[0, 1] > 0.95
    assert predictor.skill > 0.9
    noise = fit_predictor(regnets.take(half), rng.normal(0, 1, 100))
    assert abs(noise.skill) < 0.35


@pytest.mark.slow
def test_the_skill_of_a_search_without_a_signal_is_none():
    """Leave-one-out on the residuals that chose the penalty had a mean of -0.63."""
    rng = np.random.default_rng(6)
    skills = []
    for _ in range(80):
        regnets = RegNetParamsBatch(
            d=rng.integers(4, 30, 64),
            w_0=8 * rng.integers(1, 20, 64),
            w_a=rng.uniform(8, 60, 64),
            w_m=rng.uniform(1.5, 3, 64),
            b=rng.choice([1.0, 2.0, 4.0], 64),
            g=rng.choice([1, 2, 4, 8, 16], 64),
        )
        skills.append(fit_predictor(regnets, rng.normal(0, 1, 64)).skill)
    assert abs(np.mean(skills)) <= 0.06


def test_a_space_without_models_of_the_target_is_reported(study, refused, tmp_path):
    words = ("derive", "--from", study[1], "--flops", "256G", "--search", 5)
    text = refused(*words, "--out", tmp_path / "m.yaml")
    assert "nearest seen" in text
    assert "--space searches another space" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"search": 5, "space": "RegNetV@8"},
            "search in space='RegNetV@8' supports RegNet's bottl",
        ),
        ({"search": 5, "rule": "depth"}, "rule is 'depth', which has no effect with search"),
        ({"space": "RegNetX@8"}, "space is 'RegNetX@8', which has no effect without search"),
        ({"seed": 1}, "seed is 1, which has no effect without search"),
    ],
)
def test_options_without_effect_and_spaces_of_other_blocks_are_refused(study, options, message):
    with pytest.raises(InputError, match=message):
        ds.derive(source=study[1], flops="400K", **options)
    with pytest.raises(InputError, match="population is 'a', which has no effect unless source"):
        ds.derive("regnetx", flops="1G", population="a")


def test_search_without_findings_is_refused(refused, tmp_path):
    text = refused(
        "derive",
        "--family",
        "regnety",
        "--flops",
        "1G",
        "--search",
        5,
        "--out",
        tmp_path / "m.yaml",
    )
    assert "source must be findings, or a folder" in text


def test_anynets_give_fitted_parameters(study, tmp_path):
    _, folder = study
    shutil.copytree(folder, tmp_path / "any")
    path = tmp_path / "any" / "summary.json"
    data = json.loads(path.read_text())
    for population in data["populations"]:
        population["family"] = "anynet"
    for best in data["best"]["regnetx"]:
        del best["regnet"]
    path.write_text(json.dumps(data))
    found = read_findings(tmp_path / "any")
    assert found.fitted
    model, steps = found.median_model(None, 0.25)
    assert model.body.num_stages == 4
    assert "fits to the best AnyNets" in steps[0]
    assert found.intervals["d"][1] == pytest.approx(10, abs=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("populations"), "populations: missing"),
        (lambda d: d.update(populations=[]), "populations: must have at least 1"),
        (lambda d: d["best"].clear(), "best.regnetx: no models"),
        (lambda d: d["bootstrap"]["regnetx"].pop("w_m"), "bootstrap.regnetx.w_m: missing"),
        (lambda d: d["best"]["regnetx"][0].update(error="low"), r"best\.regnetx\[0\]\.error"),
        (lambda d: d["bootstrap"]["regnetx"]["w_m"].update(median=0.5), "w_m is 0.5"),
    ],
)
def test_damaged_findings_are_refused(study, tmp_path, change, message):
    _, folder = study
    shutil.copytree(folder, tmp_path / "bad")
    path = tmp_path / "bad" / "summary.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=message):
        read_findings(tmp_path / "bad").median_model(None, 0.0)


def test_a_folder_without_analysis_is_refused(refused, tmp_path):
    text = refused("derive", "--flops", "1G", "--from", tmp_path, "--out", tmp_path / "m.yaml")
    assert "designspace analyze" in text


def test_findings_whose_run_is_gone_take_the_shipped_space(study, tmp_path):
    _, folder = study
    shutil.copytree(folder, tmp_path / "moved")
    path = tmp_path / "moved" / "summary.json"
    data = json.loads(path.read_text())
    data["populations"][0]["path"] = "/nowhere"
    path.write_text(json.dumps(data))
    found = read_findings(tmp_path / "moved")
    assert found.run is None
    assert found.skeleton == Skeleton(8, 10, 8, 1, (1, 2, 2, 2))
    data["populations"][0]["space"] = "mine@8"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="imagenet=True"):
        read_findings(tmp_path / "moved").median_model(None, 0.0)


def test_a_study_may_be_read_from_anywhere_and_moved_whole(study, cli, tmp_path, monkeypatch):
    run, _ = study
    home = tmp_path / "home"
    shutil.copytree(run, home / "runs" / "r")
    monkeypatch.chdir(home)
    assert cli("analyze", "runs/r", "--out", "study/report").code == 0
    home = home.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert read_findings(home / "study" / "report").run == home / "runs" / "r"
    assert cli("refine", home / "study" / "report", "--out", "a.yaml").code == 0
    (home / "runs" / "r" / "space.yaml").unlink()
    assert read_findings(home / "study" / "report").run is None
