"""A run folder as pandas tables, for notebooks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from designspace.analysis.load import load_results
from designspace.analysis.results import MISSING


@dataclass(frozen=True, eq=False)
class Run:
    """A population and its trials; rows are models in sampled order, labelled by their index.

    Attributes:
        name: The run's name.
        space: The space's name.
        population: id, the parameters (`d1`, `w1`, … or `d`, `w_0`, …), flops, params, acts.
        trials: id, state and error (percent) of each model that has a trial.
    """

    name: str
    space: str
    population: pd.DataFrame
    trials: pd.DataFrame

    @property
    def models(self) -> pd.DataFrame:
        """The population's columns with state and error, for the models that have a trial."""
        return self.population.join(self.trials[["state", "error"]], how="inner")


def load(path: Path | str) -> Run:
    """Read a run folder into pandas tables.

    Raises:
        InputError: It is no run folder, or a file in it is damaged.
    """
    results = load_results(path)
    index = pd.RangeIndex(len(results), name="index")
    population = pd.DataFrame(
        {"id": results.ids, **results.parameters, **results.costs}, index=index
    )
    trials = pd.DataFrame(
        {"id": results.ids, "state": results.states, "error": results.errors}, index=index
    )
    finished = np.asarray(results.states != MISSING)
    return Run(results.name, results.space, population, trials[finished])
