"""Trainings that an earlier population of a study has done are not repeated.

A trial depends on model, index, recipe, seed and images, and up to rounding on nothing else. Where
a population that was trained before has that trial (of a subset, a longer schedule, or a toggle
that leaves the model as it is), the trial and its single images are copied, so that pairs of equal
models differ by zero. As in one run, earlier trials may be of another device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from designspace.errors import InputError
from designspace.runs import Recipe, Run, Trial, TrialState
from designspace.runs.image_results import append_correct, read_correct
from designspace.runs.training_options import absolute_source


def share_trials(
    run: Run,
    others: Mapping[str, Run],
    recipe: Recipe,
    seed: int,
    val: str,
    *,
    data: str | None = None,
    indices: Sequence[int] | None = None,
    retry: bool = False,
) -> None:
    """Copy the trials that other runs have of the models that a run is to train.

    Failed trials are not copied: they say more about a machine than about a model.

    Args:
        run: A run folder; its training begins with the first trial that is copied.
        others: Run folders by the name of their population, in the order of the search.
        recipe: The run's recipe.
        seed: The run's seed.
        val: The run's validation images.
        data: The data set that the run is to be trained on; runs on another one are left out. None
            for that of the other runs.
        indices: Models to train, or None for all.
        retry: Whether the run's failed trials are to be repeated.
    """
    recipe = recipe.at(run.population().skeleton.resolution)
    with run.lock():
        missing = set(range(len(run.population())) if indices is None else indices)
        failed = TrialState.FAILED if retry else None
        missing -= {trial.index for trial in run.trials() if trial.state is not failed}
        for name, other in others.items():
            if missing and _has_same_training(run, other, recipe, seed, val, data):
                missing -= _copy(run, other, name, recipe, missing)


def _has_same_training(
    run: Run, other: Run, recipe: Recipe, seed: int, val: str, data: str | None
) -> bool:
    """Whether another run's trials of one id and index are those that the run would have."""
    record = other.data()
    if record is None or not other.begun:
        return False
    if data is not None and record.source not in (data, absolute_source(data)):
        return False
    try:
        other.check_training(recipe, replace(record, seed=seed, val=val))
        run.check_training(recipe, record)
    except InputError:  # other options, or other images
        return False
    one, two = run.population(), other.population()
    same = (one.skeleton, one.bodies.block) == (two.skeleton, two.bodies.block)
    return same and _has_same_draws(run, other)


def _has_same_draws(run: Run, other: Run) -> bool:
    """Whether two runs have drawn the same recipe for each model that both have."""
    one, two = run.recipe_draws(), other.recipe_draws()
    n = min(len(run.population()), len(other.population()))
    return one.keys() == two.keys() and all(np.array_equal(one[k][:n], two[k][:n]) for k in one)


def _copy(run: Run, other: Run, name: str, recipe: Recipe, missing: set[int]) -> set[int]:
    """Copy the trials of these models that the other run has; return their indices."""
    record, ids = other.data(), run.population().ids
    assert record is not None
    trials = [
        replace(trial, copied_from=trial.copied_from or name)
        for trial in other.trials()
        if trial.index in missing
        and trial.id == ids[trial.index]
        and trial.state is not TrialState.FAILED
    ]
    if trials:
        run.begin_training(recipe, record, run.execution())
        # As in training, images come first: a kill in between repeats them and loses no trial.
        _copy_images(run, other, trials)
        run.append_trials(trials)
    for trial in trials:
        run.checkpoint(trial.index).unlink(missing_ok=True)
    return {trial.index for trial in trials}


def _copy_images(run: Run, other: Run, trials: Sequence[Trial]) -> None:
    if run.execution().image_results is False:
        return
    try:
        images = read_correct(other.path, trials)
    except InputError:  # a damaged file, which reports name
        return
    append_correct(run.path, [(t, images[t.index]) for t in trials if t.index in images])
