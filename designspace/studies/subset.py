"""Which models of a population a study trains."""

from pathlib import Path

import numpy as np

from designspace.errors import InputError
from designspace.runs import Run
from designspace.runs.training_options import chosen_models
from designspace.studies.study_file import StudyFile, Subset


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
    indices = fixed_indices(subset, size, name)
    if indices is None:
        assert subset.spread is not None
        return min(within, subset.among or size, subset.spread)
    return sum(index < within for index in indices)


def fixed_indices(subset: Subset, size: int, place: Path | str) -> tuple[int, ...] | None:
    """Return the indices of the models to train, ascending, or None if errors decide.

    Args:
        subset: The rule.
        size: Models in the population.
        place: Its run folder, for messages.

    Raises:
        InputError: The rule names models that are not there.
    """
    among = min(size, subset.among or size)
    if subset.indices is not None:
        return chosen_models(subset.indices, None, among, place) or ()
    if subset.random is not None:
        generator = np.random.default_rng(subset.seed)
        return tuple(sorted(generator.permutation(among)[: subset.random].tolist()))
    return None


def choose_models(subset: Subset, run: Run, measured: Run | None) -> tuple[int, ...]:
    """Return the indices of the models to train, ascending.

    Args:
        subset: The rule.
        run: The population.
        measured: Where `spread` takes its errors from.

    Raises:
        InputError: The rule names models that are not there, or the errors are not measured yet.
    """
    size = len(run.population())
    indices = fixed_indices(subset, size, run.path)
    if indices is not None:
        return indices
    among = min(size, subset.among or size)
    assert subset.spread is not None
    assert measured is not None
    trials = [trial for trial in measured.trials() if trial.index < among]
    if len(trials) < min(among, len(measured.population())):
        raise InputError(
            f"{measured.path}: {len(trials)} of the first {among} models are trained; the models "
            f"of {run.path} are spread over the errors of all of them"
        )
    # Failed models have no error; diverged ones have that of chance.
    errors = [(trial.error, trial.index) for trial in trials if trial.error is not None]
    if len(errors) < subset.spread:
        raise InputError(
            f"{measured.path}: {len(errors)} of the first {among} models have an error, but "
            f"{subset.spread} of {run.path} are spread over them; train the failed ones again"
        )
    ordered = sorted(errors)
    ranks = np.linspace(0, len(ordered) - 1, subset.spread).round().astype(int)
    return tuple(sorted({ordered[rank][1] for rank in ranks}))
