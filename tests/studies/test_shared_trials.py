"""Trainings that populations of a study have in common are done once."""

from dataclasses import replace

import numpy as np
import pytest

import designspace as ds
from designspace.analysis.load_results import load_results
from designspace.runs import DataRecord, Execution
from designspace.runs.image_results import append_correct, read_correct
from designspace.studies.shared_trials import share_trials
from designspace.studies.train_study import StudyTraining

LONG = {"same_as": "x", "epochs": 2}


@pytest.fixture
def trained(monkeypatch):
    """Train without training; a list of the models trained, by run, index and epochs."""
    calls = []

    def train(runs, *, recipe, epochs, seed, val, only, **options):
        for run in runs:
            if options.get("retry"):
                calls.append((run.name, "retry", epochs))
            done = {trial.index for trial in run.trials()}
            indices = [i for i in (range(len(run)) if only is None else only) if i not in done]
            data = DataRecord(options["data"], val, "held-out", seed, 10, 8, 2, "content")
            run.begin_training(recipe.override(epochs=epochs).at(8), data)
            for i in indices:
                calls.append((run.name, i, epochs))
                run.record(i, 50, curve=[50.0] * epochs, seconds=9, seed=seed, split="held-out")
            trials = [trial for trial in run.trials() if trial.index in indices]
            append_correct(run.path, [(trial, np.array([True, False])) for trial in trials])

    monkeypatch.setattr("designspace.studies.train_study.train", train)
    return calls


def fail_last(run):
    """Replace the last of four trials by a failed one."""
    lines = run.trials_file.read_text().splitlines()
    run.trials_file.write_text("\n".join(lines[:3]) + "\n")
    run.record(3, None, state="failed", reason="memory", split="held-out")


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
    copies = {t.index: replace(t, copied_from="few") for t in few.trials()}
    assert copies.items() <= {t.index: t for t in long.trials()}.items()
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
        pytest.param({**LONG, "toggle": {"stem_width": 16}}, id="stem"),
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
    fail_last(run)
    trained.clear()
    train_all(load({"one": LONG, "two": LONG}, steps=steps_of("x", "one", "two"), n=4))
    assert trained == [("two", 3, 2)]


def test_a_checkpoint_of_a_copied_trial_is_removed(load, trained):
    train_all(load({"one": LONG}, steps=steps_of("x", "one"), n=4))
    study = load({"one": LONG, "two": LONG}, steps=steps_of("x", "one", "two"), n=4)
    checkpoints = study.folder / "two" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "00002.pt").write_bytes(b"half a model")
    train_all(study)
    assert not list(checkpoints.iterdir())


def test_plans_count_a_shared_training_once(load, trained):
    populations = {"one": LONG, "two": {**LONG, "models": {"random": 3}}}
    study = load(populations, steps=steps_of("x", "one", "two"), n=4)
    before = {row.name: row for row in study.plan().populations}
    assert (before["one"].shared, before["two"].shared) == (0, 3)
    assert "3 of the models are trained for an earlier population" in study.plan().text()
    train_all(study)
    plan = study.plan()
    assert plan.trained == plan.models
    assert "earlier population" not in plan.text()


def test_trials_on_other_images_are_not_copied(load, trained, tmp_path):
    train_all(load({"one": LONG}, steps=steps_of("x", "one"), n=4))
    study = load({"one": LONG, "two": LONG}, steps=steps_of("x", "one", "two"), n=4)
    (tmp_path / "other").mkdir()
    study.run(f"folder:{tmp_path / 'other'}", only="train", jobs=1, progress=False)
    assert len([call for call in trained if call[0] == "two"]) == 4


def test_drawn_recipes_must_be_the_same(load, trained):
    axes = {"lr": {"distribution": "log_uniform", "low": 0.01, "high": 1.0}}
    steps = steps_of("x", "one", "two", "y")
    other = {"y": {"space": "RegNetX@8", "epochs": 2, "recipe_axes": {}}}
    study = load({"one": LONG, "two": LONG} | other, steps=steps, n=4, recipe_axes=axes)
    train_all(study)
    # `y` has the models of `x` with one recipe for all.
    assert [name for name, _, epochs in trained if epochs == 2] == ["one"] * 4 + ["y"] * 4


def test_a_retry_copies_what_another_population_has(load, trained):
    train_all(load({"one": LONG}, steps=steps_of("x", "one"), n=4))
    study = load({"one": LONG, "two": LONG}, steps=steps_of("x", "one", "two"), n=4)
    train_all(study)
    run = ds.load_run(study.folder / "two")
    fail_last(run)
    trained.clear()
    study.run(only="train", jobs=1, progress=False, retry=True)
    assert run.trials()[3].state == "complete"
    assert not trained


def test_options_that_a_run_remembers_stay(load, trained):
    train_all(
        load({"one": {**LONG, "models": {"indices": "0-2"}}}, steps=steps_of("x", "one"), n=4)
    )
    study = load(
        {"one": {**LONG, "models": {"indices": "0-2"}}, "two": LONG},
        steps=steps_of("x", "one", "two"),
        n=4,
    )
    one = ds.load_run(study.folder / "one")
    two = ds.sample("RegNetX@8", n=4, flops="180K:220K").save(study.folder / "two")
    two.begin_training(one.recipe(), one.data(), Execution(time_limit=3600.0))
    two.record(3, 50, curve=[50.0, 50.0], split="held-out")
    share_trials(two, {"one": one}, one.recipe(), 0, "held-out")
    assert two.execution().time_limit == 3600.0
    assert len(two.trials()) == 4


def test_damaged_single_images_are_left_out(load, trained):
    train_all(load({"one": LONG}, steps=steps_of("x", "one"), n=4))
    study = load({"one": LONG, "two": LONG}, steps=steps_of("x", "one", "two"), n=4)
    damaged = study.folder / "one" / "correct.jsonl"
    damaged.write_text(damaged.read_text().replace("correct", "corect"))
    train_all(study)
    assert len(ds.load_run(study.folder / "two").trials()) == 4
    assert not (study.folder / "two" / "correct.jsonl").exists()


def test_core_hours_count_a_shared_training_once(load, trained):
    study = load({"one": LONG, "two": LONG}, steps=steps_of("x", "one", "two"), n=4)
    train_all(study)
    training = StudyTraining(study.path, study.folder, study.file, None, False, {})
    assert training.core_hours() == pytest.approx(12 * 9 / 3600)


def test_a_copy_names_the_population_that_trained_it_and_took_no_time(load, trained, cli):
    steps = steps_of("x", "one", "two", "three")
    subset = {**LONG, "models": {"indices": "0-2"}}
    study = load({"one": subset, "two": LONG, "three": LONG}, steps=steps, n=4)
    train_all(study)
    one, two, three = (ds.load_run(study.folder / name) for name in ("one", "two", "three"))
    # Copies of copies name the original.
    assert [t.copied_from for t in three.trials()] == ["one", "one", "one", "two"]
    assert [run.status().to_dict()["seconds_trained"] for run in (one, two, three)] == [27, 9, 0]
    assert "4 trials were copied from other populations" in cli("status", three.path).out
    loaded = load_results(three)
    assert loaded.provenance.seconds == 0
    assert [note.partition(",")[0] for note in loaded.provenance.notes[1:]] == [
        "3 models were trained for one",
        "1 model was trained for two",
    ]
