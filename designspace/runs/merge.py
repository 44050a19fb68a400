"""Join the trials of one population that were trained in several places."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from designspace.arch import Model
from designspace.errors import InputError
from designspace.io.atomic_write import make_folder, write_text
from designspace.io.text_files import read_text
from designspace.runs.folder_kind import check_new_run
from designspace.runs.image_results import append_correct, read_correct
from designspace.runs.run import Run
from designspace.runs.trial import UNSPECIFIED_SPLIT, Trial, TrialState


@dataclass(frozen=True)
class Merged:
    """Result of a merge.

    Attributes:
        n: Models in the population.
        trials: Models that have a trial now.
        added: Trials that the folder did not have before.
        repeated: Trials that it already had, with equal state, error and curve.
        differing: Indices of models trained twice with different results; the first one counts.
    """

    n: int
    trials: int
    added: int
    repeated: int
    differing: tuple[int, ...]


def merge(sources: list[Run], out: Run) -> Merged:
    """Join the trials of run folders of one population into a folder, which may be one of them.

    Args:
        sources: Folders with equal population, recipe, data, split and seed.
        out: Created from the first source if it doesn't exist.

    Raises:
        InputError: The folders differ in population, recipe, data, split or seed, or another
            process uses `out`.
    """
    check_new_run(out.path)
    if out.path.is_dir():
        out.check_files()
    _common_first(sources)
    make_folder(out.path)
    with out.lock():
        _copy_definition(sources, out)
        return _join(sources, out)


def _common_first(runs: list[Run]) -> Run:
    """Return the run that sets recipe and data: the first trained one.

    Raises:
        InputError: The runs do not go together.
    """
    first = next((run for run in runs if _trained(run)), runs[0])
    for other in runs:
        _compare(first, other)
    return first


def _copy_definition(sources: list[Run], out: Run) -> None:
    """Write population, recipe and space as far as the folder lacks them."""
    if not out.space_file.exists():
        first = _common_first(sources)
        # space.yaml last: it marks the folder as complete.
        for file in (first.population_file, first.recipe_file, first.space_file):
            if file.exists():
                write_text(out.path / file.name, read_text(file, "merge"))
        return
    first = _common_first([*sources, out])
    if _trained(first) and not _trained(out):
        write_text(out.recipe_file, read_text(first.recipe_file, "merge"))


def _join(sources: list[Run], out: Run) -> Merged:
    current = {trial.index: trial for trial in out.trials()}
    recorded = {_result(trial) for trial in out.every_trial()}
    added: list[Trial] = []
    repeated, differing = 0, set()
    for source in sources:
        if os.path.realpath(source.path) == os.path.realpath(out.path):
            continue
        for trial in source.trials():
            before, result = current.get(trial.index), _result(trial)
            if before is None or before.state is TrialState.FAILED:
                current[trial.index] = trial
            elif trial.state is TrialState.FAILED:
                continue
            differs = _result(current[trial.index]) != result
            if differs:  # the first one counts; the journal keeps both
                differing.add(trial.index)
            if result not in recorded:
                recorded.add(result)
                added.append(trial)
            elif not differs:
                repeated += 1
    _join_images(sources, out, list(current.values()))
    out.append_trials(added)
    _join_measurements(sources, out)
    n = len(out.population())
    return Merged(n, len(out.trials()), len(added), repeated, tuple(sorted(differing)))


def _join_measurements(sources: list[Run], out: Run) -> None:
    """Append what the sources measured and the folder lacks; the first of equal settings counts."""
    measured = {m.key: m for source in reversed(sources) for m in source.measurements()}
    out.append_measurements(list(measured.values()))


def copy_measurements(models: Sequence[Model], run: Run) -> None:
    """Append what was measured of models that come from other runs, by their provenance."""
    origins = {dict(model.provenance).get("run", "") for model in models} - {""}
    keys = {(model.body.id, model.params, model.flops) for model in models}
    measured = [m for path in sorted(origins) for m in Run(path).measurements()]
    with run.lock():
        run.append_measurements([m for m in measured if m.key[:3] in keys])


def _join_images(sources: list[Run], out: Run, trials: list[Trial]) -> None:
    """Append the results of single images of `trials` that the folder does not have yet."""
    kept = set(read_correct(out.path, trials))
    for source in sources:
        images = read_correct(source.path, trials)
        added = images.keys() - kept
        if added:
            append_correct(out.path, [(t, images[t.index]) for t in trials if t.index in added])
            kept |= added


def _trained(run: Run) -> bool:
    return run.begun and run.recipe() is not None


def _result(trial: Trial) -> tuple[object, ...]:
    return trial.id, trial.state, trial.error, trial.curve, trial.reason


def _compare(first: Run, other: Run) -> None:
    hashes = [folder.space().get("sample", {}).get("hash") for folder in (first, other)]
    if hashes[0] != hashes[1] or first.population().ids != other.population().ids:
        raise InputError(
            f"{first.path} and {other.path} hold different populations (space, budget, seed or n "
            "differ)"
        )
    recipe = other.recipe()
    if recipe is not None and _trained(first) and _trained(other):
        first.check_training(recipe, other.data())
    splits = {trial.split for run in (first, other) for trial in run.trials()}
    if len(splits - {UNSPECIFIED_SPLIT}) > 1:
        raise InputError(
            f"{first.path} and {other.path} measured errors on different splits: "
            f"{', '.join(sorted(splits))}"
        )
