"""Export the best models of a study, or those on its Pareto front, with a manifest of ranks,
errors, cost and checksums.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from designspace.analysis.load_results import load_results
from designspace.analysis.read_findings import BestModel, read_findings
from designspace.analysis.summary import SUMMARY_FILE
from designspace.analysis.trade_off import one_trade_off
from designspace.arch import Model
from designspace.arch.model_file import model_text
from designspace.errors import InputError, check_types
from designspace.export.export_model import (
    Exported,
    ExportOptions,
    finish_exports,
    write_targets,
)
from designspace.export.manifest import check_manifest, check_model_file
from designspace.export.target import Target
from designspace.export.target_registry import find_target
from designspace.io.atomic_write import POPULATION_FILE, make_output_folder
from designspace.runs import Run
from designspace.runs.run_list import check_run
from designspace.stats.intervals import proportion

_ABOUT = (
    "error: top-1 in percent on the validation split after the last epoch; interval: Wilson's 95 % "
    "for that split's size. The best of many looks better than it is: the interval does not allow "
    "for the choice. drawn: its settings in training, where the space draws any."
)
_FRONT = (
    "rank: by cost; cost: in seconds or bytes where measured; frequency: share of the bootstrap "
    "samples with this model on whose front it is."
)


@check_types
def export_best(
    study: str | Path | Run,
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
        study: A run, its folder, or a folder of findings.
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
        InputError: The folder is not a study, or has no finished models, or `out` has a model.yaml
            or manifest.json that no export wrote.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=3, flops="180K:220K", out="results/exported")
        >>> for i, error in enumerate([3.0, 1.0, 2.0]):
        ...     run.record(i, error=error)
        >>> exports = ds.export_best("results/exported", 2, "pycls", "results/pycls")
        >>> [exported.model.name for exported in exports]
        ['exported-1', 'exported-2']
    """
    check_run(study, "study")
    study, out = study.path if isinstance(study, Run) else Path(study), Path(out)
    if count < 1:
        raise InputError(f"count is {count}; it must be at least 1", "count")
    names = [targets] if isinstance(targets, str) else targets
    libraries = [find_target(name) for name in dict.fromkeys(names)]
    options = ExportOptions(None, verify, outputs, nearest)
    models, run, name = best_models(study, count, population)
    data = None if run is None else run.data()
    draws = {} if run is None else run.recipe_draws()
    about = {"study": str(study), "population": name, "about": _ABOUT}
    entries = [
        {
            **{"rank": best.rank, "id": best.id, "index": best.index, "error": best.error},
            **_interval(best.error, None if data is None else data.val_images),
            **_drawn(draws, best.index),
        }
        for best in models
    ]
    resized = [best.model.at(resolution, classes) for best in models]
    return write_models(resized, entries, libraries, out, options, about)


@check_types
def export_pareto(
    run: str | Path | Run,
    targets: str | Sequence[str],
    out: str | Path,
    *,
    against: str = "flops",
    setting: Mapping[str, Any] | None = None,
    verify: bool | None = None,
    outputs: bool | None = None,
    nearest: bool = False,
    resolution: int | None = None,
    classes: int | None = None,
) -> list[Exported]:
    """Export the models on a run's Pareto front of cost and error, and write manifest.json.

    Args:
        run: A run, or its folder.
        targets: As of `Model.export`.
        out: Folder; each model gets its own inside.
        against: flops, params, acts; or latency, memory of a measured run.
        setting: What a measured cost was measured on, where there are several settings, such as
            {"device": "cpu", "batch": 1}.
        verify: As of `Model.export`.
        outputs: As of `Model.export`.
        nearest: As of `Model.export`.
        resolution: Input resolution in pixels; by default the run's.
        classes: Number of classes; by default the run's.

    Raises:
        InputError: The folder is no run, two models lack a cost or an error, several settings were
            measured, or `out` has a model.yaml or manifest.json that no export wrote.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=4, flops="180K:220K", out="results/front")
        >>> for i in range(4):
        ...     run.record(i, error=40 - run.to_frame()["flops"][i] / 1e4)
        >>> len(ds.export_pareto(run, "pycls", "results/front-pycls"))
        4
    """
    check_run(run, "run")
    run = run if isinstance(run, Run) else Run.open(run)
    names = [targets] if isinstance(targets, str) else targets
    libraries = [find_target(name) for name in dict.fromkeys(names)]
    options = ExportOptions(None, verify, outputs, nearest)
    trade_off = one_trade_off(load_results(run), against, setting)
    (front,) = trade_off.populations
    ids, data, draws = run.population().ids, run.data(), run.recipe_draws()
    entries = [
        {
            **{"rank": rank, "id": ids[index], "index": index, "error": error},
            **_interval(error, None if data is None else data.val_images),
            **{"cost": cost, "frequency": round(frequency, 3)},
            **_drawn(draws, index),
        }
        for rank, (index, cost, error, frequency) in enumerate(
            zip(
                front.rows.tolist(),
                front.costs.tolist(),
                front.errors.tolist(),
                front.frequency.tolist(),
                strict=True,
            ),
            start=1,
        )
    ]
    about = {
        **{"study": str(run.path), "population": run.name, "against": against},
        "setting": None if trade_off.setting is None else str(trade_off.setting),
        "about": f"{_ABOUT} {_FRONT}",
    }
    models = [run.model(index).at(resolution, classes) for index in front.rows.tolist()]
    return write_models(models, entries, libraries, Path(out), options, about)


def write_models(
    models: Sequence[Model],
    entries: Sequence[Mapping[str, Any]],
    libraries: Sequence[Target],
    out: Path,
    options: ExportOptions,
    about: Mapping[str, Any],
) -> list[Exported]:
    """Export models, each to a folder named by its rank and id, and write their manifest."""
    check_manifest(out)
    # The id is computed here, because one in a file could be a path.
    folders = [out / f"{rank:02d}-{model.body.id}" for rank, model in enumerate(models, start=1)]
    for folder, model in zip(folders, models, strict=True):
        check_model_file(folder, model_text(model))
    make_output_folder(out)
    exports = [
        write_targets(model, libraries, folder, options)
        for folder, model in zip(folders, models, strict=True)
    ]
    return finish_exports(exports, entries, libraries, out, about)


def best_models(
    study: Path, count: int, population: str | None = None
) -> tuple[tuple[BestModel, ...], Run | None, str]:
    """Return the best models of a study by error, its run if that exists, and its name."""
    if not (study / POPULATION_FILE).is_file() and (study / SUMMARY_FILE).is_file():
        findings = read_findings(study, population)
        run = None if findings.run is None else Run(findings.run)
        return findings.models(count), run, findings.population
    if population is not None:
        raise InputError(
            f"population is {population!r}, but {study} is one run, not findings; leave it out",
            "population",
        )
    run = Run.open(study)
    ranked = run.ranked_trials()[:count]
    if not ranked:
        raise InputError(
            f"{study} has no finished trials; `designspace train {quote(str(study))}` runs them"
        )
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


def _drawn(draws: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return the settings that a model drew for its training, where its space draws any."""
    values = {name: float(drawn[index]) for name, drawn in draws.items()}
    settings = {name: int(v) if v.is_integer() else v for name, v in values.items()}
    return {"drawn": settings} if settings else {}
