"""Read run folders and imported results into `PopulationResults`."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from designspace.analysis.imported_folder import IMPORT_FILE, read_imported
from designspace.analysis.population_results import MISSING, STATES, PopulationResults, Provenance
from designspace.analysis.trial_accounting import counted_models
from designspace.arch.parameter_columns import parameters
from designspace.errors import InputError, counted
from designspace.io.serialization import readable
from designspace.runs import Run, Trial, TrialState
from designspace.runs.data_record import source_name
from designspace.runs.image_results import read_correct
from designspace.runs.measurements import MeasuredSetting, measured_columns, settings_of
from designspace.runs.run_list import list_runs
from designspace.runs.trial import training_seconds
from designspace.stats.arrays import FloatArray

# A run, its folder, or a folder of imported results.
Source = Run | Path | str


def load_results(
    source: Source, all_finished: bool = False, first: int | None = None
) -> PopulationResults:
    """Read one population and its trials.

    Args:
        source: What to read.
        all_finished: Count every finished trial of an unfinished population, not only those before
            the first model without one.
        first: Only the first so many models, in sampled order.

    Raises:
        InputError: The folder is neither, a file in it is damaged, or a trial is of another
            population.
    """
    if not isinstance(source, Run):
        if (Path(source) / IMPORT_FILE).is_file():
            imported = read_imported(Path(source), all_finished)
            return imported if first is None else imported.first(first)
        source = Run.open(source)
    space, population, trials = source.space(), source.population(), source.trials()
    if first is not None:
        trials = tuple(trial for trial in trials if trial.index < first)
    states = np.full(len(population), MISSING, dtype="U8")
    errors = np.full(len(population), np.nan)
    for trial in trials:
        states[trial.index] = trial.state.value
        if trial.state is not TrialState.FAILED and trial.error is not None:
            errors[trial.index] = trial.error
    skeleton = source.skeleton()
    cost, rows = population.cost, slice(first)  # whether an axis is shared depends on the rows
    results = PopulationResults(
        name=readable(source.name),
        space=readable(str(space.get("name", source.name))),
        family=str(space.get("family", "anynet")),
        ids=population.ids,
        states=states,
        errors=errors,
        chance=_chance(trials, skeleton.classes),
        parameters=parameters(
            population.bodies.take(rows),
            None if population.regnets is None else population.regnets.take(rows),
        )
        | {name: values[rows] for name, values in source.recipe_draws().items()},
        costs={
            name: getattr(cost, name).astype(np.float64) for name in ("flops", "params", "acts")
        },
        bodies=population.bodies,
        regnets=population.regnets,
        counted=counted_models(states, errors, all_finished),
        provenance=_provenance(source, space, trials),
        resolution=skeleton.resolution,
        measured=_measured(source, population.ids),
        correct=read_correct(source.path, trials),
        skeleton=skeleton,
    )
    return results if first is None else results.first(first)


def _measured(run: Run, ids: Sequence[str]) -> dict[MeasuredSetting, dict[str, FloatArray]]:
    """Return the columns of each setting that the run was measured in."""
    measurements = run.measurements()
    result = {}
    for setting in settings_of(measurements):
        by_id = {m.id: m for m in measurements if m.setting == setting}
        noisy = [float(by_id[id_].noisy) if id_ in by_id else np.nan for id_ in ids]
        columns = {**measured_columns(ids, by_id), "noisy": noisy}
        result[setting] = {name: np.asarray(values) for name, values in columns.items()}
    return result


def load_populations(
    sources: Source | Sequence[Source],
    all_finished: bool = False,
    first: int | None = None,
    *,
    argument: str = "runs",
) -> tuple[PopulationResults, ...]:
    """Read several populations; equal names are made distinct by their parent folders' names.

    Args:
        sources: What to read, one or several.
        all_finished: As of `load_results`.
        first: As of `load_results`.
        argument: Name of the caller's argument, for messages.

    Raises:
        InputError: One of them can't be read, is passed twice, or has no error yet. A population
            whose models have all failed is returned all the same.
    """
    sources = list_runs(sources, argument)
    paths = [source.path if isinstance(source, Run) else Path(source) for source in sources]
    places = [Path(os.path.realpath(path)) for path in paths]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise InputError(f"{paths[i]} is named twice; give each run once")
    loaded = [load_results(source, all_finished, first) for source in sources]
    for path, results in zip(paths, loaded, strict=True):
        if not results.counted.any() and not all_failed(results):
            raise InputError(f"{path}: {_why_nothing_counts(results)}")
    names = distinct_names([results.name for results in loaded], places)
    return tuple(replace(results, name=name) for results, name in zip(loaded, names, strict=True))


def all_failed(results: PopulationResults) -> bool:
    """Whether every finished trial of a population has failed, and there is one."""
    failed = results.states == TrialState.FAILED.value
    return bool(failed.any() and (failed | (results.states == MISSING)).all())


def _why_nothing_counts(results: PopulationResults) -> str:
    counts = {state: int((results.states == state).sum()) for state in STATES}
    states = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    if np.isfinite(results.errors).any():
        return (
            f"no trial counts, as the first model has none ({states}); all_finished=True counts "
            "those that are finished"
        )
    return f"no model has been trained yet ({states})"


def distinct_names(names: Sequence[str], places: Sequence[Path]) -> list[str]:
    """Return names, and for equal ones the shortest ends of paths that distinguish them."""
    names = list(names)
    for length in range(2, max(len(place.parts) for place in places) + 1):
        names = [
            readable("/".join(place.parts[-length:])) if names.count(name) > 1 else name
            for name, place in zip(names, places, strict=True)
        ]
    return names


def _chance(trials: tuple[Trial, ...], classes: int) -> float:
    """Error of guessing: that of diverged trials, else that of the space's classes."""
    for trial in trials:
        if trial.state is TrialState.DIVERGED and trial.error is not None:
            return trial.error
    return 100.0 * (1 - 1 / classes)


def _provenance(run: Run, space: dict[str, Any], trials: tuple[Trial, ...]) -> Provenance:
    recipe, data = run.recipe(), run.data()
    keys = sorted({key for trial in trials for key in trial.versions})
    seeds = {trial.seed for trial in trials}
    return Provenance(
        path=readable(str(run.path)),
        sample=space.get("sample", {}),
        recipe={} if recipe is None else recipe.to_dict(),
        data="" if data is None else source_name(data.source),
        splits=tuple(sorted({trial.split for trial in trials})),
        seeds=tuple(sorted({min(seeds), max(seeds)})) if seeds else (),
        versions={
            key: tuple(sorted({t.versions[key] for t in trials if key in t.versions}))
            for key in keys
        },
        seconds=training_seconds(trials),
        reasons=_reasons(trials),
        notes=(*(str(space[key]) for key in ("reason",) if space.get(key)), *_copies(trials)),
        train_images=0 if data is None else data.train_images,
        val_images=0 if data is None else data.val_images,
        content="" if data is None else data.content,
        seed=None if data is None else data.seed,
    )


def _copies(trials: tuple[Trial, ...]) -> list[str]:
    """Say which other populations trained some of the models."""
    counts = Counter(trial.copied_from for trial in trials if trial.copied_from)
    return [
        f"{counted(n, 'model was', 'models were')} trained for {readable(name)}, by the same "
        "recipe and seed, and not again"
        for name, n in counts.items()
    ]


def _reasons(trials: tuple[Trial, ...]) -> dict[str, int]:
    """Why trials were not completed, with the number of each, most frequent first."""
    reasons = (
        f"{trial.state.value}: {trial.reason or 'no reason given'}"
        for trial in trials
        if trial.state is not TrialState.COMPLETE
    )
    return dict(Counter(reasons).most_common())
