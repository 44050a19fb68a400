"""One model of a run, by its number or as the best of those trained."""

from designspace.arch import Model, model_name
from designspace.errors import InputError
from designspace.runs.run import Run
from designspace.runs.trial import TrialState


def named_model(folder: Run, which: str) -> Model:
    """Return one model of a run with where it comes from.

    Args:
        folder: The run.
        which: Its index in sampled order, or `best`: the least error of all complete trials, the
            first of equal ones.

    Raises:
        InputError: There is no such index, or no complete trial.
    """
    population = folder.population()
    if which == "best":
        complete = [t for t in folder.trials() if t.state is TrialState.COMPLETE]
        if not complete:
            raise InputError(f"{folder.path}: no model of it is trained yet, so none is the best")
        index = min(complete, key=lambda trial: (trial.error, trial.index)).index
    else:
        index = int(which)
    if index >= len(population):
        raise InputError(
            f"{folder.path}:{which}: its {len(population)} models are 0 to {len(population) - 1}"
        )
    space = folder.space()
    sample = space.get("sample") or {}
    made = {
        "run": str(folder.path),
        "space": str(space.get("name", folder.name)),
        **{key: str(sample[key]) for key in ("seed", "hash") if key in sample},
        "id": population.ids[index],
        "index": str(index),
    }
    return Model(
        model_name(folder.name, index),
        population.bodies.body(index),
        population.skeleton,
        population.regnet(index),
        tuple(made.items()),
    )
