"""Which models of a population a study trains."""

import numpy as np

from designspace.errors import InputError
from designspace.runs import Run
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
