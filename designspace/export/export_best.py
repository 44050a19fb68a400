"""Export the best models of a study, with a manifest of ranks, errors, cost and checksums."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from designspace.analysis.study_findings import BestModel, read_findings
from designspace.errors import InputError
from designspace.export.export_model import Exported, ExportOptions, write_targets
from designspace.export.manifest import write_manifest
from designspace.export.targets import find_target
from designspace.io.atomic_write import make_folder
from designspace.runs import Run
from designspace.stats.intervals import proportion

_ABOUT = (
    "error: top-1 in percent on the validation split after the last epoch; interval: Wilson's 95 % "
    "for that split's size. The best of many looks better than it is: the interval does not allow "
    "for the choice."
)


def export_best(
    study: str | Path,
    count: int,
    targets: str | Sequence[str],
    out: str | Path,
    *,
    population: str | None = None,
    verify: bool | None = None,
    outputs: bool | None = None,
    nearest: bool = False,
    resolution: int | None = None,
    classes: int | None = None,
) -> list[Exported]:
    """Export the best models of a study, each to its own folder, and write manifest.json.

    Args:
        study: A run folder, or a folder of findings.
        count: Number of models.
        targets: As of `Model.export`.
        out: Folder; each model gets its own inside.
        population: Population of the findings; by default RegNets first, then by mean error.
        verify: As of `Model.export`.
        outputs: As of `Model.export`.
        nearest: As of `Model.export`.
        resolution: Input resolution in pixels; by default the study's.
        classes: Number of classes; by default the study's.

    Raises:
        InputError: The folder is not a study, or has no finished models.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=3, flops="180K:220K", out="results/exported")
        >>> for i, error in enumerate([3.0, 1.0, 2.0]):
        ...     run.record(i, error=error)
        >>> exports = ds.export_best("results/exported", 2, "pycls", "results/pycls")
        >>> [exported.model.name for exported in exports]
        ['exported-1', 'exported-2']
    """
    study, out = Path(study), Path(out)
    if count < 1:
        raise InputError(f"count is {count}; it must be at least 1", "count")
    names = [targets] if isinstance(targets, str) else targets
    libraries = [find_target(name) for name in dict.fromkeys(names)]
    options = ExportOptions(None, verify, outputs, nearest)
    models, run, name = best_models(study, count, population)
    data = None if run is None else run.data()
    make_folder(out)
    exports, entries = [], []
    for best in models:
        model = best.model.at(resolution, classes)
        # The id is computed here, because one in a file could be a path.
        folder = out / f"{best.rank:02d}-{best.model.body.id}"
        exported = write_targets(model, libraries, folder, options)
        exports.append(exported)
        entry = {"rank": best.rank, "id": best.id, "index": best.index, "error": best.error}
        measured = _interval(best.error, None if data is None else data.val_images)
        entries.append({**entry, **measured, **exported.manifest_entry(out)})
    about = {"study": str(study), "population": name, "about": _ABOUT}
    write_manifest(out, about, libraries, entries)
    return exports


def best_models(
    study: Path, count: int, population: str | None = None
) -> tuple[tuple[BestModel, ...], Run | None, str]:
    """Return the best models of a study by error, its run if that exists, and its name."""
    if (study / "summary.json").is_file():
        findings = read_findings(study, population)
        run = None if findings.run is None else Run(findings.run)
        return findings.models(count), run, findings.population
    run = Run.open(study)
    ranked = run.ranked_trials()[:count]
    if not ranked:
        raise InputError(f"{study} has no finished trials; `designspace train {study}` runs them")
    models = []
    for rank, trial in enumerate(ranked, start=1):
        assert trial.error is not None
        model = run.model(trial.index)
        models.append(BestModel(rank, trial.id, trial.index, trial.error, model))
    return tuple(models), run, run.name


def _interval(error: float, images: int | None) -> dict[str, Any]:
    """Return Wilson's 95 % interval of an error in percent, and the images it is from."""
    if images is None:
        return {"interval": None, "images": None}
    wrong = proportion(round(error / 100 * images), images)
    return {"interval": [round(100 * end, 3) for end in (wrong.low, wrong.high)], "images": images}
