"""How far errors can be trusted: intervals that cover, variances that are found again."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from analysis.populations import made_up

from designspace.analysis.pool_seeds import pool_seeds
from designspace.analysis.rank_agreement import agreement, rank_agreement, repeatability
from designspace.arch import Skeleton
from designspace.errors import InputError
from designspace.runs import Run, Trial, TrialState


def test_the_interval_of_a_rank_correlation_covers_it():
    """Normal errors with correlation 0.8 have a Spearman correlation of 6 / pi * asin(0.8 / 2)."""
    rng, truth, covered = np.random.default_rng(0), 6 / np.pi * np.arcsin(0.4), 0
    for _ in range(500):
        a = rng.normal(size=16)
        found = agreement(np.stack([a, 0.8 * a + 0.6 * rng.normal(size=16)]))
        covered += found.low <= truth <= found.high
        assert found.low < found.spearman < found.high
    assert covered / 500 > 0.92


def test_equal_and_opposite_orders():
    errors = np.arange(10.0)
    alike = agreement(np.stack([errors, errors**2]))
    opposite = agreement(np.stack([errors, 5 - errors]))
    assert (alike.spearman, alike.kendall) == (pytest.approx(1), pytest.approx(1))
    assert (opposite.spearman, opposite.kendall) == (pytest.approx(-1), pytest.approx(-1))
    assert opposite.shift == pytest.approx(5 - 9)


def test_variance_is_split_into_seeds_and_models():
    """Planted: 3 between models, 1 between seeds; the interval covers their share 0.9."""
    rng, covered, spreads = np.random.default_rng(1), 0, []
    for _ in range(500):
        models = 3 * rng.normal(size=(8, 1))
        found = repeatability(50 + models + rng.normal(size=(8, 3)))
        covered += found.low <= 0.9 <= found.high
        spreads.append((found.model_sd**2, found.seed_sd**2))
    assert 0.925 < covered / 500 < 0.975
    assert np.mean(spreads, axis=0) == pytest.approx([9, 1], rel=0.1)


def test_nothing_but_seeds_and_nothing_but_models():
    rng = np.random.default_rng(2)
    assert repeatability(rng.normal(size=(200, 3))).share < 0.1
    same = repeatability(np.repeat([[1.0], [2.0], [4.0]], 3, axis=1))
    assert (same.share, same.seed_sd) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], "at least 5"),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], "rank nothing"),
    ],
)
def test_errors_that_cannot_be_compared(first, second, said):
    with pytest.raises(InputError, match=said):
        agreement(np.array([first, second]))


def test_one_seed_is_not_enough():
    with pytest.raises(InputError, match="two models and two seeds"):
        repeatability(np.ones((5, 1)))


@pytest.mark.parametrize(
    ("change", "pooled"),
    [
        ({}, 1),
        ({"parameters": {"lr": [0.2, 0.1, 0.3, 0.4, 0.5]}}, 2),
        ({"parameters": {}}, 2),
        ({"skeleton": Skeleton(stem_width=16)}, 2),
        ({"recipe": {"epochs": 2}}, 2),
    ],
)
def test_seeds_are_those_of_the_same_networks_with_the_same_drawn_settings(change, pooled):
    drawn = {"lr": [0.1, 0.2, 0.3, 0.4, 0.5]}
    alike = {"parameters": drawn, "skeleton": Skeleton(), "recipe": {"epochs": 1}}
    runs = [
        made_up([1, 2, 3, 4, 5], "a", seeds=(0,), **alike),
        made_up([1, 2, 3, 5, 4], "b", seeds=(1,), **(alike | change)),
    ]
    assert len(pool_seeds(runs)) == pooled
    result = rank_agreement(runs)
    assert len(result.repeated) == 3 - pooled
    assert len(result.schedules) == pooled - 1


def test_the_command(cli, refused, tmp_path):
    from dataclasses import replace

    from designspace.runs import DataRecord, load_recipe

    data = DataRecord("digits", "held-out", "held-out 20%", 0, 10, 9, 9, "c")
    recipe, errors = load_recipe("quick").at(8), np.array([10, 14, 11, 20, 17, 12.0])
    trainings = {
        "short": (recipe, 0, errors),
        "seed1": (recipe, 1, errors + [0.5, -0.5] * 3),
        "long": (replace(recipe, epochs=50), 0, errors / 2),
    }
    for name, (how, seed, found) in trainings.items():
        path = tmp_path / name
        assert cli("sample", "RegNetX@8", "-n", 6, "--flops", "100K:300K", "--out", path).code == 0
        folder = Run.open(path)
        folder.begin_training(how, replace(data, seed=seed))
        ids = folder.population().ids
        folder.append_trials(
            [
                Trial(ids[i], i, TrialState.COMPLETE, float(error), (), 1.0, seed)
                for i, error in enumerate(found)
            ]
        )
    paths = [tmp_path / name for name in trainings]
    said = json.loads(cli("agree", *paths, "--json").out)
    assert said["repeated"] == ["short", "seed1"]
    assert said["seeds"]["seed_sd"] == pytest.approx(0.5 / 2**0.5)
    (long,) = said["schedules"]
    assert (long["run"], long["n"]) == ("long", 6)
    assert long["spearman"] == pytest.approx(1)
    text = cli("agree", *paths).out
    assert "long: 6 models, rank correlation with short 1.00" in text
    assert "6 models with 2 seeds" in text
    assert "two or more runs" in refused("agree", paths[0])
    again = shutil.copytree(paths[0], tmp_path / "again")
    assert "short and again have the same seeds" in refused("agree", paths[0], again)
    trials = Run.open(again).trials()
    for name in ("trials.jsonl", "recipe.yaml"):
        (again / name).unlink()
    Run.open(again).begin_training(trainings["short"][0], replace(data, seed=7))
    Run.open(again).append_trials([replace(trial, seed=7) for trial in trials])
    assert "the same error for each model" in refused("agree", paths[0], again)
    other = tmp_path / "other"
    words = ("-n", 6, "--flops", "100K:300K", "--seed", 5, "--out", other)
    assert cli("sample", "AnyNetXE@8", *words).code == 0
    folder = Run.open(other)
    ids = folder.population().ids
    folder.append_trials([Trial(ids[0], 0, TrialState.COMPLETE, 9.0, (), 1.0, 0)])
    assert "are they of one population?" in refused("agree", paths[0], other)


def test_networks_that_come_up_again_are_ranked_each(tmp_path):
    """A space that draws recipes may repeat a network, with settings of its own."""
    errors = np.array([50.0, 52, 51, 53, 55, 54])
    runs = [
        replace(
            made_up(errors + shift, name, {"lr": np.arange(6)}, recipe={"epochs": epochs}),
            ids=("a", "b", "a", "c", "a", "d"),
        )
        for shift, name, epochs in ((0, "one", 3), (9, "two", 15))
    ]
    ((_, schedule),) = rank_agreement(runs).schedules
    assert schedule.n == 6
    assert schedule.spearman == pytest.approx(1)
    shorter = runs[1].first(5)
    assert runs[0].trained_like(replace(shorter, provenance=runs[0].provenance))
