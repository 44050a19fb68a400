"""Which models of a population a study trains."""

import numpy as np

from designspace.errors import InputError
from designspace.runs import Run, TrialState
from designspace.runs.training_options import chosen_models
from designspace.studies.study_file import Subset


def choose_models(subset: Subset | None, run: Run, measured: Run | None) -> tuple[int, ...]:
    """Return the indices of the models to train, ascending.

    Args:
        subset: The rule, or None for all models.
        run: The population.
        measured: Where `spread` takes its errors from.

    Raises:
        InputError: The rule names models that are not there, or the errors are not measured yet.
    """
    size = len(run.population())
    among = min(size, (subset and subset.among) or size)
    if subset is None:
        return tuple(range(size))
    if subset.indices is not None:
        return chosen_models(subset.indices, None, among, run.path) or ()
    if subset.random is not None:
        generator = np.random.default_rng(subset.seed)
        return tuple(sorted(generator.permutation(among)[: subset.random].tolist()))
    assert subset.spread is not None
    assert measured is not None
    trials = [t for t in measured.trials() if t.index < among and t.state is TrialState.COMPLETE]
    if len(trials) < min(among, len(measured.population())):
        raise InputError(
            f"{measured.path}: {len(trials)} of the first {among} models are complete; the models "
            f"of {run.path} are spread over the errors of all of them"
        )
    ordered = sorted(trials, key=lambda trial: (trial.error, trial.index))
    ranks = np.linspace(0, len(ordered) - 1, subset.spread).round().astype(int)
    return tuple(sorted({ordered[rank].index for rank in ranks}))
