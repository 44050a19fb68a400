"""Read arguments that name one or several runs."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from designspace.arch import Model, Population
from designspace.errors import InputError
from designspace.runs.run import Run


def list_runs(runs: Any, argument: str = "runs") -> list[Any]:
    """Return one or several runs, or paths of run folders, as a list.

    Raises:
        InputError: There is none, or one is something else, such as a population in memory.
    """
    if isinstance(runs, Mapping) or hasattr(runs, "columns"):  # a DataFrame iterates its columns
        raise InputError(
            f"{argument} is a {type(runs).__name__}; it must be runs, or paths of run folders",
            argument,
        )
    single = isinstance(runs, str | os.PathLike | Run | Population | Model)
    listed = [runs] if single or not isinstance(runs, Iterable) else list(runs)
    if not listed:
        raise InputError(f"{argument} is empty; name at least one run", argument)
    for run in listed:
        check_run(run, argument)
    return listed


def check_run(run: Any, argument: str) -> None:
    """Raise unless this is a run or a path."""
    if isinstance(run, Population):
        raise InputError(
            f"{argument} is a population in memory; save it first, population.save('results/a'), "
            "or sample with out='results/a'",
            argument,
        )
    if not isinstance(run, str | os.PathLike | Run):
        raise InputError(
            f"{argument} has {type(run).__name__}; it must be a run or the path of its folder",
            argument,
        )
