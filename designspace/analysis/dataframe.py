"""A run folder as pandas tables, for notebooks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from designspace.analysis.imported_folder import IMPORT_FILE
from designspace.analysis.load_results import load_results
from designspace.analysis.population_results import MISSING
from designspace.runs import Run, Trial
from designspace.stats.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class RunTables:
    """A population and its trials; rows are models in sampled order, labelled by their index.

    Attributes:
        name: The run's name.
        space: The space's name.
        population: id, the parameters (`d1`, `w1`, … or `d`, `w_0`, …), flops, params, acts.
        trials: id, state and error (percent) of each model that has a trial; of a run folder also
            epochs reached, seconds, seed, split, reason and device.
    """

    name: str
    space: str
    population: pd.DataFrame
    trials: pd.DataFrame

    @property
    def models(self) -> pd.DataFrame:
        """Both tables joined, a row for each model with an error; failed ones are in `trials`."""
        measured = self.trials.dropna(subset="error").drop(columns="id")
        return self.population.join(measured, how="inner")


def load(path: Path | str) -> RunTables:
    """Read a run folder into pandas tables.

    Raises:
        InputError: It is no run folder, or a file in it is damaged.
    """
    results = load_results(path)
    finished = np.flatnonzero(results.states != MISSING)
    index = pd.RangeIndex(len(results), name="index")
    columns = {**results.parameters, **results.costs}
    population = pd.DataFrame(
        {"id": results.ids, **{name: _whole(values) for name, values in columns.items()}},
        index=index,
    )
    trials = pd.DataFrame(
        {"id": results.ids, "state": results.states, "error": results.errors}, index=index
    ).loc[finished]
    if not (Path(path) / IMPORT_FILE).is_file():
        trials = trials.join(_details(Run.open(path).trials()))
    return RunTables(results.name, results.space, population, trials)


def _whole(values: FloatArray) -> FloatArray | IntArray:
    """Whole numbers as integers, so that a table reads as the space's file does."""
    whole = bool((values == np.rint(values)).all() and (abs(values) < 2**53).all())
    return values.astype(np.int64) if whole else values


def _details(trials: tuple[Trial, ...]) -> pd.DataFrame:
    """What a run folder knows of each trial besides its result, by the model's index."""
    return pd.DataFrame(
        {
            "epochs": [len(trial.curve) for trial in trials],
            "seconds": [trial.seconds for trial in trials],
            "seed": [trial.seed for trial in trials],
            "split": [trial.split for trial in trials],
            "reason": [trial.reason for trial in trials],
            "device": [trial.versions.get("device", "") for trial in trials],
        },
        index=pd.Index([trial.index for trial in trials], dtype="int64"),
    )
