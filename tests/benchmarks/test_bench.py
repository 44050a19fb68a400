"""The table of `make bench`: it is written, and wrong outputs and missed goals show in it."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import bench
import numpy as np
import pytest
from bench_analysis import redraw
from bench_train import Trained
from parts_analysis import curves_apart, edf_against_numpy, same_bootstrap
from parts_sampling import (
    BUDGET,
    HIGH,
    LOW,
    against_count,
    against_fvcore,
    against_loop,
    against_sweep,
    fvcore_count,
    same_sweep,
)
from parts_training import race
from peers import Body, Restated, Sweep, bodies, closed_form, layer_by_layer, plain_sample
from table import QUICK, Agreement, Comparison, Goal

from designspace.space import Budget, load_space, sample
from designspace.stats.edf import edf

SMALL = replace(QUICK, rounds=1, few=1, models=(40,), built=1)
SPACE = load_space("AnyNetXA")
POPULATION = sample(SPACE, 40, (BUDGET,), 0).population
MODELS = bodies(POPULATION.bodies, range(40))
TINY = sample(load_space("AnyNetXA@32"), 10, (Budget.parse("flops", "1M:2M"),), 0).population


def verdicts(row: Comparison) -> tuple[str, str]:
    """What the table's columns `met` and `outputs agree` begin with."""
    return row.cells()[6], row.cells()[7].partition(":")[0]


# What agrees, and a peer of each kind with a wrong answer.


def fewer_models(*words):
    models, tried = plain_sample(*words)
    return [replace(models[0], depths=(1, 1, 1, 1)), *models[1:]], tried


def one_more(body, skeleton):
    flops, params, acts = closed_form(body, skeleton)
    return flops, params + 1, acts


def without_bias(model):
    flops, params, acts = fvcore_count(model)
    return flops - model.skeleton.classes, params, acts


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            lambda: against_loop(SPACE, 20, SMALL),
            lambda: against_loop(SPACE, 20, SMALL, fewer_models),
        ),
        (
            lambda: against_count(POPULATION, SMALL),
            lambda: against_count(POPULATION, SMALL, one_more),
        ),
        (
            lambda: against_count(POPULATION, SMALL, layer_by_layer),
            lambda: against_count(POPULATION, SMALL, lambda *_: (1, 2, 3)),
        ),
        (
            lambda: against_fvcore(TINY, SMALL),
            lambda: against_fvcore(TINY, SMALL, without_bias),
        ),
        (
            lambda: edf_against_numpy(50, SMALL),
            lambda: edf_against_numpy(50, SMALL, lambda e: np.arange(len(e)) / len(e)),
        ),
    ],
    ids=["loop", "count", "layers", "fvcore", "edf"],
)
def test_a_peer_with_a_wrong_answer_shows(right, wrong):
    assert verdicts(right())[1] == "yes"
    assert verdicts(wrong())[1] == "NO"


class Miscounting(Restated):
    """Leaves a multiply-add out where it is asked for the cost of models."""

    def count(self, models):
        return [(flops - 1, params, acts) for flops, params, acts in super().count(models)]


@pytest.mark.slow
def test_sweeps_that_find_other_models_show():
    peer, drawn = Restated(SPACE, LOW, HIGH), sample(SPACE, 200, (BUDGET,), 0)
    found = peer.sweep(3000, 0)
    large = Body((16,) * 4, (1024,) * 4, (1.0,) * 4, (8,) * 4)
    large = replace(large, cost=layer_by_layer(large, SPACE.skeleton))
    shallow = sorted(found.kept, key=lambda body: sum(body.depths))[: len(found.kept) // 2]
    wrong = replace(found.kept[0], cost=(LOW, 1, 1))

    def told(kept=found.kept, tried=found.tried, peer=peer) -> str:
        agreement = same_sweep(SPACE, drawn, peer, kept, tried)
        assert agreement.agree == (not agreement.how.startswith("not: "))
        return agreement.how

    assert told().startswith("all models within the budget; costs equal")
    assert told([*found.kept, large]) == "not: all models within the budget"
    assert told([wrong, *found.kept[1:]]).startswith("not: costs equal")
    assert told(peer=Miscounting(SPACE, LOW, HIGH)).startswith("not: costs equal")
    assert told(tried=3 * found.tried).startswith("not: kept")
    assert told(shallow, found.tried // 2).startswith("not: distributions")


def test_a_sweep_is_scaled_to_the_candidates_that_a_population_took():
    class Instant(Restated):
        def sweep(self, candidates, seed):
            return Sweep(seconds=candidates / 1000, tried=candidates, kept=kept)

    kept = [replace(body, cost=closed_form(body, SPACE.skeleton)) for body in MODELS]
    (row,) = against_sweep(SPACE, Instant(SPACE, LOW, HIGH), SMALL)
    assert row.theirs == (sample(SPACE, 40, (BUDGET,), 0).stats.tried / 1000,)


def test_a_bootstrap_of_other_redraws_shows():
    assert same_bootstrap(200, 2000).agree
    wrong = same_bootstrap(200, 2000, lambda v, e, draws, *rest: redraw(v, -e, draws, *rest))
    assert wrong.agree is False


def test_curves_that_count_up_to_and_including_a_point_are_the_same():
    errors = np.array([1.0, 2.0, 2.0, 4.0])
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert curves_apart([edf(errors)], [(x, np.array([0.25, 0.75, 0.75, 1.0]))]) == 0
    assert curves_apart([edf(errors)], [(x, np.array([0.0, 0.25, 0.75, 0.75]))]) == 0.5


def test_training_agrees_within_seed_noise_alone():
    rng = np.random.default_rng(0)

    def side(seconds: float, shift: float):
        return lambda seed: Trained(seconds, tuple(30 + shift + rng.normal(0, 1, 4)))

    peers = {
        "as good": (side(10.0, 0.0), Goal("ratio", least=5)),
        "worse": (side(4.0, 8.0), Goal("ratio", least=5)),
    }
    good, worse = race("train", side(1.0, 0.0), peers, 4, 3)
    assert good.ratios == (10.0,) * 3
    assert verdicts(good) == ("yes", "yes")
    assert verdicts(worse) == ("NO", "NO")


# The table.

GOOD = Comparison("a", "s", (1.0, 2.0, 4.0), "b", (8.0, 8.0, 8.0), Agreement(True, "equal"))
SLOW = replace(GOOD, goal=Goal("ratio", least=5))
LARGE = replace(GOOD, goal=Goal("ours", most=1.5))
WRONG = replace(GOOD, agreement=Agreement(False, "not: equal"))
MISSING = Comparison("c", skipped="lightly is not installed")
FAILED = Comparison("d", skipped="FAILED: the process ended with 1")


def test_goals_are_held_against_medians():
    assert GOOD.ratios == (8.0, 4.0, 2.0)
    assert (GOOD.met, SLOW.met, LARGE.met) == (None, False, False)
    assert replace(SLOW, goal=Goal("ratio", least=4)).met
    assert replace(GOOD, unit="models/h").ratios == (0.125, 0.25, 0.5)
    assert MISSING.met is None


@pytest.mark.parametrize(
    ("rows", "code", "line"),
    [
        ([GOOD], 0, "0 of 0 goals met; outputs agree in 1 of 1 rows; 0 skipped, 0 failed"),
        ([SLOW, MISSING], 0, "0 of 1 goals met; outputs agree in 1 of 1 rows; 1 skipped, 0 failed"),
        ([WRONG], 1, "0 of 0 goals met; outputs agree in 0 of 1 rows; 0 skipped, 0 failed"),
        ([FAILED], 1, "0 of 0 goals met; outputs agree in 0 of 0 rows; 0 skipped, 1 failed"),
    ],
)
def test_the_table_shows_goals_and_agreement(tmp_path, rows, code, line):
    page, ended = bench.run(["edf"], False, tmp_path, lambda name, quick: rows)
    assert ended == code
    assert f"- outcome: {line}\n" in page
    assert page == (tmp_path / "bench.md").read_text()
    told = json.loads((tmp_path / "bench.json").read_text())
    assert {"cores", "processor", "versions", "commit", "load"} <= set(told["machine"])
    assert [row["met"] for row in told["rows"]] == [row.met for row in rows]
    for row in rows:
        assert f"| {' | '.join(row.cells())} |" in page
        assert row.skipped in page


def test_a_quick_look_judges_no_goal(tmp_path):
    page, ended = bench.run(["edf"], True, tmp_path, lambda name, quick: [SLOW, LARGE])
    assert ended == 0
    assert "- outcome: a quick look (goals are judged at full size); outputs agree in 2 of" in page
    assert "goals met" not in page
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [(row["goal"], row["met"]) for row in rows] == [("", None)] * 2


@pytest.mark.parametrize("wrong", ["nowhere", "file", "folder", "half"])
def test_a_wrong_checkout_is_reported_before_anything_is_timed(
    tmp_path, monkeypatch, capsys, wrong
):
    root = tmp_path / wrong
    if wrong == "file":
        root.write_text("")
    elif wrong != "nowhere":
        root.mkdir()
    if wrong == "half":
        (root / "tools").mkdir()
        (root / "tools" / "sweep_setup.py").write_text("")
    monkeypatch.setenv("PYCLS", str(root))
    monkeypatch.setattr(sys, "argv", ["bench.py", "--quick", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert stopped.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"bench: PYCLS={root} is no checkout of pycls: it has no ")
    assert not (tmp_path / "out").exists()


def test_rows_pass_from_process_to_process():
    for row in (SLOW, LARGE, WRONG, MISSING):
        assert bench.read_row(json.loads(json.dumps(asdict(row)))) == row


def test_the_command_measures_in_processes_of_its_own(tmp_path):
    argv = [sys.executable, bench.__file__, "--quick", "--only", "growth", "--out", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "bench.json").read_text())
    assert [row["n"] for row in told["rows"]] == [QUICK.rounds] * 3
    assert all(row["unit"] == "" and row["ours"] for row in told["rows"])


def test_a_part_that_fails_is_a_row(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "missing.py"))
    (row,) = bench.part_process("edf", True)
    assert row.skipped.startswith("FAILED")
