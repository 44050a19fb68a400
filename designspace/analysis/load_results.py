"""Read run folders and imported results into `PopulationResults`."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from designspace.analysis.accounting import count
from designspace.analysis.imported_folder import IMPORT_FILE, read_imported
from designspace.analysis.population_results import MISSING, PopulationResults, Provenance
from designspace.arch.parameter_columns import parameters
from designspace.errors import InputError
from designspace.io.serialization import readable
from designspace.runs import Run, Trial, TrialState


def load_results(path: Path | str, all_finished: bool = False) -> PopulationResults:
    """Read one population and its trials.

    Args:
        path: A run folder, or a folder that `designspace import` made.
        all_finished: Count every finished trial of an unfinished population, not only those before
            the first model without one.

    Raises:
        InputError: It is neither, a file in it is damaged, or a trial is of another population.
    """
    if (Path(path) / IMPORT_FILE).is_file():
        return read_imported(Path(path), all_finished)
    folder = Run.open(path)
    space = folder.space()
    population = folder.population()
    trials = folder.trials()
    states = np.full(len(population), MISSING, dtype="U8")
    errors = np.full(len(population), np.nan)
    for trial in trials:
        states[trial.index] = trial.state.value
        if trial.state is not TrialState.FAILED and trial.error is not None:
            errors[trial.index] = trial.error
    cost = population.cost
    return PopulationResults(
        name=readable(folder.name),
        space=readable(str(space.get("name", folder.name))),
        family=str(space.get("family", "anynet")),
        ids=population.ids,
        states=states,
        errors=errors,
        chance=_chance(trials, population.skeleton.classes),
        parameters=parameters(population.bodies, population.regnets),
        costs={
            name: getattr(cost, name).astype(np.float64) for name in ("flops", "params", "acts")
        },
        bodies=population.bodies,
        regnets=population.regnets,
        counted=count(states, errors, all_finished),
        provenance=_provenance(folder, space, trials),
        resolution=population.skeleton.resolution,
    )


def load_populations(
    paths: Sequence[Path | str], all_finished: bool = False
) -> tuple[PopulationResults, ...]:
    """Read several populations; names are made distinct by their parents' names as far as needed.

    Raises:
        InputError: One of them can't be read, is named twice, or holds no error yet.
    """
    places = [Path(os.path.realpath(path)) for path in paths]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise InputError(f"{paths[i]} is named twice; give each run once")
    loaded = [load_results(path, all_finished) for path in paths]
    for path, results in zip(paths, loaded, strict=True):
        if not results.counted.any():
            raise InputError(
                f"{path} has no trial to analyse yet: "
                f"{int((results.states != MISSING).sum())} of {len(results)} models have one"
                + ("; `designspace train` makes them" if (results.states == MISSING).any() else "")
            )
    names = _distinct(places)
    return tuple(replace(results, name=name) for results, name in zip(loaded, names, strict=True))


def _distinct(places: Sequence[Path]) -> list[str]:
    """The shortest ends of some paths that tell each from those of the same name."""
    names = [readable(place.name) for place in places]
    for length in range(2, max(len(place.parts) for place in places) + 1):
        names = [
            readable("/".join(place.parts[-length:])) if names.count(name) > 1 else name
            for name, place in zip(names, places, strict=True)
        ]
    return names


def _chance(trials: tuple[Trial, ...], classes: int) -> float:
    """Error of guessing: what diverged trials were given, else that of the space's classes."""
    for trial in trials:
        if trial.state is TrialState.DIVERGED and trial.error is not None:
            return trial.error
    return 100.0 * (1 - 1 / classes)


def _provenance(folder: Run, space: dict[str, Any], trials: tuple[Trial, ...]) -> Provenance:
    recipe = folder.recipe()
    keys = sorted({key for trial in trials for key in trial.versions})
    seeds = [trial.seed for trial in trials]
    return Provenance(
        path=readable(str(folder.path)),
        sample=space.get("sample", {}),
        recipe={} if recipe is None else recipe.to_dict(),
        splits=tuple(sorted({trial.split for trial in trials})),
        seeds=tuple(sorted({min(seeds), max(seeds)})) if seeds else (),
        versions={
            key: tuple(sorted({t.versions[key] for t in trials if key in t.versions}))
            for key in keys
        },
        seconds=float(sum(trial.seconds for trial in trials)),
        reasons=_reasons(trials),
        notes=tuple(str(space[key]) for key in ("reason",) if space.get(key)),
    )


def _reasons(trials: tuple[Trial, ...]) -> dict[str, int]:
    """Why trials were not completed, each with how many of them; the most frequent first."""
    ended = [trial for trial in trials if trial.state is not TrialState.COMPLETE]
    whys = (f"{trial.state.value}: {trial.reason or 'no reason given'}" for trial in ended)
    return dict(Counter(whys).most_common())
