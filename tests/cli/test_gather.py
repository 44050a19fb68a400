"""`designspace gather`: networks that are named become a run as sampled ones do."""

import json

import pytest

import designspace as ds

MODEL = """name: {name}
input: {{resolution: 8, classes: 10, stem_width: 8, stem_stride: 1, strides: [1, 2]}}
stages: {{depths: [1, {depth}], widths: [8, 16], bottleneck_ratios: [1, 1], group_widths: [8, 8]}}
"""


@pytest.fixture
def models(tmp_path):
    """Two model files that differ in depth."""
    for depth, name in ((1, "one"), (2, "two")):
        (tmp_path / f"{name}.yaml").write_text(MODEL.format(name=name, depth=depth))
    return tmp_path / "one.yaml", tmp_path / "two.yaml"


def test_named_networks_are_trained_and_compared_as_a_population_is(cli, models, tmp_path):
    run = tmp_path / "run"
    made = json.loads(cli("gather", *models, "--out", run, "--json").out)
    assert made["models"] == ["one", "two"]
    lines = [json.loads(line) for line in (run / "population.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == made["ids"]
    assert [line["arch"]["depths"] for line in lines] == [[1, 1], [1, 2]]
    cost = json.loads(cli("complexity", models[1], "--json").out)
    assert lines[1]["flops"] == cost["flops"]
    words = ("--data", "digits", "--recipe", "quick", "--epochs", 1, "--jobs", 1)
    trained = cli("train", run, *words, "--cache", tmp_path / "home")
    assert trained.out == "2 of 2 models: 2 complete\n"
    assert "run: [" in cli("analyze", run, "--out", tmp_path / "report").out
    assert "one, two" in (run / "space.yaml").read_text()
    # The same again changes nothing; another set of networks does not go into this folder.
    assert cli("gather", *models, "--out", run).code == 0
    assert "holds another population" in cli("gather", models[0], "--out", run).err


def test_published_networks(cli, tmp_path):
    outcome = cli("gather", "RegNetX-200MF", "RegNetY-200MF", "--out", tmp_path / "run")
    assert outcome.out.endswith(f"2 models in {tmp_path / 'run' / 'population.jsonl'}\n")
    assert '"regnet"' in (tmp_path / "run" / "population.jsonl").read_text()


def test_models_that_cannot_be_gathered(refused, models, tmp_path):
    out = ("--out", tmp_path / "run")
    assert "are the same network" in refused("gather", models[0], models[0], *out)
    assert "one and RegNetX-200MF differ in input" in refused(
        "gather", "RegNetX-200MF", models[0], *out
    )
    assert "RegNetX-200MF" in refused("gather", "RegNetX-200M", *out)
    with pytest.raises(ds.InputError, match="pass a list of models"):
        ds.gather("RegNetX-200MF", tmp_path / "run")
