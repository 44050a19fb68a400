"""What an analysis found, as a starting point: the best models' RegNet parameters and their frame.

Reads `summary.json` of a folder that `designspace analyze` wrote. A population of RegNets gives its
parameters outright (medians of the empirical bootstrap of the best); AnyNets give those of the
quantized-linear fits to their best models.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from designspace.analysis.fit_regnet import fitted_regnet
from designspace.analysis.imported_folder import IMPORT_FILE
from designspace.arch import (
    BOTTLENECK,
    Body,
    Model,
    RegNetParams,
    Skeleton,
    model_name,
    require_bottleneck,
)
from designspace.errors import InputError, nearest
from designspace.io.text_files import read_text
from designspace.io.validation import validate
from designspace.runs import Run
from designspace.space import load_space

SUMMARY_FILE = "summary.json"
_REMEDY = "it was damaged or edited: run `designspace analyze` again"
NAMES = ("d", "w_0", "w_a", "w_m", "b", "g")


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Population(_Loose):
    name: str
    space: str
    family: str
    n: int
    mean: float
    flops: tuple[int, int] | None = None
    path: str | None = None


class _Interval(_Loose):
    low: float
    median: float
    high: float
    best: float
    few: bool = False


class _Best(_Loose):
    id: str
    index: int
    error: float
    flops: int
    params: int
    acts: int
    arch: dict[str, Any]
    regnet: dict[str, Any] | None = None


class Summary(_Loose):
    """What is read of summary.json; the rest of it is for other readers."""

    populations: list[_Population]
    bootstrap: dict[str, dict[str, _Interval]] = {}
    best: dict[str, list[_Best]] = {}


@dataclass(frozen=True)
class BestModel:
    """One of the best models of a study: its rank from 1, error in percent, cost and network."""

    rank: int
    id: str
    index: int
    error: float
    model: Model


@dataclass(frozen=True)
class StudyPopulation:
    """One population's findings.

    Attributes:
        folder: The analysis folder.
        population: The run's name.
        space: The space's name.
        n: Number of models.
        flops: Least and most multiply-adds of its models.
        run: The run folder, where it still lies.
        frame: What lies around the stages of its models, or None where that is not known.
        regnets: RegNet parameters of the best models, by error.
        intervals: 95 % interval and median of each parameter of the best: (low, median, high).
        fitted: Whether parameters were fitted to AnyNets.
        few: Whether too few models carry the intervals.
        best: The best models, by error.
    """

    folder: Path
    population: str
    space: str
    n: int
    flops: tuple[int, int] | None
    run: Path | None
    skeleton: Skeleton | None
    regnets: tuple[RegNetParams, ...]
    intervals: Mapping[str, tuple[float, float, float]]
    fitted: bool
    few: bool
    best: tuple[_Best, ...]

    def origin(self) -> tuple[tuple[str, str], ...]:
        """Return the provenance of a network from here: findings, run, space, seed."""
        pairs = [
            ("findings", str(self.folder)),
            ("run", str(self.run or self.population)),
            ("space", self.space),
        ]
        if self.run is not None:
            sample = Run(self.run).space().get("sample") or {}
            pairs += [(key, str(sample[key])) for key in ("seed", "hash") if key in sample]
        return tuple(pairs)

    def models(self, most: int, skeleton: Skeleton | None = None) -> tuple[BestModel, ...]:
        """Return the best models as whole networks, by error.

        Raises:
            InputError: The frame is not known, or a record is no network.
        """
        around = skeleton or self.skeleton
        if around is None:
            raise InputError(_no_frame(self))
        return tuple(
            BestModel(rank, one.id, one.index, one.error, self._model(one, around))
            for rank, one in enumerate(self.best[:most], start=1)
        )

    def _model(self, one: _Best, skeleton: Skeleton) -> Model:
        origin = (*self.origin(), ("id", one.id), ("index", str(one.index)))
        regnet = _regnet(one.regnet, self.folder) if one.regnet else None
        name = model_name(self.population, one.index)
        return Model(name, Body.from_dict(one.arch), skeleton, regnet, origin)

    def median_model(self, skeleton: Skeleton | None, se_ratio: float) -> tuple[Model, list[str]]:
        """Return the network of the medians, and what was done, a sentence each.

        Medians of single parameters may give another number of stages than the frame has; then the
        best model of all stands in.

        Raises:
            InputError: The frame is not known, or no model of the findings has as many stages.
        """
        around = skeleton or self.skeleton
        if around is None:
            raise InputError(_no_frame(self))
        kind = "fits to the best AnyNets" if self.fitted else "the best models"
        steps = [
            f"{self.folder}: {self.n} models of {self.space} ({self.population}); the likely best "
            f"value (95 % interval) of each parameter, from {kind}: "
            + ", ".join(f"{k} {m:g} ({lo:g} to {hi:g})" for k, (lo, m, hi) in self._shown())
            + "."
        ]
        medians = {name: values[1] for name, values in self.intervals.items()}
        candidates = [_regnet(medians, self.folder), *self.regnets]
        counts = [regnet.body().num_stages for regnet in candidates]
        if around.num_stages not in counts:
            raise InputError(
                f"{self.folder}: no RegNet that fits {self.population} has {around.num_stages} "
                "stages: too few models, or too short a schedule, to tell. Train more models or "
                "epochs, or leave --from out"
            )
        place = counts.index(around.num_stages)
        if place:
            steps.append(
                f"The medians together give {counts[0]} stages where {around.num_stages} are "
                f"wanted; the model of rank {place} by error is taken instead."
            )
        name = model_name("best-of", self.population)
        model = Model.from_regnet(name, candidates[place], se_ratio, around)
        return replace(model, provenance=self.origin()), steps

    def _shown(self) -> list[tuple[str, tuple[float, float, float]]]:
        return [(name, self.intervals[name]) for name in NAMES]

    def extrapolation(self, model: Model) -> str | None:
        """Say how far a network's flops lie outside those of the findings, or return None."""
        if self.flops is None:
            return f"{self.folder} does not say how many flops its models have"
        low, high = self.flops
        ratio = model.flops / high if model.flops > high else low / model.flops
        notes = []
        if ratio > 1:
            way = "above the most" if model.flops > high else "below the least"
            notes.append(
                f"the findings are of networks of {low:,} to {high:,} multiply-adds; this one, "
                f"with {model.flops:,}, is extrapolated {ratio:.4g} times {way} of them"
            )
        if self.skeleton is not None and model.skeleton.resolution != self.skeleton.resolution:
            notes.append(
                f"the findings are of {self.skeleton.resolution} pixel images; this network is for "
                f"{model.skeleton.resolution}"
            )
        return "; ".join(notes) or None


def read_findings(folder: Path, population: str | None = None) -> StudyPopulation:
    """Read an analysis folder and pick a population: RegNets first, then by mean error.

    Raises:
        InputError: The folder is not one of `designspace analyze`, or holds no such population.
    """
    path = folder / SUMMARY_FILE
    if not path.is_file():
        raise InputError(
            f"{folder} holds no {SUMMARY_FILE}; `designspace analyze RUN … --out {folder}` "
            "writes one"
        )
    summary = read_summary(path)
    chosen = _choose(summary, population, path)
    run = find_run(chosen.path, folder)
    if run is not None and not (run / "space.yaml").is_file():  # it was imported
        run = None
    best = summary.best.get(chosen.name, [])
    if not best:
        raise damaged(path, f"best.{chosen.name}: no models")
    block = str((best[0].arch or {}).get("block", BOTTLENECK))
    require_bottleneck(block, f"{path}: {chosen.name}: derive")
    regnets, intervals, few = _parameters(summary, chosen, path)
    return StudyPopulation(
        folder=folder,
        population=chosen.name,
        space=chosen.space,
        n=chosen.n,
        flops=chosen.flops,
        run=run,
        skeleton=_frame(run, chosen.space),
        regnets=regnets,
        intervals=intervals,
        fitted=chosen.family != "regnet",
        few=few,
        best=tuple(best),
    )


def read_summary(path: Path) -> Summary:
    """Read the summary.json of an analysis.

    Raises:
        InputError: It is damaged.
    """
    text = read_text(path, "findings")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise damaged(path, "must be a map")
    try:
        summary = validate(Summary, data, path, "findings")
    except InputError as error:
        raise InputError(f"{error}; {_REMEDY}") from None
    if not summary.populations:
        raise damaged(path, "populations: none")
    return summary


def find_run(path: str | None, folder: Path) -> Path | None:
    """Return where a run of an analysis lies, or None.

    Its path holds from where `designspace analyze` was started: that is here, or some folder above
    the analysis, wherever both were moved together.
    """
    if path is None:
        return None
    here = Path(os.path.realpath(folder))
    places = (base / path for base in (Path(), *here.parents))
    marks = ("space.yaml", IMPORT_FILE)
    return next((p for p in places if any((p / mark).is_file() for mark in marks)), None)


def damaged(path: Path, what: str) -> InputError:
    """Return the error for a summary.json that is not as `designspace analyze` writes it."""
    return InputError(f"findings: {path}: {what}; {_REMEDY}")


def _choose(summary: Summary, wished: str | None, path: Path) -> _Population:
    names = [population.name for population in summary.populations]
    if wished is not None:
        if wished not in names:
            raise InputError(f"{path} has no population {wished!r}; {nearest(wished, names)}")
        return summary.populations[names.index(wished)]
    return min(summary.populations, key=lambda p: (p.family != "regnet", p.mean))


def _parameters(
    summary: Summary, chosen: _Population, path: Path
) -> tuple[tuple[RegNetParams, ...], dict[str, tuple[float, float, float]], bool]:
    """Return the best RegNets, the interval of each parameter, and whether few carry them."""
    best = summary.best[chosen.name]
    if chosen.family == "regnet":
        found = summary.bootstrap.get(chosen.name, {})
        missing = [name for name in NAMES if name not in found]
        if missing:
            raise damaged(path, f"bootstrap.{chosen.name}.{missing[0]}: missing")
        regnets = tuple(_regnet(one.regnet, path) for one in best if one.regnet)
        intervals = {k: (found[k].low, found[k].median, found[k].high) for k in NAMES}
        return regnets, intervals, any(found[name].few for name in NAMES)
    regnets = tuple(fitted_regnet(Body.from_dict(one.arch)) for one in best)
    intervals = {}
    for name in NAMES:
        values = [getattr(regnet, name) for regnet in regnets]
        low, median, high = np.quantile(values, (0.025, 0.5, 0.975), method="inverted_cdf")
        intervals[name] = (float(low), float(median), float(high))
    return regnets, intervals, True


def _regnet(values: Mapping[str, Any], path: Path) -> RegNetParams:
    try:
        return RegNetParams(
            d=int(values["d"]),
            w_0=int(values["w_0"]),
            w_a=float(values["w_a"]),
            w_m=float(values["w_m"]),
            b=float(values["b"]),
            g=int(values["g"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(path, str(error)) from None


def _frame(run: Path | None, space: str) -> Skeleton | None:
    """The run's own frame; where the run is gone, that of the shipped space of the name."""
    if run is not None:
        return Run(run).population().skeleton
    try:
        return load_space(space).skeleton
    except InputError:
        return None


def _no_frame(found: StudyPopulation) -> str:
    return (
        f"{found.folder}: the run of {found.population} is gone and {found.space!r} is no shipped "
        "space, so the input size of its networks is not known; give --imagenet"
    )
