"""The plan of a study: all that is trained, the hours left, and the power of each claim."""

import numpy as np
import pytest

import designspace as ds

EPOCHS = {"epochs": {"distribution": "choice", "values": [1, 4]}}


def claim(kind, **more):
    return {"claim": kind, "kind": kind, **more}


def rows(study):
    return {row.name: row for row in study.plan().rows}


def test_the_plan_has_runs_of_refinements_and_of_derived_models(load, train, monkeypatch):
    models = {"twice": {"source": "x:best", "flops": "400K"}, "half": {"source": "x:0", "scale": 2}}
    models["untrained"] = {"source": "x:0", "scale": 3, "trained": False}
    study = load(
        refinements=[{"population": "x", "findings": "f", "space": "loop/one.yaml", "n": 6}],
        derived=models,
        derived_seeds=[0, 3],
        derived_val="held-out",
    )
    plan = study.plan()
    others = {row.name: (row.models, row.trained) for row in plan.others}
    assert others == {"loop/one": (6, 0), "derived/seed-0": (2, 0), "derived/seed-3": (2, 0)}
    assert plan.models == 8 + 8 + 6 + 2 + 2
    assert "derived/seed-3       2        0     not measured  none" in plan.text()
    assert [row["name"] for row in plan.to_dict()["populations"]] == ["a", "x", *others]
    assert [row.name for row in plan.populations] == ["a", "x"]
    monkeypatch.setattr("designspace.studies.study.Study._refine", lambda *_: None)
    study.run(progress=False)
    assert rows(study)["derived/seed-3"].trained == 2
    # Six models are left, nine seconds each.
    assert study.plan().hours == pytest.approx(6 * 9 / 3600)


def test_hours_are_estimated_by_the_epochs_of_the_recipe(load, train):
    """`quick` has 10 epochs."""
    populations = {"y": {"space": "RegNetY@8"}, "one": {"same_as": "x", "epochs": 1}}
    study = load(populations, epochs=None, steps=[{"populations": ["x", "one"]}])
    assert study.plan().hours is None
    assert "\ncore-hours are estimated from the first models that" in study.plan().text()
    run = ds.sample("RegNetX@8", n=8, flops="180K:220K", out=study.folder / "x")
    for i in range(8):
        run.record(i, 50.0 + i, curve=[50.0 + i] * 10, seconds=20)
    seconds = {name: row.seconds for name, row in rows(study).items()}
    assert seconds == {"a": 20, "x": 20, "y": 20, "one": 2}
    assert "are estimated" not in study.plan().text()


def test_power_that_the_file_states_is_shown_as_stated(load):
    trend = claim("trend", population="x", parameter="d", error="falls", n=4)
    best = claim("best_in", population="x", parameter="b", low=1, high=1, power=0.7)
    study = load(reports={"r": {"populations": ["x"], "claims": [trend, best]}})
    first, second = study.plan().claims
    assert (first.power, first.stated) == (None, False)
    assert (second.power, second.stated, second.assumed) == (0.7, True, False)
    lines = study.plan().text().splitlines()
    assert " 0.70      8  r: best_in (stated)" in lines
    assert "    -      4  r: trend (power is not computed for claims about a parameter)" in lines


def test_the_sd_of_pairs_is_that_of_the_measured_differences(load):
    gates = {"gates": {"same_as": "x", "toggle": {"se_ratio": 0.25}}}
    better = claim("better", first="x", second="gates", paired=True)
    study = load(gates, reports={"r": {"populations": ["x", "gates"], "claims": [better]}})
    differences = [0.5, -0.25, 0.0, 1.0, 0.75, -0.5, 0.25, 0.25]
    runs = [
        ds.sample("RegNetX@8", n=8, flops="180K:220K", out=study.folder / name)
        for name in ("x", "gates")
    ]
    for i, difference in enumerate(differences):
        (before,) = study.plan().claims
        assert (before.sd, before.assumed) == ((0.9, 0.0), True)
        runs[0].record(i, 50.0 + i)
        runs[1].record(i, 50.0 + i + difference)
    (plan,) = study.plan().claims
    assert plan.sd == (pytest.approx(np.std(differences, ddof=1)), 0.0)
    assert not plan.assumed
    assert plan.power > before.power


def test_the_n_of_pairs_is_that_of_the_common_models(load):
    better = claim("better", first="one", second="two", paired=True)
    reports = {"r": {"populations": ["one", "two"], "claims": [better]}}

    def drawn_with(*seeds):
        subsets = {
            name: {"same_as": "x", "epochs": seed + 1, "models": {"random": 4, "seed": seed}}
            for name, seed in zip(("one", "two"), seeds, strict=True)
        }
        return load(subsets, reports=reports)

    # The first four of numpy's permutations of 8: 2 3 4 6, 0 1 4 5, 2 5 6 7 and 1 2 6 7.
    assert drawn_with(0, 3).plan().claims[0].n == 2
    with pytest.raises(ds.InputError, match="is paired, but one and two have 1 common model; it"):
        drawn_with(1, 2)


def test_epochs_of_a_study_whose_spaces_all_draw_them_are_refused(load):
    with pytest.raises(ds.InputError, match="epochs: has no effect, as every space draws epochs"):
        load(recipe_axes=EPOCHS)
    load(recipe_axes=EPOCHS, epochs=None)
    load({"own": {"space": "RegNetY@8", "recipe_axes": {}}}, recipe_axes=EPOCHS)


def test_the_page_has_what_refinements_and_derived_models_train(load, train):
    refinement = {"population": "a", "findings": "f", "space": "loop/r.yaml", "n": 4}
    study = load(refinements=[refinement])
    page = study.run(progress=False).read_text()
    assert study.plan().others[0].name == "loop/r"
    assert "loop/r</td>" in page
