"""Each verb that is shown another verb's folder says what it is and what to do with it."""

import json
import shutil

import pytest
from small import SMALL

import designspace as ds
from designspace.analysis.headline import narrate
from designspace.pretraining.pretrain_run import DataStamp, PretrainRun
from designspace.pretraining.recipe import load_recipe

DATA = DataStamp(source="digits", images=300, content="x", mean=[1.0] * 3, std=[1.0] * 3, seed=0)


@pytest.fixture
def trunk(tmp_path):
    run = PretrainRun(tmp_path / "trunk")
    run.begin(SMALL, load_recipe("quick").override(epochs=3), DATA)
    run.append_steps([{"iteration": 1, "loss": 4.5, "lr": 0.1}])
    return run.path


def test_status_shows_pretrainings_and_several_runs(cli, study, trunk):
    run, _ = study
    outcome = cli("status", run, trunk)
    assert "regnetx: 40 models: 40 complete\nfinished" in outcome.out
    assert "trunk: pretraining of small by quick, not running" in outcome.out
    both = json.loads(cli("status", run, trunk, "--json").out)
    assert (both[0]["complete"], both[1]["iteration"]) == (40, 1)
    first, second = ds.status([ds.load_run(run), trunk])
    assert (first.n, second.loss) == (40, 4.5)
    assert ds.status(str(trunk))[0].epochs == 3
    assert not first.running
    assert not second.running


def test_a_pretraining_is_neither_analyzed_nor_trained(refused, trunk):
    for verb in ("analyze", "train"):
        assert f"`designspace evaluate {trunk}`" in refused(verb, trunk)


def test_a_table_is_imported_first(refused, tmp_path):
    (tmp_path / "table.csv").write_text("model,error\na,1\n")
    assert "`designspace import` reads a table" in refused("analyze", tmp_path / "table.csv")


def test_findings_and_imports_are_no_runs(refused, cli, study, tmp_path):
    _, findings = study
    assert "name the runs that it was made from" in refused("analyze", findings)
    (tmp_path / "table.csv").write_text("model,error\na,1\nb,2\n")
    assert cli("import", tmp_path / "table.csv", "--out", tmp_path / "theirs").code == 0
    assert "have no models to train" in refused("train", tmp_path / "theirs")


def test_derive_from_a_run_leads_to_its_findings_and_models(refused, study, tmp_path):
    run, _ = study
    message = refused("derive", "--from", run, "--flops", "200K", "--out", tmp_path / "m.yaml")
    assert "is a run folder, not findings: analyze it" in message
    assert f"such as {run}:best" in message


def test_a_pretraining_never_overwrites_a_run(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: quick\n")
    with pytest.raises(ds.InputError, match="a run folder; pass another folder"):
        PretrainRun(tmp_path).begin(SMALL, load_recipe("quick"), DATA)


def test_printed_commands_quote_paths(refused, cli, study, tmp_path):
    run, _ = study
    spaced = tmp_path / "my run"
    shutil.copytree(run, spaced)
    message = refused("derive", "--from", spaced, "--flops", "200K", "--out", tmp_path / "m.yaml")
    assert f"such as '{spaced}:best'" in message
    (spaced / "trials.jsonl").unlink()
    assert f"`designspace train '{spaced}'`" in refused("export", spaced, "--best", 1, "--out", "x")
    assert f"`designspace train '{spaced}'`" in refused("refine", spaced, "--out", "x.yaml")
    (tmp_path / "table.csv").write_text("model,error\na,1\nb,2\n")
    folder = tmp_path / "their results"
    printed = cli("import", tmp_path / "table.csv", "--out", folder).out
    assert f"`designspace analyze '{folder}' --out '{folder}/report'`" in printed
    (folder / "model.yaml").write_text("")
    (folder / "recipe.yaml").write_text("")
    assert f"`designspace status '{folder}'`" in refused("train", folder)


def test_one_of_a_thing_is_singular(cli, tmp_path):
    words = ("sample", "RegNetX@8", "-n", 1, "--flops", "180K:220K", "--out", tmp_path / "one")
    assert "\n1 model in " in cli(*words).out
    run = ds.load_run(tmp_path / "one")
    assert repr(ds.sample("RegNetX@8", n=1)).startswith("Population of 1 model of RegNetX@8")
    with pytest.raises(ds.InputError, match="of 1 model: 0 complete"):
        ds.refine(run)
    run.record(0, error=10.0)
    printed = cli("refine", run.path, "--out", tmp_path / "mine.yaml").out
    assert "one): 1 model, family-wise level" in printed
    assert "of 1 models" not in printed
    assert "over 1 model, the best" in narrate(ds.analyze(run)).sentences[0]


def test_results_do_not_go_into_a_run_folder(refused, cli, tmp_path):
    run = ds.sample("RegNetX@8", n=4, flops="180K:220K", out=tmp_path / "run")
    for index in range(4):
        run.record(index, error=30 - index)
    before = sorted(path.name for path in run.path.iterdir())
    model = run.model(0).save(tmp_path / "m.yaml")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("{}")
    for words in (
        ("analyze", run.path),
        ("export", model, "--to", "pycls"),
        ("export", run.path, "--best", 1, "--to", "pycls"),
        ("measure", model, "--time-limit", 0.01),
        ("pretrain", model, "--data", "digits", "--recipe", "quick"),
    ):
        message = refused(*words, "--out", run.path)
        assert f"--out: {run.path} is a run folder" in message, words
    assert sorted(path.name for path in run.path.iterdir()) == before


def test_the_journal_of_a_run_counts_whatever_lies_beside_it(tmp_path):
    run = ds.sample("RegNetX@8", n=3, flops="180K:220K", out=tmp_path / "run")
    for index in range(2):
        run.record(index, error=30 - index)
    findings = ds.analyze(run, all_finished=True).save(tmp_path / "findings")
    shutil.copy(findings.parent / "summary.json", run.path)
    run.record(2, error=1)
    exports = ds.export_best(run, 1, "pycls", tmp_path / "best")
    assert [one.model.name for one in exports] == ["run-2"]
    run.model(0).save(run.path / "model.yaml")
    assert len(ds.measure(run, limit=2, time_limit=0.01)) == 2


def test_a_population_does_not_go_where_something_else_is(refused, trunk, tmp_path):
    """It would lock the pretraining out of its own folder."""
    (tmp_path / "table.csv").write_text("model,error\na,1\nb,2\n")
    theirs = ds.import_results(tmp_path / "table.csv", tmp_path / "in")
    assert len(theirs.ids) == 2
    findings = ds.analyze(tmp_path / "in").save(tmp_path / "findings").parent
    for folder, what in (
        (trunk, "a pretraining"),
        (tmp_path / "in", "imported results"),
        (findings, "findings"),
    ):
        words = ("sample", "RegNetX@8", "-n", 2, "--flops", "180K:220K", "--out", folder)
        assert f"--out: {folder} holds {what}, not a run" in refused(*words)
        assert not (folder / "population.jsonl").exists()
    run = ds.sample("RegNetX@8", n=2, flops="180K:220K", out=tmp_path / "run")
    with pytest.raises(ds.InputError, match="holds a pretraining, not a run"):
        ds.merge([run], trunk)
    with pytest.raises(ds.InputError, match="holds a pretraining"):
        ds.import_results(tmp_path / "table.csv", trunk)
    with pytest.raises(ds.InputError, match="imported results; pass another folder"):
        PretrainRun(tmp_path / "in").begin(SMALL, load_recipe("quick"), DATA)
    assert PretrainRun(trunk).recipe().epochs == 3


def test_paths_in_messages_stay_as_they_are(refused, tmp_path):
    """Folders are often named after settings: results/seed=1/lr=0.1."""
    folder = tmp_path / "seed=1" / "lr=0.1"
    assert f"no run folder {folder};" in refused("train", folder, "--data", "digits")
    swept = tmp_path / "multirun" / "lr=3,seed=1"
    assert f"no run folder {swept};" in refused("train", swept, "--data", "digits")
    run = ds.sample("RegNetX@8", n=2, flops="180K:220K", out=folder)
    words = ("--data", f"folder:{tmp_path}/epochs=3", "--recipe", "quick")
    message = refused("train", run.path, *words)
    assert f"{tmp_path}/epochs=3" in message


def test_derive_looks_at_its_output_first(refused, tmp_path):
    other = tmp_path / "space.yaml"
    other.write_text("x: 1\n")
    words = ("derive", "--from", "RegNetX-400MF", "--flops", "no number", "--out")
    assert "exists and is not a model file" in refused(*words, other)
    assert "flops" in refused(*words, tmp_path / "new" / "model.yaml")
    assert not (tmp_path / "new").exists()
    assert f"{other} is a file" in refused(*words, other / "model.yaml")


def test_each_kind_of_figure_has_a_file_of_its_own(cli, study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, _ = study
    for kind in ("edf", "best-of-k"):
        assert cli("plot", kind, run).code == 0
        assert (tmp_path / f"{kind}.pdf").is_file()
