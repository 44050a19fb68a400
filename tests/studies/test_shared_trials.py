"""Trainings that populations of a study have in common are done once."""

import numpy as np
import pytest

import designspace as ds
from designspace.runs import DataRecord
from designspace.runs.image_results import append_correct, read_correct

LONG = {"same_as": "x", "epochs": 2}


@pytest.fixture
def trained(monkeypatch):
    """Train without training; a list of the models trained, by run, index and epochs."""
    calls = []

    def train(runs, *, recipe, epochs, seed, val, only, **options):
        for run in runs:
            done = {trial.index for trial in run.trials()}
            indices = [i for i in (range(len(run)) if only is None else only) if i not in done]
            data = DataRecord("digits", val, "held-out", seed, 10, 8, 2, "content")
            run.begin_training(recipe.override(epochs=epochs).at(8), data)
            for i in indices:
                calls.append((run.name, i, epochs))
                run.record(i, 50, curve=[50.0] * epochs, seconds=9, seed=seed, split="held-out")
            trials = [trial for trial in run.trials() if trial.index in indices]
            append_correct(run.path, [(trial, np.array([True, False])) for trial in trials])

    monkeypatch.setattr("designspace.studies.train_study.train", train)
    return calls


def steps_of(*names):
    return [{"populations": [name], "n": 4} for name in names]


def train_all(study):
    study.run(only="train", jobs=1, progress=False)


def test_what_a_subset_has_trained_is_copied_with_its_single_images(load, trained):
    subset = {**LONG, "models": {"indices": "1,3"}}
    study = load({"few": subset, "long": LONG}, steps=steps_of("x", "few", "long"), n=4)
    train_all(study)
    assert [call for call in trained if call[0] in ("few", "long")] == [
        ("few", 1, 2),
        ("few", 3, 2),
        ("long", 0, 2),
        ("long", 2, 2),
    ]
    few, long = (ds.load_run(study.folder / name) for name in ("few", "long"))
    assert {t.index: t for t in few.trials()}.items() <= {t.index: t for t in long.trials()}.items()
    assert sorted(read_correct(long.path, long.trials())) == [0, 1, 2, 3]
    assert long.recipe().epochs == 2
    assert long.data().content == "content"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({**LONG, "seed": 1}, id="seed"),
        pytest.param({**LONG, "val": "test"}, id="validation images"),
        pytest.param({**LONG, "epochs": 3}, id="epochs"),
        pytest.param({**LONG, "toggle": {"se_ratio": 0.25}}, id="models"),
    ],
)
def test_other_trainings_are_not_copied(load, trained, other, monkeypatch):
    monkeypatch.setattr("designspace.studies.study.StudyTraining.check", lambda training: None)
    train_all(load({"one": LONG, "two": other}, steps=steps_of("x", "one", "two"), n=4))
    assert len([call for call in trained if call[0] == "two"]) == 4


def test_models_that_a_toggle_leaves_as_they_are_are_trained_once(load, trained):
    study = load({"g1": {"same_as": "x", "toggle": {"g": 1}}}, steps=steps_of("x", "g1"), n=4)
    train_all(study)
    plain, toggled = (ds.load_run(study.folder / name) for name in ("x", "g1"))
    same = [i for i in range(4) if plain.population().ids[i] == toggled.population().ids[i]]
    assert 0 < len(same) < 4
    assert [index for name, index, _ in trained if name == "g1"] == sorted({*range(4)} - {*same})


def test_failed_trials_are_trained_in_each_population(load, trained):
    study = load({"one": LONG}, steps=steps_of("x", "one"), n=4)
    train_all(study)
    run = ds.load_run(study.folder / "one")
    lines = run.trials_file.read_text().splitlines()
    run.trials_file.write_text("\n".join(lines[:3]) + "\n")
    run.record(3, None, state="failed", reason="memory", split="held-out")
    trained.clear()
    train_all(load({"one": LONG, "two": LONG}, steps=steps_of("x", "one", "two"), n=4))
    assert trained == [("two", 3, 2)]


def test_a_checkpoint_of_a_copied_trial_is_removed(load, trained):
    train_all(load({"one": LONG}, steps=steps_of("x", "one"), n=4))
    study = load({"one": LONG, "two": LONG}, steps=steps_of("x", "one", "two"), n=4)
    checkpoints = ds.load_run(study.folder / "one").path.parent / "two" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "00002.pt").write_bytes(b"half a model")
    train_all(study)
    assert not list(checkpoints.iterdir())


def test_plans_count_a_shared_training_once(load, trained):
    populations = {"one": LONG, "two": {**LONG, "models": {"random": 3}}}
    study = load(populations, steps=steps_of("x", "one", "two"), n=4)
    before = {row.name: row for row in study.plan().populations}
    assert (before["one"].shared, before["two"].shared) == (0, 3)
    assert "3 of the models are trained alike" in study.plan().text()
    train_all(study)
    plan = study.plan()
    assert plan.trained == plan.models
    assert "trained alike" not in plan.text()
