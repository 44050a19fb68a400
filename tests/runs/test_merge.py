"""Joining runs of one population that were trained in several places."""

import shutil

import pytest

import designspace as ds
from designspace.errors import InputError


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
