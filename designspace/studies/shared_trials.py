"""Trainings that populations of a study have in common are done once.

A trial depends on model, index, recipe, seed and images alone. Where another population has trained
a model alike (of a subset, a longer schedule, or a toggle that leaves the model as it is), its
trial and single images are copied: nothing is trained twice, and pairs of equal models differ by
zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from designspace.errors import InputError
from designspace.runs import Recipe, Run, TrialState
from designspace.runs.image_results import append_correct, read_correct


def share_trials(
    run: Run,
    others: Iterable[Run],
    recipe: Recipe,
    seed: int,
    val: str,
    indices: Sequence[int] | None = None,
) -> int:
    """Copy the trials that other runs have of the models that a run is to train.

    Failed trials are not copied: they say more about a machine than about a model.

    Args:
        run: A run folder; its training begins with the first trial that is copied.
        others: Run folders, in the order in which they are searched.
        recipe: The run's recipe.
        seed: The run's seed.
        val: The run's validation images.
        indices: Models to train, or None for all.

    Returns:
        How many trials were copied.
    """
    recipe = recipe.at(run.population().skeleton.resolution)
    with run.lock():
        missing = set(range(len(run.population())) if indices is None else indices)
        missing -= {trial.index for trial in run.trials()}
        before = len(missing)
        for other in others:
            if missing and _trains_alike(run, other, recipe, seed, val):
                missing -= _copy(run, other, recipe, missing)
        return before - len(missing)


def _trains_alike(run: Run, other: Run, recipe: Recipe, seed: int, val: str) -> bool:
    """Whether trials of another run with one id and index are those that the run would have."""
    data = other.data()
    if data is None or not other.begun:
        return False
    try:
        other.check_training(recipe, replace(data, seed=seed, val=val))
        run.check_training(recipe, data)
    except InputError:  # other options, or other images
        return False
    if run.recipe_draws() or other.recipe_draws():
        return False
    one, two = run.population(), other.population()
    return (one.skeleton, one.bodies.block) == (two.skeleton, two.bodies.block)


def _copy(run: Run, other: Run, recipe: Recipe, missing: set[int]) -> set[int]:
    """Copy the trials of missing models; return their indices."""
    data, ids = other.data(), run.population().ids
    assert data is not None
    trials = [
        trial
        for trial in other.trials()
        if trial.index in missing
        and trial.id == ids[trial.index]
        and trial.state is not TrialState.FAILED
    ]
    if trials:
        images = read_correct(other.path, trials)
        run.begin_training(recipe, data)
        # As in training, images come first: a kill in between repeats them and loses no trial.
        append_correct(run.path, [(t, images[t.index]) for t in trials if t.index in images])
        run.append_trials(trials)
    for trial in trials:
        (run.checkpoints / f"{trial.index:05d}.pt").unlink(missing_ok=True)
    return {trial.index for trial in trials}
