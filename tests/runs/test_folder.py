"""Run folders: round trips, growth, and what was damaged or belongs elsewhere."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from designspace.errors import InputError
from designspace.io import journal
from designspace.runs import DataRecord, Run, Trial, TrialState, load_recipe
from designspace.space import Budget, load_space, sample, sample_record

BUDGET = (Budget.parse("flops", "150K:400K"),)


def make(path, name="RegNetX@8", n=4, seed=0):
    space = load_space(name)
    result = sample(space, n, BUDGET, seed)
    record = sample_record(space, result, BUDGET, seed)
    return Run.create(path, {**space.source, "sample": record}, result.population)


def trial(folder, index, state=TrialState.COMPLETE, error=10.0):
    ids = folder.population().ids
    return Trial(ids[index], index, state, error, (50.0, 10.0), 1.5, 7, {"torch": "x"})


def test_a_population_comes_back_as_it_was(tmp_path):
    folder = make(tmp_path / "run")
    population = folder.population()
    drawn = sample(load_space("RegNetX@8"), 4, BUDGET).population
    assert population.ids == drawn.ids
    assert population.skeleton == drawn.skeleton
    assert list(population.records()) == list(drawn.records())
    assert load_space(str(folder.space_file)).hash == load_space("RegNetX@8").hash


def test_a_population_line_has_the_documented_keys(tmp_path):
    line = make(tmp_path / "run").population_file.read_text().splitlines()[0]
    record = json.loads(line)
    assert list(record) == ["id", "index", "arch", "flops", "params", "acts", "regnet", "crc32"]
    assert list(record["arch"]) == [
        "depths",
        "widths",
        "bottleneck_ratios",
        "group_widths",
        "se_ratio",
    ]
    assert list(record["regnet"]) == ["d", "w_0", "w_a", "w_m", "b", "g"]


def test_the_same_population_may_grow_and_keeps_its_trials(tmp_path):
    folder = make(tmp_path / "run")
    folder.append_trials([trial(folder, 2)])
    before = folder.population().ids
    make(tmp_path / "run", n=7)
    assert folder.population().ids[:4] == before
    assert [t.index for t in folder.trials()] == [2]


def test_sampling_killed_between_its_two_files_resumes(tmp_path):
    folder = make(tmp_path / "run")
    space, models = folder.space(), folder.population_file.read_bytes()
    folder.space_file.unlink()
    with pytest.raises(InputError, match="of other models, and no space"):
        make(tmp_path / "run", seed=1)
    assert folder.population_file.read_bytes() == models
    assert make(tmp_path / "run").space() == space


@pytest.mark.parametrize("other", [{"seed": 1}, {"name": "RegNetY@8"}, {"n": 3}])
def test_another_population_is_refused_and_nothing_is_lost(tmp_path, other):
    folder = make(tmp_path / "run")
    before = folder.population_file.read_bytes()
    with pytest.raises(InputError, match="another folder"):
        make(tmp_path / "run", **other)
    assert folder.population_file.read_bytes() == before


def test_a_truncated_population_is_reported_with_the_remedy(tmp_path):
    folder = make(tmp_path / "run")
    lines = folder.population_file.read_text().splitlines(keepends=True)
    folder.population_file.write_text("".join(lines[:2]))
    with pytest.raises(InputError, match=r"holds 2 models, space.yaml says 4; run the same"):
        folder.population()
    make(tmp_path / "run")
    assert len(folder.population()) == 4


def test_an_edited_population_is_noticed(tmp_path):
    folder = make(tmp_path / "run")
    records = [dict(r) for r in journal.read(folder.population_file).records]
    records[1]["arch"]["widths"][0] += 8
    folder.population_file.write_text("".join(json.dumps(r) + "\n" for r in records))
    with pytest.raises(InputError, match=r"population.jsonl, line 2: .*edited|does not divide"):
        folder.population()


def test_a_failed_trial_is_superseded_but_a_finished_one_never(tmp_path):
    folder = make(tmp_path / "run")
    folder.append_trials(
        [
            trial(folder, 1, TrialState.FAILED, None),
            trial(folder, 0, error=20.0),
            trial(folder, 1, error=30.0),
            trial(folder, 0, error=99.0),
        ]
    )
    assert [(t.index, t.error) for t in folder.trials()] == [(0, 20.0), (1, 30.0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "done"}, "complete, diverged, failed"),
        ({"error": 140.0}, "0 to 100 percent"),
        ({"error": None}, "0 to 100 percent"),
        ({"index": 99}, "not in the population of 4"),
        ({"id": None, "index": "x"}, "trial has id, index"),
    ],
)
def test_an_impossible_trial_is_refused(tmp_path, change, message):
    folder = make(tmp_path / "run")
    journal.append(folder.trials_file, [{**trial(folder, 0).to_record(), **change}])
    with pytest.raises(InputError, match=message):
        folder.trials()


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        Run.open(tmp_path / "none")
    with pytest.raises(InputError, match=r"has no space\.yaml"):
        Run.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="in the way"):
        make(tmp_path / "file")


def test_an_edited_space_is_noticed(tmp_path):
    folder = make(tmp_path / "run")
    text = folder.space_file.read_text()
    folder.space_file.write_text(text.replace("seed: 0", "seed: 5"))
    with pytest.raises(InputError, match=r"space\.yaml was edited after it was written"):
        folder.population()
    folder.space_file.write_text(text)
    assert len(folder.population()) == 4


def test_an_edited_recipe_is_noticed_and_one_that_began_nothing_may_change(tmp_path, cli, refused):
    folder = make(tmp_path / "run", n=1)
    words = ("train", folder.path, "--data", "digits", "--jobs", 1, "--epochs")
    assert cli(*words, 1, "--recipe", "quick").code == 0
    text = folder.recipe_file.read_text()
    folder.recipe_file.write_text(text.replace("epochs: 1\n", "epochs: 2\n"))
    assert "recipe.yaml was edited" in refused("train", folder.path)
    folder.recipe_file.write_text(text)
    assert "trained with other options" in refused(*words, 2, "--recipe", "quick")
    other = refused("train", folder.path, "--data", f"folder:{tmp_path / 'run'}")
    assert other.rstrip().endswith("run was trained on digits")
    folder.trials_file.write_text("")
    assert cli(*words, 2, "--recipe", "quick").code == 0
    assert len(folder.trials()[0].curve) == 2


def test_files_are_read_once_and_again_after_a_change(tmp_path):
    run = make(tmp_path / "run")
    os.utime(run.population_file, ns=(0, 0))
    os.utime(run.space_file, ns=(0, 0))
    population = run.population()
    assert run.population() is population
    run.append_trials([trial(run, 1)])
    assert [t.index for t in run.trials()] == [1]
    journal.append(run.trials_file, [trial(run, 3).to_record()])
    assert [t.index for t in run.trials()] == [1, 3]
    make(tmp_path / "run", n=6)
    assert len(run.population()) == 6


def test_errors_of_your_own_training_are_recorded(tmp_path):
    run = make(tmp_path / "run")
    run.record(1, 12.5, curve=[50, 12.5], seconds=3)
    run.record(2, None, state="failed", reason="no memory")
    run.record(2, 30.0)
    frame = run.to_frame()
    assert list(frame.columns) == [
        *("id", "d", "w_0", "w_a", "w_m", "b", "g", "flops", "params", "acts"),
        *("status", "error", "epochs", "seconds", "seed", "split", "reason", "device"),
    ]
    assert frame["error"].tolist()[1:3] == [12.5, 30.0]
    assert frame.loc[1, ["status", "epochs", "seconds", "split"]].tolist() == [
        *("complete", 2, 3.0, "own")
    ]
    assert frame.loc[[0, 3]].isna().any(axis=1).all()
    assert run.status().count(TrialState.COMPLETE) == 2
    run.record(0, np.array(11.0))
    run.record(3, torch.tensor(12.0))
    assert [trial.error for trial in run.trials() if trial.index in (0, 3)] == [11.0, 12.0]
    numbered = run.model(np.int64(1))
    assert numbered == run.model(1)
    assert numbered.at(resolution=np.int64(16)) == numbered.at(resolution=16)


def test_an_error_that_may_be_a_fraction_gives_a_warning(tmp_path):
    run = make(tmp_path / "run")
    with pytest.warns(UserWarning, match="error is 0.13, which counts as percent") as warned:
        run.record(1, 0.13)
    assert warned[0].filename == __file__
    assert run.trials()[0].error == 0.13


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        ((4, 10.0), {}, "index is 4; .* has models 0 to 3"),
        ((1, np.array([10.0, 11.0])), {}, r"error is array\(\[10., 11.\]\); it must be a number"),
        ((1, "10"), {}, "error is '10'; it must be a number"),
        ((0, 10.0), {}, "index is 0; that model already has a trial"),
        ((1, 101.0), {}, "0 to 100 percent"),
        ((1, None), {}, "0 to 100 percent"),
        ((1, 10.0), {"state": "done"}, "complete, diverged, failed"),
        ((1, 10.0), {"split": "test"}, "split is 'test'; .* measured on 'own'"),
    ],
)
def test_a_trial_that_cannot_be_recorded(tmp_path, words, options, message):
    run = make(tmp_path / "run")
    run.record(0, 20.0)
    with pytest.raises(InputError, match=message):
        run.record(*words, **options)
    assert len(run.trials()) == 1


def test_a_wrong_trial_is_corrected_once_its_line_is_deleted(tmp_path):
    run = make(tmp_path / "run")
    run.record(0, 20.0)
    run.record(1, 30.0)
    with pytest.raises(InputError, match=r"delete its line in .*trials\.jsonl first"):
        run.record(0, 12.0)
    lines = run.trials_file.read_text().splitlines(keepends=True)
    run.trials_file.write_text("".join(line for line in lines if '"index": 0' not in line))
    run.record(0, 12.0)
    assert [trial.error for trial in run.trials()] == [12.0, 30.0]


def test_trials_of_a_recipe_and_your_own_do_not_mix(tmp_path):
    recipe = load_recipe("quick").at(8)
    data = DataRecord("digits", "held-out", "a tenth", 0, 10, 1000, 100, "c")
    yours, trained = make(tmp_path / "yours"), make(tmp_path / "trained")
    yours.record(0, 20.0)
    with pytest.raises(InputError, match=r"recorded by Run\.record"):
        yours.begin_training(recipe, data)
    trained.begin_training(recipe, data)
    trained.append_trials([replace(trial(trained, 0), split="a tenth")])
    with pytest.raises(InputError, match="measured on 'a tenth'"):
        trained.record(1, 20.0)
    trained.record(1, 20.0, split="a tenth")
    assert len(trained.trials()) == 2


def test_the_best_model_has_the_lowest_error(tmp_path):
    run = make(tmp_path / "run")
    with pytest.raises(InputError, match="none is best"):
        run.model("best")
    for index, error in ((2, 5.0), (1, 5.0), (0, 20.0)):
        run.record(index, error)
    assert dict(run.model("best").provenance)["index"] == "1"
    assert run.model("best").body == run.model(1).body == run.population().bodies.body(1)
    for which in (4, -1, "worst"):
        with pytest.raises(InputError, match=f"which is {which}; .* models 0 to 3"):
            run.model(which)
