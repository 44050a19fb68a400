"""Claims that no report could judge as they are stated are refused when the study is loaded."""

import pytest

import designspace as ds
from designspace.arch.parameter_columns import parameters
from designspace.studies.claim_parameters import parameter_names
from designspace.studies.toggle import toggled

SILU = {"same_as": "x", "toggle": {"activation": "silu"}}
POPULATIONS = {
    "silu": SILU,
    "few": {**SILU, "models": {"random": 4}},
    "again": {"same_as": "x", "seed": 1},
}
ROUND = {"population": "x", "findings": "f", "space": "v1.0/r.yaml"}


def better(first, second, **more):
    return [{"claim": "c", "kind": "better", "first": first, "second": second, **more}]


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (
            {"populations": ["x", "silu"], "n": 3, "claims": better("x", "silu", n=4)},
            "reports.r.claims: the claim 'c' has n = 4, but the report has 3 models; lower n",
        ),
        (
            {"populations": ["x", "silu"], "claims": better("x", "silu", n=9)},
            "reports.r.claims: the claim 'c' has n = 9, but x has 8 models; lower n",
        ),
        (
            {"populations": ["x", "few"], "claims": better("x", "few", n=5)},
            "has n = 5, but few has 4 models; lower n",
        ),
        (
            {"populations": ["x", "few"], "claims": better("x", "few", n=6, paired=True)},
            "have 4 common models; it needs 6 or more",
        ),
        (
            {"populations": ["x", "again"], "claims": better("x", "again")},
            "'c' compares x and again, which reports show as one population, trained with two see",
        ),
    ],
    ids=["report", "population", "chosen", "pairs", "seeds"],
)
def test_a_claim_that_cannot_be_judged_is_refused(load, report, message):
    with pytest.raises(ds.InputError) as error:
        load(POPULATIONS, reports={"r": report})
    assert message in str(error.value)


def test_claims_that_can_be_judged_are_accepted(load):
    claims = [*better("x", "silu", n=6), *better("silu", "again", claim="d")]
    claims += better("x", "few", claim="e", n=3, paired=True)
    report = {"populations": ["x", "silu", "few", "again"], "n": 7, "claims": claims}
    plan = load(POPULATIONS, reports={"r": report}).plan()
    assert [claim.n for claim in plan.claims] == [6, 7, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"steps": [{"populations": ["x", "v1.0/r"]}], "refinements": [ROUND]},
            "steps[0]: v1.0/r is the run of a refinement, which is trained as soon as its",
        ),
        (
            {"refinements": [{**ROUND, "space": "v1.0/r"}]},
            'refinements[0].space: must end in .yaml or .yml; found "v1.0/r"',
        ),
    ],
    ids=["step", "suffix"],
)
def test_refinements_that_cannot_be_trained_are_refused(load, changes, message):
    with pytest.raises(ds.InputError) as error:
        load(**changes)
    assert message in str(error.value)


def test_the_run_of_a_refinement_keeps_the_dots_of_its_folder(load):
    assert load(refinements=[ROUND]).file.runs == ["a", "x", "v1.0/r"]


@pytest.mark.parametrize(
    ("space", "toggle"),
    [("AnyNetRA", None), ("AnyNetRE", None), ("RegNetR", {"d": 2}), ("AnyNetXA", {"g": 1e6})],
    ids=["RA", "RE", "R with d", "XA with g"],
)
def test_networks_with_a_single_group_have_no_parameter_g(load, space, toggle):
    population = ds.sample(f"{space}@8", n=6)
    models = population if toggle is None else toggled(population, toggle)
    assert not any(name.startswith("g") for name in parameters(models.bodies, models.regnets))
    names = parameter_names(ds.load_space(f"{space}@8"), toggle)
    assert not any(name.startswith("g") for name in names)


def test_another_b_leaves_several_groups(load):
    models = toggled(ds.sample("RegNetR@8", n=6), {"b": 1})
    assert "g1" in parameters(models.bodies, models.regnets)
    assert "g1" in parameter_names(ds.load_space("RegNetR@8"), {"b": 1})


def test_a_claim_about_g_of_networks_with_a_single_group_is_refused(load):
    claim = {"claim": "c", "kind": "trend", "population": "r", "parameter": "g", "error": "falls"}
    reports = {"r": {"populations": ["r"], "claims": [claim]}}
    with pytest.raises(ds.InputError, match="is about 'g', but r has no such parameter"):
        load({"r": {"space": "AnyNetRA@8"}}, reports=reports)
