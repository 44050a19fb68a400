"""`until="decided"` extends what can decide a claim, and the reports keep what the file states."""

import json
from functools import partial

import pytest
import yaml

import designspace as ds
from designspace.space import sample_prefix


def better(first, second, **more):
    return {
        "claim": f"{second} beats {first}",
        "kind": "better",
        "first": first,
        "second": second,
        **more,
    }


def trained(folder, *names):
    return [len(ds.load_run(folder / name).trials()) for name in names]


SUBSETS = {
    "few": {"same_as": "x", "epochs": 2, "models": {"indices": "1-5"}},
    "others": {"same_as": "x", "epochs": 3, "models": {"indices": "3-7"}},
}


def test_claims_about_chosen_models_do_not_extend_populations(load, train, tmp_path, capsys):
    claims = [better("x", "few", paired=True), better("a", "y")]
    study = load(
        {**SUBSETS, "y": {"space": "RegNetY@8"}},
        reports={"r": {"populations": ["a", "x", "y", "few"], "claims": claims}},
        extension={"n": 11, "batch": 2},
    )
    study.run(until="decided")
    assert trained(tmp_path, "a", "y", "x", "few") == [11, 11, 8, 5]
    assert capsys.readouterr().err.splitlines() == [
        "not extended: few beats x: the models of few are fixed",
        "not extended any further: a, y have as many models as the file allows",
    ]


def test_claims_about_a_parameter_are_said_not_to_be_extended(load, train, capsys):
    trend = {"kind": "trend", "population": "x", "parameter": "d", "error": "falls"}
    claims = [better("a", "x"), {"claim": "Deeper is better", **trend}]
    reports = {"r": {"populations": ["a", "x"], "claims": claims}}
    load(reports=reports, extension={"n": 8}).run(only="train", until="decided")
    why = "it is about a parameter, not about two populations"
    assert capsys.readouterr().err.startswith(f"not extended: Deeper is better: {why}\n")


def test_until_decided_needs_a_claim_about_two_populations_that_can_grow(load, train):
    rounds = [{"population": "x", "findings": "f", "space": "loop/one.yaml"}]
    claims = [better("x", "few"), better("x", "one")]
    reports = {"r": {"populations": ["x", "few", "loop/one"], "claims": claims}}
    study = load(SUBSETS, reports=reports, refinements=rounds)
    with pytest.raises(ds.InputError, match="no claim has two that can grow: 'few beats x' is abo"):
        study.run(until="decided", progress=False)
    assert train.trained == []


def test_models_that_both_sides_chose_are_pairs(load, train):
    claims = [better("few", "others", paired=True), better("x", "few", paired=True)]
    reports = {"r": {"populations": ["x", "few", "others"], "claims": claims}}
    study = load(SUBSETS, reports=reports)
    study.run(progress=False)
    assert [verdict.pairs for verdict in study.sequential_verdicts()["r"]] == [3, 5]
    assert [verdict.n for verdict in study.verdicts()] == [(3,), (5,)]


def test_a_report_without_n_counts_the_files_number_once_populations_are_extended(load, train, cli):
    reports = {"r": {"populations": ["a", "x"], "claims": [better("a", "x")]}}
    study = load(n=4, reports=reports, extension={"n": 7, "batch": 3})
    study.run(until="decided", progress=False)
    assert trained(study.folder, "a", "x") == [7, 7]
    words = ("study", study.path, "--until", "decided")
    assert "r: x beats a: undecided, valid at any time (7 pairs)\n" in cli(*words).out
    (verdict,) = json.loads(cli(*words, "--dry-run", "--json").out)["sequential"]["r"]
    assert (verdict["pairs"], verdict["low"]) == (7, None)
    assert study.verdicts()[0].n == (4, 4)
    summary = json.loads((study.folder / "r" / "summary.json").read_text())
    assert [population["n"] for population in summary["populations"]] == [4, 4]


def test_a_space_with_few_models_is_extended_as_far_as_it_goes(load, train, monkeypatch):
    # Depths 1 or 2 in four stages: sixteen models.
    space = dict(ds.load_space("AnyNetXA@8").source)
    space |= {"name": "small", "parent": None, "share": ["w", "b", "g"]}
    values = {"d": [1, 2], "w": [8], "b": [1], "g": [8]}
    space["axes"] = {k: {"distribution": "choice", "values": v} for k, v in values.items()}
    monkeypatch.setattr(
        "designspace.studies.train_study.sample_prefix",
        partial(sample_prefix, max_candidates=10_000),
    )
    study_file = {"small": {"space": "small.yaml", "budget": {"flops": "1:100M"}, "n": 8}}
    claims = [better("a", "small"), better("a", "x")]
    reports = {"r": {"populations": ["a", "x", "small"], "claims": claims}}
    folder = load().folder
    (folder / "small.yaml").write_text(yaml.safe_dump(space))
    study = load(study_file, reports=reports, extension={"n": 20, "batch": 12})
    study.run(until="decided", progress=False)
    assert trained(folder, "small", "a", "x") == [16, 20, 20]
    assert study.verdicts()[0].n == (8, 8)


def test_no_model_is_added_once_the_partner_of_a_population_cannot_grow(load, train, monkeypatch):
    """A pair needs two models: with 10 of one, more than 10 of the other decide nothing."""

    def prefix(space, n, budgets, seed):
        return sample_prefix(
            space, min(n, 10) if space.name.startswith("RegNet") else n, budgets, seed
        )

    monkeypatch.setattr("designspace.studies.train_study.sample_prefix", prefix)
    reports = {"r": {"populations": ["a", "x"], "claims": [better("a", "x")]}}
    study = load(reports=reports, extension={"n": 40, "batch": 4})
    study.run(until="decided", progress=False)
    assert trained(study.folder, "a", "x") == [10, 10]


def test_a_step_trains_no_more_models_than_it_states(load, train):
    study = load(steps=[{"populations": ["a", "x"], "n": 4}])
    ds.sample("AnyNetXA@8", 8, flops="180K:220K", out=study.folder / "a")
    study.run(progress=False)
    assert [len(ds.load_run(study.folder / name).trials()) for name in "ax"] == [4, 4]
