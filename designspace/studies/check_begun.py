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
from designspace.studies.study_inputs import (
    entry_recipe,
    population_space,
    sample_hash,
    study_budgets,
)
from designspace.studies.toggle import toggled_hash

# Data sets that are other images wherever their names differ; folders may hold the same ones.
_NAMED_DATA = ("digits", "cifar10", "cifar100")
# The key of a derived model's provenance that has its entry.
DERIVATION = "study entry"
# What the file of every derived model has of its entry.
_KEPT = ("target", "rule", "factor")


def check_begun(
    folder: Path, file: StudyFile, recipe: Recipe, options: Mapping[str, Any], path: Path
) -> None:
    """Check what was sampled, trained, derived and exported by what the study's file states now.

    Args:
        folder: The study's results.
        file: What the file states.
        recipe: The study's recipe.
        options: Options of the training, as of `designspace.train`.
        path: The study's file.

    Raises:
        InputError: With place and difference, for the first five.
    """
    mistakes = [
        *_sampled(path, folder, file),
        *_trained(folder, file, recipe, options),
        *_written(folder, file),
    ]
    if mistakes:
        raise InputError(f"study: {path}: {list_mistakes(mistakes)}")


def _sampled(path: Path, folder: Path, file: StudyFile) -> Iterator[str]:
    """Compare what populations were sampled from; their hashes need no sampling."""
    spaces = {entry.run: folder / entry.space for entry in file.refinements}
    for name in file.runs:
        place = folder / name
        if not (place / "space.yaml").is_file() or (name in spaces and not spaces[name].is_file()):
            continue
        run, toggle = Run.open(place), file.entry(name).toggle
        record = run.space().get("sample", {})
        stated = sample_hash(file, name, population_space(path, folder, file, name), run)
        stated = stated if toggle is None else toggled_hash(stated, toggle)
        if record.get("hash", stated) != stated:
            budget = [budget.to_dict() for budget in study_budgets(file, name)]
            differs = [
                key
                for key, now in (("budget", budget), ("seed", file.seed))
                if record.get(key) != now
            ]
            if record["hash"].partition("-")[2] != stated.partition("-")[2]:
                differs.append("toggle")
            yield (
                f"{place} was sampled with another {' and '.join(differs) or 'space'} than the "
                "file states; restore it, or write the results into another folder"
            )


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
    now = entry_recipe(recipe, file, entry, options)
    # The images themselves are compared once more are trained on.
    data = before and replace(before, seed=entry.seed, val=file.val_of(entry))
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
    """Compare the entry that a model was derived by, as far as its file has it, with its entry now.

    Models of earlier versions have their rule unless they were searched, and their target unless
    they were scaled by a factor.
    """
    origin, now = dict(read_model(path).provenance), derivation_of(entry)
    try:
        before = dict(json.loads(origin.get(DERIVATION, "{}")))
    except (TypeError, ValueError):
        yield f"{place}: {path}: provenance.{DERIVATION} was edited; restore it, or leave it out"
        return
    if not before:
        before = {key: origin.get(key, value) for key, value in now.items() if key in _KEPT}
        now = {key: now[key] for key in before}
    for key in dict.fromkeys([*now, *before]):
        if before.get(key) != now.get(key):
            earlier = f"with {key} {before[key]}" if key in before else f"without {key}"
            yield (
                f"{place}: {path} was derived {earlier}, and the file states "
                f"{now.get(key, 'none')}; restore it, or remove the model and what was trained of "
                "it"
            )


def derivation_of(entry: DerivedEntry) -> dict[str, str]:
    """Return what a model is derived from and how, as text; what an entry leaves out is absent."""
    target = parse_target(entry.flops, entry.params, entry.acts)
    stated = {
        "target": None if target is None else str(target),
        "rule": None if entry.search is not None else find_rule(entry.rule).name,
        "factor": None if entry.scale is None else f"{entry.scale:.10g}",
        **entry.model_dump(include={"family", "source", "population", "search"}),
        "imagenet": entry.imagenet or None,
    }
    return {key: str(value) for key, value in stated.items() if value is not None}


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
