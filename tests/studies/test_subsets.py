"""Populations of which a study trains some models: drawn once, and judged on those alone."""

import json
from pathlib import Path

import pytest

import designspace as ds
from designspace.studies.study_file import load_study_file
from designspace.studies.subset import choose_models

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
# Of numpy's permutation of 8 with seed 0, the first three; of 4 they are 0, 1 and 2.
RANDOM = {"few": {"same_as": "x", "epochs": 2, "models": {"random": 3}}}
GROWS = [
    {"populations": ["a", "x", "few"], "n": 4},
    {"populations": ["a", "x", "few"], "n": 8},
]


def indices(run):
    return [trial.index for trial in ds.load_run(run).trials()]


def summary(study, report):
    text = (study.folder / report / "summary.json").read_text()
    return {population["name"]: population for population in json.loads(text)["populations"]}


def test_steps_that_grow_a_population_draw_its_random_models_once(load, train):
    study = load(RANDOM, steps=GROWS, reports={"r": {"populations": ["few"]}})
    study.run(progress=False)
    assert indices(study.folder / "few") == [2, 3, 4]
    assert summary(study, "r")["few"]["counted"] == 3


def test_listed_models_may_lie_beyond_the_first_step(load, train):
    models = {"few": {"same_as": "x", "seed": 1, "models": {"indices": "1,6"}}}
    study = load(models, steps=GROWS)
    study.run(progress=False)
    assert indices(study.folder / "few") == [1, 6]


def test_trials_of_other_models_are_left_out_of_reports_with_a_note(load, train):
    """As of a journal in which an earlier version drew twice."""
    claims = [{"claim": "c", "kind": "better", "first": "x", "second": "few", "paired": True}]
    reports = {"r": {"populations": ["x", "few"], "claims": claims}}
    study = load(RANDOM, reports=reports)
    study.run(only="train", progress=False)
    run = ds.load_run(study.folder / "few")
    for index in (0, 1):
        run.record(index, 99.0, split="held-out")
    study.run(progress=False)
    assert summary(study, "r")["few"]["counted"] == 3
    assert study.verdicts()[0].n == (3,)
    page = (study.folder / "r" / "index.html").read_text()
    assert "2 trials are left out: of models that the study&#39;s file does not choose." in page
    assert study.plan().populations[2].trained == 3


def test_n_of_a_claim_counts_the_chosen_models(load, train):
    claims = [
        {"claim": "c", "kind": "better", "first": "x", "second": "few", "n": 3, "paired": True},
        {"claim": "d", "kind": "better", "first": "a", "second": "few", "n": 2},
    ]
    study = load(RANDOM, reports={"r": {"populations": ["a", "x", "few"], "claims": claims}})
    study.run(progress=False)
    assert [verdict.n for verdict in study.verdicts()] == [(3,), (2, 2)]
    page = (study.folder / "r" / "index.html").read_text()
    assert "not testable" not in page


def test_a_report_waits_for_the_chosen_models_not_for_as_many(load, train):
    study = load(RANDOM, reports={"r": {"populations": ["few"]}})
    study.run(only="train", progress=False)
    (study.folder / "few" / "trials.jsonl").unlink()
    run = ds.load_run(study.folder / "few")
    for index in (2, 3, 5):
        run.record(index, 50.0 + index, split="held-out")
    study.run(only="report", progress=False)
    assert not (study.folder / "r").exists()


def test_the_kept_journals_are_of_the_models_that_the_reference_study_chooses():
    """Also where two models have one error: an earlier script took the other one."""
    file = load_study_file(REFERENCE / "study.yaml")
    names = [f"long/{run}" for run in ("anynetxa", "regnetx")]
    names += [f"seeds/{run}-{seed}" for run in ("anynetxa", "regnetx") for seed in (1, 2)]
    for name in names:
        assert list(choose_models(file, name, REFERENCE)) == indices(REFERENCE / name), name


def test_of_models_with_one_error_those_are_chosen_that_are_trained(load, train):
    few = {"few": {"same_as": "x", "seed": 1, "models": {"spread": 3}}}
    study = load(few)
    study.run(only="train", progress=False)
    x = ds.load_run(study.folder / "x")
    x.trials_file.unlink()
    for index, error in enumerate([50, 60, 60, 60, 60, 60, 60, 70]):
        x.record(index, error, split="held-out")
    few_run = ds.load_run(study.folder / "few")
    few_run.trials_file.unlink()
    assert list(choose_models(study.file, "few", study.folder)) == [0, 1, 7]
    few_run.record(5, 61.0, seed=1, split="held-out")
    assert list(choose_models(study.file, "few", study.folder)) == [0, 5, 7]


@pytest.mark.parametrize(
    ("again", "compared"),
    [({"epochs": 2}, 8), ({"epochs": 2, "models": {"indices": "1-6"}}, 6)],
    ids=["all", "chosen"],
)
def test_an_agreement_waits_for_the_models_that_it_compares(load, train, again, compared):
    study = load({"again": {"same_as": "x", **again}}, agreements={"r/a.json": ["x", "again"]})
    study.run(only="train", progress=False)
    x, journal = (study.folder / name / "trials.jsonl" for name in ("x", "again"))
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text(lines[0])
    study.run(only="report", progress=False)
    assert not (study.folder / "r").exists()
    journal.write_text("".join(lines))
    # Of x only the models that are compared must be there.
    if compared == 6:
        x.write_text("".join(x.read_text().splitlines(keepends=True)[1:7]))
    study.run(only="report", progress=False)
    agreement = json.loads((study.folder / "r" / "a.json").read_text())
    assert agreement["schedules"][0]["n"] == compared


def test_a_claim_without_all_populations_of_its_report_keeps_those_about_a_parameter(load, train):
    trend = {"kind": "trend", "population": "x", "parameter": "d", "error": "falls", "claim": "t"}
    comparison = {"kind": "better", "first": "a", "second": "x", "claim": "b"}
    reports = {"r": {"populations": ["a", "x"], "claims": [trend, comparison]}}
    study = load(reports=reports)
    study.run(only="train", progress=False)
    (study.folder / "a" / "trials.jsonl").unlink()
    study.run(only="report", progress=False)
    verdicts = {verdict.claim: verdict.verdict for verdict in study.verdicts()}
    assert verdicts.keys() == {"t", "b"}
    assert verdicts["t"] is not None
    assert verdicts["b"] is None
    assert summary(study, "r").keys() == {"x"}
