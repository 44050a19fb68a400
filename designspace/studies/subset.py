"""Which models of a population a study trains."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from designspace.errors import InputError
from designspace.runs import Run, TrialState
from designspace.runs.training_options import chosen_models
from designspace.studies.study_file import StudyFile


def models_to_train(file: StudyFile, name: str, first: int | None = None) -> int:
    """Return how many models of a population are trained in the end.

    Args:
        file: The study.
        name: The population.
        first: Only among the first so many; of models that are spread over errors at most so many.
    """
    size, subset = file.size(name), file.entry(name).models
    within = min(first or size, size)
    if subset is None:
        return within
    indices = fixed_indices(file, name)
    if indices is None:
        assert subset.spread is not None
        return min(within, subset.among or size, subset.spread)
    return sum(index < within for index in indices)


def pairs_to_train(file: StudyFile, first: str, second: str, most: int | None = None) -> int:
    """Return how many models with one index are trained of both populations in the end.

    Args:
        file: The study.
        first: A population.
        second: Another one.
        most: Only among the first so many; of models that are spread over errors at most so many.
    """
    sides = [fixed_indices(file, name) for name in (first, second)]
    if sides[0] is None or sides[1] is None:
        return min(models_to_train(file, name, most) for name in (first, second))
    fewer, more = sorted((sides[0], sides[1]), key=len)
    common = more if isinstance(more, range) else set(more)
    return sum(index in common and (most is None or index < most) for index in fewer)


def fixed_indices(file: StudyFile, name: str) -> Sequence[int] | None:
    """Return the indices of the models to train in the end, ascending, or None if errors decide.

    Raises:
        InputError: The file names models that are not there.
    """
    size, subset = file.size(name), file.entry(name).models
    if subset is None:
        return range(size)
    among = min(size, subset.among or size)
    if subset.indices is not None:
        return chosen_models(subset.indices, None, among, name) or ()
    if subset.random is not None:
        generator = np.random.default_rng(subset.seed)
        return tuple(sorted(generator.permutation(among)[: subset.random].tolist()))
    return None


def errors_needed(file: StudyFile, name: str) -> int:
    """Return over how many models of `same_as`, the first, a population's models are spread."""
    entry = file.entry(name)
    assert entry.models is not None
    assert entry.same_as is not None
    size = min(file.size(name), file.size(entry.same_as))
    return min(size, entry.models.among or size)


def choose_models(file: StudyFile, name: str, folder: Path) -> Sequence[int]:
    """Return the indices of the models to train in the end, ascending.

    Args:
        file: The study.
        name: The population.
        folder: The study's results, where `spread` takes its errors from.

    Raises:
        InputError: The file names models that are not there, or the errors are not measured yet.
    """
    indices = fixed_indices(file, name)
    if indices is not None:
        return indices
    entry, among = file.entry(name), errors_needed(file, name)
    assert entry.models is not None
    assert entry.models.spread is not None
    measured, number = Run.open(folder / str(entry.same_as)), entry.models.spread
    trials = [trial for trial in measured.trials() if trial.index < among]
    if len(trials) < among:
        raise InputError(
            f"{measured.path}: {len(trials)} of the first {among} models are trained; the models "
            f"of {name} are spread over the errors of all of them"
        )
    # Failed models have no error; diverged ones have that of chance.
    errors = [(trial.error, trial.index) for trial in trials if trial.error is not None]
    if len(errors) < number:
        raise InputError(
            f"{measured.path}: {len(errors)} of the first {among} models have an error, but "
            f"{number} of {name} are spread over them; train the failed ones again"
        )
    ordered = sorted(error for error, _ in errors)
    ranks = np.linspace(0, len(ordered) - 1, number).round().astype(int)
    trained = trained_indices(folder / name)
    chosen: list[int] = []
    for value, count in Counter(ordered[rank] for rank in ranks).items():
        # Of models with one error those that are trained, so that a choice made earlier stays.
        tied = [(index not in trained, index) for error, index in errors if error == value]
        chosen += [index for _, index in sorted(tied)[:count]]
    return tuple(sorted(chosen))


def is_subset(file: StudyFile, name: str) -> bool:
    """Return whether only some models of a population are trained, in no order."""
    return file.entry(name).models is not None


def trained_indices(run: Path, complete: bool = False) -> set[int]:
    """Return the indices of the models in a run folder, which need not exist, that have a trial.

    Args:
        run: The folder.
        complete: Leave out failed trials.
    """
    if not (run / "trials.jsonl").is_file():
        return set()
    left_out = TrialState.FAILED if complete else None
    return {trial.index for trial in Run.open(run).trials() if trial.state is not left_out}


def chosen_indices(file: StudyFile, name: str, folder: Path) -> Sequence[int] | None:
    """Return what `choose_models` does, or None as long as the errors are missing."""
    try:
        return choose_models(file, name, folder)
    except InputError:
        return None
