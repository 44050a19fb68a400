"""Check that what a study has trained and written agrees with its file, which may have changed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from designspace.arch.model_file import read_model
from designspace.derivation.cost_target import parse_target
from designspace.derivation.scaling_rules import find_rule
from designspace.errors import InputError
from designspace.export.manifest import MANIFEST
from designspace.export.target_registry import find_target
from designspace.io.text_files import read_text
from designspace.io.validation import list_mistakes
from designspace.runs import Recipe, Run
from designspace.studies.study_file import DerivedEntry, PopulationEntry, StudyFile

# Data sets that are other images wherever their names differ; folders may hold the same ones.
_NAMED_DATA = ("digits", "cifar10", "cifar100")
# Options of a training that override the recipe's.
_OF_RECIPE = ("batch_size", "lr", "precision")


def check_begun(
    folder: Path, file: StudyFile, recipe: Recipe, options: Mapping[str, Any], path: Path
) -> None:
    """Check what was trained, derived and exported before by what the study's file states now.

    Args:
        folder: The study's results.
        file: What the file states.
        recipe: The study's recipe.
        options: Options of the training, as of `designspace.train`.
        path: The study's file.

    Raises:
        InputError: With place and difference, for the first five.
    """
    mistakes = [*_trained(folder, file, recipe, options), *_written(folder, file)]
    if mistakes:
        raise InputError(f"study: {path}: {list_mistakes(mistakes)}")


def _trained(
    folder: Path, file: StudyFile, recipe: Recipe, options: Mapping[str, Any]
) -> Iterator[str]:
    entries = {name: file.entry(name) for name in file.runs} | file.derived_runs
    for name, entry in entries.items():
        if not (folder / name / "space.yaml").is_file():
            continue
        run = Run.open(folder / name)
        if run.begun:
            try:
                _check_training(run, file, entry, recipe, options)
            except InputError as error:
                yield str(error)


def _check_training(
    run: Run, file: StudyFile, entry: PopulationEntry, recipe: Recipe, options: Mapping[str, Any]
) -> None:
    before = run.data()
    now = recipe.override(
        epochs=entry.epochs or file.epochs, **{key: options.get(key) for key in _OF_RECIPE}
    )
    # The images themselves are compared once more are trained on.
    data = before and replace(before, seed=entry.seed, val=entry.val or file.val)
    run.check_training(now.at(run.population().skeleton.resolution), data)
    if before is None or options.get("data") is None:
        return
    names = [spec.partition(":")[0] for spec in (before.source, options["data"])]
    if names[0] != names[1] and set(names) <= set(_NAMED_DATA):
        raise InputError(
            f"{run.path} was trained on {names[0]}, and data is {names[1]} now; repeat the earlier "
            "data, or write the results into another folder"
        )


def _written(folder: Path, file: StudyFile) -> Iterator[str]:
    for name, entry in file.derived.items():
        model = folder / "derived" / f"{name}.yaml"
        if model.is_file():
            yield from _derived(f"derived.{name}", model, entry)
        exported = folder / "exported" / name
        yield from _exported(f"derived.{name}.export", exported, entry.export)
    for place, export in file.exports.items():
        # As many as there are, where fewer models than the best so many have an error.
        run = folder / export.population
        ranked = Run.open(run).ranked_trials() if (run / "space.yaml").is_file() else ()
        best = min(export.best, len(ranked) or export.best)
        yield from _exported(f"exports.{place}", folder / place, export.to, best)


def _derived(place: str, path: Path, entry: DerivedEntry) -> Iterator[str]:
    """Compare target and rule of a derived model with its entry; more is not written in its file.

    A model keeps its rule unless it was searched, and its target unless it was scaled by a factor.
    """
    origin = dict(read_model(path).provenance)
    target = parse_target(entry.flops, entry.params, entry.acts)
    now = {
        "target": None if target is None else str(target),
        "rule": None if entry.search is not None else find_rule(entry.rule).name,
        "factor": None if entry.scale is None else f"{entry.scale:.10g}",
    }
    for key, value in now.items():
        if value is not None and origin.get(key, value) != value:
            yield (
                f"{place}: {path} was derived with {key} {origin[key]}, and the file states "
                f"{value}; restore it, or remove the model and what was trained of it"
            )


def _exported(
    place: str, folder: Path, targets: Sequence[str], best: int | None = None
) -> Iterator[str]:
    if not targets or not (folder / MANIFEST).is_file():
        return
    manifest = json.loads(read_text(folder / MANIFEST, "manifest"))
    before = [*manifest["targets"], *([] if best is None else [f"{len(manifest['models'])} best"])]
    now = [find_target(name).name for name in dict.fromkeys(targets)]
    now += [] if best is None else [f"{best} best"]
    if set(before) != set(now):
        yield (
            f"{place}: {folder} has {', '.join(before)}, and the file states {', '.join(now)}; "
            "restore it, or remove the folder to export again"
        )
