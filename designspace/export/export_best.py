"""The best models of a study as files of other libraries, with a manifest.

A study is a run folder, or a folder of `designspace analyze`. The manifest says of each model its
rank, its error with a 95 % interval, its cost, and the checksum of every file.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from designspace.analysis.study_findings import BestModel, read_findings
from designspace.arch import model_name
from designspace.errors import InputError
from designspace.export.exporter import Exported, Options, export
from designspace.export.manifest import entry, write_manifest
from designspace.export.target import Target
from designspace.io.atomic_write import make_folder
from designspace.runs import Run, TrialState
from designspace.stats.intervals import proportion


def export_best(
    folder: Path,
    most: int,
    population: str | None,
    targets: Sequence[Target],
    out: Path,
    options: Options,
    size: tuple[int | None, int | None],
    say: Callable[[str], None],
) -> list[Exported]:
    """Export the best models of a study and write `manifest.json`.

    Args:
        folder: A run folder, or one of `designspace analyze`.
        most: How many.
        population: Which population of an analysis; None takes RegNets first, then by mean error.
        targets: Where to.
        out: Folder; each model gets one inside.
        options: How to export.
        size: Resolution and classes in place of the study's, or None.
        say: Called with what is being done.

    Raises:
        InputError: The folder is no study, or holds no finished models.
    """
    if most < 1:
        raise InputError(f"--best is {most}; it must be at least 1")
    models, run = best_models(folder, most, population)
    make_folder(out)
    done, entries = [], []
    for best in models:
        say(f"rank {best.rank} of {len(models)}")
        name = f"{best.rank:02d}-{best.model.body.id}"  # the id in a file could be a path
        made = export(best.model.at(*size), targets, out / name, options, say)
        done.append(made)
        entries.append(_entry(best, made, run, out))
    about = {
        "study": str(folder),
        "population": models[0].model.name.rsplit("-", 1)[0],
        "about": "error: top-1 in percent on the validation split after the last epoch; interval: "
        "Wilson's 95 % for that split's size. The best of many looks better than it is: the "
        "interval does not allow for the choice.",
    }
    write_manifest(out, about, targets, entries)
    return done


def best_models(
    folder: Path, most: int, population: str | None
) -> tuple[tuple[BestModel, ...], Run | None]:
    """Return the best models of a study by error, and its run folder where that is at hand."""
    if (folder / "summary.json").is_file():
        found = read_findings(folder, population)
        return found.models(most), None if found.run is None else Run(found.run)
    run = Run.open(folder)
    people = run.population()
    trials = [trial for trial in run.trials() if trial.state is TrialState.COMPLETE]
    if not trials:
        raise InputError(
            f"{folder} has no finished trials; `designspace train {folder}` makes them"
        )
    trials.sort(key=lambda trial: (trial.error, trial.index))
    sample = run.space().get("sample") or {}
    origin = [("run", str(folder)), ("space", str(run.space().get("name", "")))]
    origin += [(key, str(sample[key])) for key in ("seed", "hash") if key in sample]
    best = []
    for rank, trial in enumerate(trials[:most], start=1):
        assert trial.error is not None
        model = people.model(trial.index, model_name(run.name, trial.index))
        provenance = (*origin, ("id", trial.id), ("index", str(trial.index)))
        best.append(
            BestModel(
                rank, trial.id, trial.index, trial.error, replace(model, provenance=provenance)
            )
        )
    return tuple(best), run


def _entry(best: BestModel, made: Exported, run: Run | None, out: Path) -> dict[str, Any]:
    data = None if run is None else run.data()
    interval = None
    if data is not None:
        wrong = proportion(round(best.error / 100 * data.val_images), data.val_images)
        interval = [round(100 * end, 3) for end in (wrong.low, wrong.high)]
    return {
        "rank": best.rank,
        "id": best.id,
        "index": best.index,
        "error": best.error,
        "interval": interval,
        "images": None if data is None else data.val_images,
        **entry(made, out),
    }
