"""A population and its trials as a pandas DataFrame."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from designspace.arch import Population
from designspace.arch.parameter_columns import parameters, with_names
from designspace.runs.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

# Parameters that are whole numbers in every space.
_WHOLE = re.compile(r"[dwg][0-9]*|w_0|stages")
_TRIAL_COLUMNS = ["status", "error", "epochs", "seconds", "seed", "split", "reason", "device"]


def run_frame(
    population: Population, trials: Sequence[Trial], draws: Mapping[str, Any]
) -> "pd.DataFrame":
    """Return one row per model, indexed by its number; see `Run.to_frame` for the columns."""
    import pandas as pd

    # The epochs that were trained have a column of their own.
    draws = {name: values for name, values in draws.items() if name not in _TRIAL_COLUMNS}
    models = models_frame(population, draws)
    rows = {trial.index: _row(trial) for trial in trials}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=_TRIAL_COLUMNS)
    whole = {"error": "float", "epochs": "Int64", "seed": "Int64"}
    return models.join(frame.astype(whole))


def models_frame(population: Population, draws: Mapping[str, Any]) -> "pd.DataFrame":
    """Return one row per model: id, parameters, costs and settings drawn for its training."""
    import pandas as pd

    bodies = population.bodies
    columns = with_names(parameters(bodies, population.regnets), bodies)
    costs = {name: getattr(population.cost, name) for name in ("flops", "params", "acts")}
    index = pd.RangeIndex(len(population), name="index")
    frame = pd.DataFrame({"id": list(population.ids), **columns, **costs, **draws}, index=index)
    whole = [name for name in columns if _WHOLE.fullmatch(name)]
    # Int64 has missing values: parameters of stages that a model doesn't have.
    return frame.astype({name: "Int64" if frame[name].hasnans else "int64" for name in whole})


def _row(trial: Trial) -> list[Any]:
    device = trial.versions.get("device", "")
    return [
        *(trial.state.value, trial.error, len(trial.curve), trial.seconds, trial.seed),
        *(trial.split, trial.reason, device),
    ]
