"""Refine finds what was planted, keeps still where nothing is, and goes on from turn to turn."""

import json

import numpy as np
import pytest

from designspace.analysis.fits import fit_quantized_linear
from designspace.derive.proposals import Rule
from designspace.derive.refine import refine
from designspace.errors import InputError
from designspace.runs import RunFolder, Trial, TrialState
from designspace.space import Budget, load_space, sample, sample_record

BUDGET = (Budget.parse("flops", "0.7M:1.5M"),)


def study(path, space, error_of, n=160, seed=0):
    """A finished run of a space whose errors follow a planted rule and noise."""
    found = load_space(str(space))
    result = sample(found, n, BUDGET, seed)
    record = sample_record(found, result, BUDGET, seed)
    folder = RunFolder.create(path, {**found.source, "sample": record}, result.population)
    rng = np.random.default_rng(seed)
    errors = 50 + error_of(result.population) + rng.normal(0, 1, n)
    folder.append_trials(
        [
            Trial(result.population.ids[i], i, TrialState.COMPLETE, float(e), (), 1.0, i)
            for i, e in enumerate(errors)
        ]
    )
    return path


def falling_widths(population):
    return 5.0 * (np.diff(population.stages.widths, axis=1) < 0).any(axis=1)


def accepted(refinement):
    return [proposal.claim for proposal in refinement.accepted]


def test_planted_monotone_widths_are_found_and_the_space_has_them(tmp_path):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths)
    found = refine(run, "mine", Rule())
    assert accepted(found) == ["widths that never decrease"]
    assert found.space.monotone == {"w": "increasing"}
    assert found.space.parent == "AnyNetXC@16"
    (tmp_path / "mine.yaml").write_text(found.text())
    again = load_space(str(tmp_path / "mine.yaml"))
    assert again.hash == found.space.hash == load_space("AnyNetXD@16").hash
    evidence = again.source["evidence"]
    assert any(line.startswith("undecided: depths that never decrease") for line in evidence)


def test_sharing_is_accepted_only_within_a_margin_that_the_study_can_show(tmp_path):
    run = study(tmp_path / "run", "AnyNetXA@16", lambda population: 0)
    assert accepted(refine(run, "x", Rule(margin=1.0))) == [
        "one b for all stages",
        "one g for all stages",
    ]
    assert accepted(refine(run, "x", Rule(margin=0.05))) == []


def test_sharing_that_costs_is_not_accepted(tmp_path):
    def alike_is_bad(population):
        b = population.stages.bottleneck_ratios
        return 4.0 * (b.max(axis=1) / b.min(axis=1) < 4)

    found = refine(study(tmp_path / "run", "AnyNetXA@16", alike_is_bad), "x", Rule())
    assert "one b for all stages" not in accepted(found)


def test_nothing_is_proposed_as_better_where_nothing_is_planted(tmp_path):
    wrong = 0
    for seed in range(12):
        run = study(tmp_path / f"run{seed}", "AnyNetXC@16", lambda population: 0, 80, seed)
        wrong += bool(accepted(refine(run, "x", Rule())))
    assert wrong <= 3  # 12 studies at a family-wise level of 5 %: more than 3 has chance 0.2 %


def test_turn_after_turn_it_goes_on_to_the_quantized_linear_rule_and_ranges(tmp_path):
    def falling_depths(population):
        return 5.0 * (np.diff(population.stages.depths, axis=1) < 0).any(axis=1)

    def off_the_rule(population):
        stages = population.stages
        return 20 * fit_quantized_linear(stages.widths, stages.depths).error

    first = refine(study(tmp_path / "a", "AnyNetXD@16", falling_depths), "e", Rule())
    assert accepted(first) == ["depths that never decrease"]
    (tmp_path / "e.yaml").write_text(first.text())
    second = refine(study(tmp_path / "b", tmp_path / "e.yaml", off_the_rule), "r", Rule())
    (tmp_path / "e.yaml").write_text(second.text())
    regnet = load_space(str(tmp_path / "e.yaml"))
    assert regnet.family == "regnet"

    def deep_is_bad(population):
        return 0.5 * np.maximum(0, population.regnets.d - 8.0)

    third = refine(study(tmp_path / "c", tmp_path / "e.yaml", deep_is_bad), "r2", Rule())
    assert third.space.axes["d"].values[-1] < regnet.axes["d"].values[-1]
    assert len(sample(third.space, 20, BUDGET).population) == 20


def test_too_few_models_decide_nothing(tmp_path):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths, n=8)
    found = refine(run, "x", Rule())
    assert found.space is None
    assert {proposal.verdict for proposal in found.proposals} == {"undecided"}


def test_the_command_writes_once_and_says_what_is_wrong(tmp_path, cli, refused):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths)
    out = tmp_path / "mine.yaml"
    outcome = cli("refine", run, "--out", out, "--json")
    record = json.loads(outcome.out)
    assert record["out"] == str(out)
    assert record["proposals"][0]["p"] < 0.05
    assert "exists already" in refused("refine", run, "--out", out)
    assert cli("refine", run, "--out", out, "--force").code == 0
    assert cli("sample", out, "-n", 3, "--out", tmp_path / "next").code == 0
    for words, message in [
        ((tmp_path / "none",), "no run folder"),
        ((run, "--population", "x"), "no summary.json"),
        ((run, "--alpha", 2), "--alpha is 2"),
        ((run, "--margin", 0), "--margin is 0"),
    ]:
        assert message in refused("refine", *words, "--out", tmp_path / "y.yaml")
    assert "must end in .yaml" in refused("refine", run, "--out", tmp_path / "y")


def test_a_study_is_found_by_name(tmp_path, cli, refused):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths, n=40)
    assert cli("analyze", run, "--out", tmp_path / "study").code == 0
    assert cli("refine", tmp_path / "study", "--out", tmp_path / "a.yaml").code == 0
    message = refused(
        "refine", tmp_path / "study", "--population", "rum", "--out", tmp_path / "b.yaml"
    )
    assert "did you mean run" in message
    (tmp_path / "study" / "summary.json").write_text("{}")
    assert "no summary" in refused("refine", tmp_path / "study", "--out", tmp_path / "b.yaml")


def test_a_run_without_trials_is_said(tmp_path):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths, n=4)
    (run / "trials.jsonl").unlink()
    with pytest.raises(InputError, match="no trial yet"):
        refine(run, "x", Rule())


def test_a_planted_group_width_is_fixed_and_none_is_where_none_is_planted(tmp_path):
    def others_are_worse(population):
        return 4.0 * (population.regnets.g != 8)

    run = study(tmp_path / "run", "RegNetX@16", others_are_worse, n=240)
    found = refine(run, "mine", Rule())
    assert "g = 8" in accepted(found)
    assert found.space.axes["g"].values.tolist() == [8]
    same = refine(study(tmp_path / "same", "RegNetX@16", lambda population: 0), "x", Rule())
    assert not any(claim.startswith(("b", "g")) for claim in accepted(same))
