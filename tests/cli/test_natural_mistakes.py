"""Natural mistakes are named where they were made."""

import pandas as pd
import pytest

import designspace as ds


@pytest.fixture
def run(tmp_path):
    return ds.sample("RegNetX@8", n=4, flops="180K:220K", out=tmp_path / "a")


def test_a_run_is_no_model(run, refused, tmp_path):
    for text in (str(run.path), f"{run.path}:-1", f"{run.path}:Best"):
        message = refused("complexity", text)
        assert f"is a run of 4 models; name one: {run.path}:0 to {run.path}:3" in message
    (tmp_path / "empty").mkdir()
    assert "a folder without a model" in refused("complexity", tmp_path / "empty")


def test_an_empty_path_is_not_the_working_folder(run, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ds.InputError, match="out is empty"):
        ds.sample("RegNetX@8", n=2, flops="180K:220K", out="")
    with pytest.raises(ds.InputError, match="out is empty"):
        ds.merge([run], "")
    assert not list((tmp_path / "here").iterdir())


def test_a_table_or_a_map_is_no_list_of_runs(run):
    for wrong in (pd.DataFrame({"id": [1]}), {"a": run}):
        with pytest.raises(ds.InputError, match=f"runs is a {type(wrong).__name__}"):
            ds.analyze(wrong)


def test_runs_without_trials_have_no_front(run, refused, tmp_path):
    message = refused("export", run.path, "--pareto", "--to", "pycls", "--out", tmp_path / "out")
    assert "no model of a has been trained yet" in message


def test_other_models_have_no_agreement(refused, tmp_path):
    for name, space in (("x", "RegNetX@8"), ("y", "RegNetY@8")):
        run = ds.sample(space, n=3, flops="180K:220K", out=tmp_path / name)
        for index in range(3):
            run.record(index, error=30 + index)
    assert "are they of one population?" in refused("agree", tmp_path / "x", tmp_path / "y")


def test_lists_may_have_commas(run, cli, tmp_path):
    for index in range(4):
        run.record(index, error=30 + index)
    words = ("--figures", "svg, pdf", "--against", "flops,params")
    left = tmp_path / "report" / "tables" / "edf_normalized.csv"  # of an earlier report
    left.parent.mkdir(parents=True)
    left.write_text("population,error\n")
    assert cli("analyze", run.path, "--out", tmp_path / "report", *words).code == 0
    files = {path.suffix for path in (tmp_path / "report" / "figures").iterdir()}
    assert files == {".svg", ".pdf"}
    assert not left.exists()


def test_derive_names_its_options(refused, tmp_path):
    message = refused("derive", "--flops", "200M", "--out", tmp_path / "d.yaml")
    assert "pass --from, a model or a findings folder, or --family and a target" in message


def test_a_conversion_replaces_nothing_unasked(refused, cli, tmp_path):
    (tmp_path / "sweep.yaml").write_text(
        "NAME: s\nSETUP:\n  NUM_CONFIGS: 4\n"
        "  SAMPLERS: {REGNET: {TYPE: regnet_sampler, DEPTH: [6, 16]}}\n"
        "  CONSTRAINTS: {REGNET: {NUM_STAGES: [2, 2]}, CX: {FLOPS: [12.0e+7, 13.0e+7]}}\n"
        "  BASE_CFG:\n    MODEL: {TYPE: regnet, NUM_CLASSES: 10}\n"
        "    REGNET: {STEM_TYPE: res_stem_cifar, STEM_W: 16}\n"
        "    TRAIN: {DATASET: cifar10, IM_SIZE: 32, BATCH_SIZE: 128}\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "study.yaml").write_text("name: precious\n")
    words = ("convert", tmp_path / "sweep.yaml", "--out", out)
    assert "already has study.yaml" in refused(*words)
    assert [path.name for path in out.iterdir()] == ["study.yaml"]
    assert cli(*words, "--force").code == 0
    assert "precious" not in (out / "study.yaml").read_text()
