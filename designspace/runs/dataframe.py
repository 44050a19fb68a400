"""A population and its trials as a pandas DataFrame."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from designspace.arch import Population
from designspace.arch.parameter_columns import parameters
from designspace.runs.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

_TRIAL_COLUMNS = ["status", "error", "epochs", "seconds", "seed", "split", "reason", "device"]


def run_frame(
    population: Population, trials: Sequence[Trial], draws: Mapping[str, Any]
) -> "pd.DataFrame":
    """Return one row per model, indexed by its number; see `Run.to_frame` for the columns."""
    import pandas as pd

    columns = parameters(population.bodies, population.regnets)
    # The epochs that were trained have a column of their own.
    draws = {name: values for name, values in draws.items() if name not in _TRIAL_COLUMNS}
    costs = {name: getattr(population.cost, name) for name in ("flops", "params", "acts")}
    index = pd.RangeIndex(len(population), name="index")
    models = pd.DataFrame({"id": list(population.ids), **columns, **costs, **draws}, index=index)
    rows = {trial.index: _row(trial) for trial in trials}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=_TRIAL_COLUMNS)
    return models.join(frame.astype({"error": float}))


def _row(trial: Trial) -> list[Any]:
    device = trial.versions.get("device", "")
    return [
        *(trial.state.value, trial.error, len(trial.curve), trial.seconds, trial.seed),
        *(trial.split, trial.reason, device),
    ]
