"""A model of a run wherever a verb takes a model: RUN:INDEX and RUN:best."""

import json

import yaml

from designspace.runs import Run


def test_any_verb_takes_a_model_of_a_run(cli, study, tmp_path):
    run, _ = study
    folder = Run.open(run)
    best = min(folder.trials(), key=lambda trial: trial.error)
    population = folder.population()
    counted = json.loads(cli("complexity", f"{run}:best", "--json").out)
    assert counted["flops"] == int(population.cost.flops[best.index])
    assert counted["depths"] == population.bodies.depths[best.index].tolist()
    assert json.loads(cli("complexity", f"{run}:{best.index}", "--json").out) == counted
    out = tmp_path / "big.yaml"
    assert cli("derive", "--from", f"{run}:3", "--scale", "4", "--out", out).code == 0
    made = yaml.safe_load(out.read_text())
    assert made["provenance"]["parent"].endswith("-3")
    assert cli("export", f"{run}:3", "--out", tmp_path / "x").code == 0
    written = yaml.safe_load((tmp_path / "x" / "model.yaml").read_text())
    assert written["provenance"]["id"] == population.ids[3]
    assert written["provenance"]["seed"] == "0"


def test_models_of_runs_are_gathered(cli, study, tmp_path):
    run, _ = study
    assert cli("gather", f"{run}:0", f"{run}:5", "--out", tmp_path / "two").code == 0
    ids = Run.open(run).population().ids
    assert Run.open(tmp_path / "two").population().ids == (ids[0], ids[5])


def test_mistakes_are_explained(cli, refused, study, tmp_path):
    run, _ = study
    assert "has models 0 to 39" in refused("complexity", f"{run}:40")
    assert f"name one: {run}:0 to {run}:39" in refused("complexity", f"{run}:worst")
    assert "is not a run folder" in refused("complexity", f"{tmp_path}:1")
    cli("sample", "RegNetX@8", "-n", 2, "--out", tmp_path / "new")
    assert "no model has a complete trial yet" in refused("complexity", f"{tmp_path}/new:best")
