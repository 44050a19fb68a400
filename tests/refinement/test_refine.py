"""refine detects planted constraints, and can be applied repeatedly."""

import json

import numpy as np
import pytest

import designspace as ds
from designspace.analysis.quantized_linear_fit import fit_quantized_linear
from designspace.analysis.summary import summarize
from designspace.errors import InputError
from designspace.refinement.refine import refine
from designspace.runs import Run, Trial, TrialState
from designspace.space import Budget, load_space, sample, sample_record
from designspace.space.sampler import TooFewModels

BUDGET = (Budget.parse("flops", "0.7M:1.5M"),)


def study(path, space, error_of, n=160, seed=0, budgets=BUDGET):
    """A finished run of a space whose errors follow a planted rule and noise."""
    loaded = load_space(str(space))
    result = sample(loaded, n, budgets, seed)
    record = sample_record(loaded, result, budgets, seed)
    folder = Run.create(path, {**loaded.source, "sample": record}, result.population)
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
    return 5.0 * (np.diff(population.bodies.widths, axis=1) < 0).any(axis=1)


def accepted(refinement):
    return [proposal.claim for proposal in refinement.accepted]


def test_planted_monotone_widths_are_found_and_the_space_has_them(tmp_path):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths)
    refined = refine(run, name="mine")
    assert accepted(refined) == ["widths that never decrease"]
    assert refined.space.monotone == {"w": "increasing"}
    assert refined.space.parent == "AnyNetXC@16"
    (tmp_path / "mine.yaml").write_text(refined.text())
    again = load_space(str(tmp_path / "mine.yaml"))
    assert again.hash == refined.space.hash == load_space("AnyNetXD@16").hash
    evidence = again.source["evidence"]
    assert any(line.startswith("undecided: depths that never decrease") for line in evidence)


def test_sharing_is_accepted_only_within_a_margin_that_the_study_can_show(tmp_path):
    run = study(tmp_path / "run", "AnyNetXA@16", lambda population: 0)
    refined = refine(run, name="x", margin=1.0)
    assert accepted(refined) == ["one g for all stages"]
    # A line through models that do not keep it is no evidence: few have one b by chance.
    (ratio,) = [p for p in refined.proposals if p.claim == "one b for all stages"]
    assert ratio.n[0] < 8
    assert "sample a space with this constraint, and compare the two" in ratio.reason
    assert "detectable with 80 % power: " in ratio.evidence
    assert accepted(refine(run, name="x", margin=0.05)) == []


def test_sharing_that_costs_is_not_accepted(tmp_path):
    def alike_is_bad(population):
        b = population.bodies.bottleneck_ratios
        return 4.0 * (b.max(axis=1) / b.min(axis=1) < 4)

    refined = refine(study(tmp_path / "run", "AnyNetXA@16", alike_is_bad), name="x")
    assert "one b for all stages" not in accepted(refined)


def test_repeated_refinement_reaches_the_quantized_linear_rule_and_ranges(tmp_path):
    def falling_depths(population):
        return 5.0 * (np.diff(population.bodies.depths, axis=1) < 0).any(axis=1)

    def off_the_rule(population):
        stages = population.bodies
        return 20 * fit_quantized_linear(stages.widths, stages.depths).error

    first = refine(study(tmp_path / "a", "AnyNetXD@16", falling_depths), name="e")
    assert accepted(first) == ["depths that never decrease"]
    (tmp_path / "e.yaml").write_text(first.text())
    second = refine(study(tmp_path / "b", tmp_path / "e.yaml", off_the_rule), name="r")
    (tmp_path / "e.yaml").write_text(second.text())
    regnet = load_space(str(tmp_path / "e.yaml"))
    assert regnet.family == "regnet"

    def deep_is_bad(population):
        return 0.5 * np.maximum(0, population.regnets.d - 8.0)

    # The name says nothing of a setting any more, and the axes are still those of small images.
    assert regnet.axes["d"].values[-1] == load_space("RegNetX@16").axes["d"].values[-1]
    third = refine(study(tmp_path / "c", tmp_path / "e.yaml", deep_is_bad), name="r2")
    assert third.space.axes["d"].values[-1] < regnet.axes["d"].values[-1]
    drawn = sample(third.space, 20, BUDGET).population
    assert drawn.regnets.d.max() <= third.space.axes["d"].values[-1]


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("AnyNetVE@16", ["d", "w_0", "w_a", "w_m"]),
        ("AnyNetZE@16", ["d", "w_0", "w_a", "w_m", "b", "g"]),
    ],
)
def test_other_blocks_reach_the_quantized_linear_rule_too(tmp_path, name, axes):
    def off_the_rule(population):
        return 40 * fit_quantized_linear(population.bodies.widths, population.bodies.depths).error

    budgets = (Budget.parse("flops", "2M:6M"),)
    refined = refine(study(tmp_path / "run", name, off_the_rule, budgets=budgets), name="r")
    assert "widths that follow the quantized linear rule" in accepted(refined)
    assert refined.space.family == "regnet"
    assert refined.space.block == load_space(name).block
    assert [*refined.space.source["axes"]] == axes
    assert sample(refined.space, 4, budgets).population.regnets is not None


def test_one_axis_gets_one_constraint(tmp_path):
    def b_and_the_rule(population):
        stages = population.bodies
        fit = fit_quantized_linear(stages.widths, stages.depths).error
        return 20 * fit + 3 * np.log2(stages.bottleneck_ratios[:, 0]) + 0.03 * stages.widths[:, 3]

    refined = refine(study(tmp_path / "run", "AnyNetXE@16", b_and_the_rule, 200), name="x")
    claims = [proposal.claim for proposal in refined.accepted]
    assert claims == ["widths that follow the quantized linear rule", "b = 1"]
    replaced = {p.claim.split()[0] for p in refined.proposals if p.reason.startswith("replaced by")}
    assert replaced == {"w", "b"}
    assert refined.space.axes["b"].values.tolist() == [1]


def test_models_of_the_narrower_space_keep_its_constraints(tmp_path):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths, n=200)
    refined = refine(run, name="mine")
    assert set(accepted(refined)) >= {"widths that never decrease"}
    (tmp_path / "mine.yaml").write_text(refined.text())
    space = load_space(str(tmp_path / "mine.yaml"))
    assert space.parent == "AnyNetXC@16"
    stages = sample(space, 50, BUDGET).population.bodies
    assert (np.diff(stages.widths, axis=1) >= 0).all()


def test_a_constraint_that_leaves_no_model_in_the_budget_is_rejected(tmp_path, monkeypatch):
    def none_left(*words):
        raise TooFewModels("no model found")

    monkeypatch.setattr("designspace.refinement.refine.sample", none_left)
    refined = refine(study(tmp_path / "run", "AnyNetXC@16", falling_widths), name="x")
    assert refined.space is None
    assert refined.proposals[0].verdict == "rejected"
    assert "would leave no models" in refined.proposals[0].reason


def test_too_few_models_decide_nothing(tmp_path):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths, n=8)
    refined = refine(run, name="x")
    assert refined.space is None
    assert {proposal.verdict for proposal in refined.proposals} == {"undecided"}


def test_the_command_never_overwrites_and_reports_mistakes(tmp_path, cli, refused):
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
        ((run, "--alpha", 2), "alpha is 2"),
        ((run, "--margin", 0), "margin is 0"),
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


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"populations": []}', '{"populations": [{"name": 3}]}', "9" * 5000],
)
def test_a_broken_summary_has_one_remedy_everywhere(tmp_path, refused, text):
    (tmp_path / "summary.json").write_text(text)
    said = refused("refine", tmp_path, "--out", tmp_path / "b.yaml")
    assert "summary.json: " in said
    assert "run `designspace analyze` again" in said
    words = ("--from", tmp_path, "--flops", "1G", "--out", tmp_path / "m.yaml")
    assert refused("derive", *words) == said
    assert refused("export", tmp_path, "--best", 1, "--out", tmp_path / "x") == said


def test_a_study_that_can_not_be_refined_is_refused(tmp_path, refused):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths, n=4)
    for name, message in [("bad name", "name: "), ("AnyNetXC@16", "name of the studied space")]:
        with pytest.raises(InputError, match=message):
            refine(run, name=name)
    folder = Run.open(run)
    folder.trials_file.unlink()
    with pytest.raises(InputError, match=r"no completed trial.* 4 missing"):
        refine(run, name="x")
    folder.append_trials(
        [
            Trial(id_, i, TrialState.FAILED, None, (), 1.0, i)
            for i, id_ in enumerate(folder.population().ids)
        ]
    )
    with pytest.raises(InputError, match=r"no completed trial.* 4 failed"):
        refine(run, name="x")
    out = tmp_path / "y.yaml"
    (tmp_path / "empty").mkdir()
    assert "has no summary.json" in refused("refine", tmp_path / "empty", "--out", out)
    assert not out.exists()


def test_a_study_whose_run_is_gone_is_not_refined(study, tmp_path, refused):
    summary = json.loads((study[1] / "summary.json").read_text())
    summary["populations"][0]["path"] = str(tmp_path / "moved")
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert "which does not exist" in refused("refine", tmp_path, "--out", tmp_path / "y.yaml")


def test_an_import_is_not_refined_as_networks_of_another_block(tmp_path, refused):
    rows = [f"{30 + i % 7},1,1,2,2,8,16,24,{32 + 8 * (i % 4)}" for i in range(30)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["error,d1,d2,d3,d4,w1,w2,w3,w4", *rows]))
    ds.import_results(table, out=tmp_path / "imported", input="@8")
    words = ("refine", tmp_path / "imported", "--out", tmp_path / "narrower.yaml", "--space")
    message = refused(*words, "ConvNeXt-like@8")
    assert "ConvNeXt-like@8 is of convnext blocks" in message
    assert "described as networks of bottleneck blocks" in message


def saved(findings, folder):
    """The folder of findings without figures and tables, which take seconds."""
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summarize(findings).to_dict()))
    return folder


@pytest.fixture
def analyzed(tmp_path):
    """Findings of two runs and their folder, and a third run that they are not about."""
    runs = []
    for seed, name in enumerate(("one", "two", "other")):
        run = ds.sample("RegNetX@8", n=8, flops="150K:260K", seed=seed, out=tmp_path / name)
        for i in range(8):
            run.record(i, error=10.0 + i)
        runs.append(run)
    findings = ds.analyze(runs[:2])
    return findings, saved(findings, tmp_path / "report"), runs


def test_a_population_is_one_of_the_findings(analyzed, tmp_path, monkeypatch):
    findings, folder, (_, two, other) = analyzed
    monkeypatch.chdir(tmp_path)  # in which there are folders of all three names
    for study in (findings, folder):
        for population in ("two", two, two.path, str(two.path)):
            assert ds.refine(study, population).run == two.path
        for population in ("other", other, other.path):
            with pytest.raises(InputError, match=r"has no population '.*other'; "):
                ds.refine(study, population)
        with pytest.raises(InputError, match="population has int; it must be a run or the path"):
            ds.refine(study, 5)


def test_the_models_are_those_that_the_findings_count(analyzed, tmp_path):
    _, _, runs = analyzed
    gaps = ds.sample("RegNetX@8", n=8, flops="150K:260K", seed=4, out=tmp_path / "gaps")
    for i in (0, 1, 3, 4, 5, 6, 7):
        gaps.record(i, error=10.0 + i)
    for options, models, sampled in (
        ({"runs": runs, "first": 4}, 4, 4),
        ({"runs": gaps}, 2, 8),
        ({"runs": gaps, "all_finished": True}, 7, 8),
        ({"runs": gaps, "all_finished": True, "first": 6}, 5, 6),
    ):
        findings = ds.analyze(**options)
        for study in (findings, saved(findings, tmp_path / "part")):
            refined = ds.refine(study)
            assert (refined.models, refined.sampled) == (models, sampled)
            assert findings.populations[0].edf.n == models


def test_a_file_is_replaced_by_force_and_that_of_a_run_never(tmp_path, refused):
    run = study(tmp_path / "run", "AnyNetXC@16", falling_widths)
    refined, out, sealed = refine(run, name="mine"), tmp_path / "mine.yaml", run / "space.yaml"
    refined.save(out)
    out.write_text("edited: by hand")
    with pytest.raises(InputError, match="exists already; choose another path, or pass force=True"):
        refined.save(out)
    assert "or pass --force" in refused("refine", run, "--out", out)
    assert out.read_text() == "edited: by hand"
    refined.save(out, force=True)
    assert load_space(str(out)).hash == refined.space.hash
    before = sealed.read_text()
    for force in (False, True):
        with pytest.raises(InputError, match="is the space file of a run"):
            refined.save(sealed, force=force)
    assert "is the space file of a run" in refused("refine", run, "--out", sealed, "--force")
    assert sealed.read_text() == before
