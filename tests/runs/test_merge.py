"""Joining runs of one population that were trained in several places."""

import shutil

import pytest

import designspace as ds
from designspace.errors import InputError
from designspace.runs import Trial, TrialState
from designspace.runs.merge import merge


@pytest.fixture
def places(tmp_path):
    """A population, and two copies of it of which one model each is trained."""
    original = ds.sample("RegNetX@8", n=3, flops="180K:220K", out=tmp_path / "original")
    for name, model in (("a", "0"), ("b", "1")):
        shutil.copytree(original.path, tmp_path / name)
        options = {"data": "digits", "recipe": "quick", "epochs": 1, "jobs": 1}
        ds.load_run(tmp_path / name).train(only=model, progress=False, **options)
    return tmp_path


def test_an_untrained_original_takes_recipe_and_trials(places):
    ds.merge([places / "a", places / "b"], places / "original")
    original, a = (ds.load_run(places / name) for name in ("original", "a"))
    assert [trial.index for trial in original.trials()] == [0, 1]
    assert original.recipe() == a.recipe()
    assert original.data() == a.data()
    assert original.train(only="2", progress=False)["status"].tolist() == ["complete"] * 3


def test_another_recipe_is_refused_although_an_untrained_run_comes_first(places):
    shutil.copytree(places / "original", places / "c")
    options = {"data": "digits", "recipe": "quick", "epochs": 2, "jobs": 1}
    ds.load_run(places / "c").train(only="2", progress=False, **options)
    with pytest.raises(InputError, match="epochs: 1, 2"):
        ds.merge([places / "original", places / "a", places / "c"], places / "joined")
    with pytest.raises(InputError, match="epochs: 1, 2"):
        ds.merge([places / "original", places / "a"], places / "c")
    assert not (places / "joined").exists()


def test_a_folder_that_is_new_has_all(places):
    merged = ds.merge([places / "original", places / "a", places / "b"], places / "joined")
    assert (merged.trials, merged.added) == (2, 2)
    assert ds.load_run(places / "joined").recipe().epochs == 1


def trial(run, index, state=TrialState.COMPLETE, error=10.0, reason=""):
    return Trial(run.population().ids[index], index, state, error, (), 1.0, 0, reason=reason)


def test_a_folder_in_use_keeps_its_recipe(places):
    original = ds.load_run(places / "original")
    with original.lock(), pytest.raises(InputError, match="is in use by process"):
        ds.merge([places / "a"], original)
    assert not original.recipe_file.exists()
    assert original.trials() == ()


def test_a_second_merge_adds_nothing(make_run):
    a, b, out = (make_run(name) for name in ("a", "b", "out"))
    failed = TrialState.FAILED
    a.append_trials([trial(a, 0), trial(a, 1, failed, None, "no memory"), trial(a, 2)])
    b.append_trials([trial(b, 0, error=20.0), trial(b, 1, failed, None, "no time"), trial(b, 2)])
    first = merge([a, b], out)
    assert (first.added, first.repeated, first.differing) == (5, 1, (0,))
    journal = out.trials_file.read_bytes()
    second = merge([a, b], out)
    assert (second.added, second.repeated, second.differing) == (0, 5, (0,))
    assert out.trials_file.read_bytes() == journal
    assert out.trials()[0].error == 10.0
