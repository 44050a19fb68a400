"""The proof of pretraining: its plan, and the verdicts of its tables."""

from importlib import util
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from scipy import stats

from designspace.pretraining.recipe import parse_recipe

HOME = Path(__file__).parents[2] / "results" / "pretraining"


@pytest.fixture(scope="module")
def proof():
    spec = util.spec_from_file_location("proof", HOME / "proof.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plan():
    return yaml.safe_load((HOME / "proof.yaml").read_text())


def test_the_plan_compares_arms_that_it_trains(plan):
    base = yaml.safe_load((HOME / plan["recipe"]).read_text())
    arms = {arm: parse_recipe(base | changes, arm) for arm, changes in plan["arms"].items()}
    compared = {f"{kind}, 16 pixels" for kind in ("supervised pretraining", "from scratch")}
    for claim in plan["claims"]:
        assert {claim["first"], claim["second"]} <= arms.keys() | compared
    assert plan["supervised"] in arms


def test_differences_are_judged_by_welch_and_hold_together(proof):
    a, b, c = [50.0, 51.0, 52.0], [40.0, 40.5, 41.0], [50.5, 51.5, 50.0]
    claims = [
        {"claim": "A is better", "first": "a", "second": "b"},
        {"claim": "B is better", "first": "b", "second": "a"},
        {"claim": "C is better", "first": "c", "second": "a", "on": "knn"},
        {"claim": "On another task", "first": "a", "second": "b", "on": "linear"},
        {"claim": "Not trained yet", "first": "d", "second": "b"},
    ]
    rows = list(proof.judge(claims, {"knn": {"a": a, "b": b, "c": c, "d": a[:2]}}, seeds=3))
    verdicts = ["holds |", "contradicted |", "undecided |", "not trained yet |"]
    assert [row.rsplit("| ", 1)[1] for row in rows] == verdicts
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(1 - 0.05 / 4)
    assert f"+10.5 [{low:+.1f}, {high:+.1f}]" in rows[0]


def test_what_the_table_holds_is_not_trained_again(proof, plan, tmp_path):
    recipes = proof.arm_recipes(plan, HOME)
    rows = [
        dict(zip(proof.COLUMNS, ("knn", "16 pixels", seed, 50.0 + seed, recipe), strict=True))
        for seed, recipe in enumerate([proof.fingerprint(recipes["16 pixels"]), "of an older plan"])
    ]
    proof.write_tables(tmp_path / "proof.yaml", plan, rows)
    assert proof.kept_rows(tmp_path / "proof.csv", recipes) == rows[:1]
    assert "| 16 pixels | 2 | 50.5 [44.1, 56.9] |" in (tmp_path / "proof.md").read_text()


def test_training_from_scratch_is_measured_once_for_each_side(proof, plan, tmp_path, monkeypatch):
    calls = []

    def evaluate(folder, task, *, supervised, **others):
        calls.append((task, supervised))
        what = "1% of the labels, fine-tuned" if task == "lowshot" else task
        kinds = ["pretrained", "random", *["scratch"] * supervised]
        scores = [SimpleNamespace(kind=kind, what=what, mean=1.0, values=(1.0,)) for kind in kinds]
        return SimpleNamespace(scores=scores)

    monkeypatch.setattr(proof.ds, "evaluate", evaluate)
    recipe = proof.arm_recipes(plan, HOME)["16 pixels"]
    rows = []
    for seed in range(2):
        folder = tmp_path / str(seed)
        rows += proof.measure("16 pixels", recipe, seed, folder, plan, tmp_path, {}, rows)
    assert calls == [("knn", True), ("lowshot", True), ("knn", False), ("lowshot", False)]
    assert sum(row["arm"] == "from scratch, 16 pixels" for row in rows) == 2
    assert sum(row["arm"] == "16 pixels" for row in rows) == 4
