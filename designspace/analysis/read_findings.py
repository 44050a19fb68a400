"""Findings as a starting point for other models: the best RegNet parameters of a study.

Reads the `summary.json` of a folder that `designspace analyze` wrote, or findings in memory. A
population of RegNets gives its parameters directly (medians of the empirical bootstrap of the
best); AnyNets give those of the quantized-linear fits to their best models.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from designspace.analysis.findings import Findings
from designspace.analysis.fit_regnet import fitted_regnet
from designspace.analysis.imported_folder import IMPORT_FILE, read_import_info
from designspace.analysis.summary import SUMMARY_FILE, damaged, read_summary, summarize
from designspace.analysis.summary_schema import ModelRecord, Population, Summary
from designspace.arch import (
    BOTTLENECK,
    Body,
    Model,
    RegNetParams,
    Skeleton,
    body_axes,
    model_name,
)
from designspace.errors import InputError, counted, nearest
from designspace.io.atomic_write import POPULATION_FILE
from designspace.runs import Run
from designspace.space import load_space

NAMES = ("d", "w_0", "w_a", "w_m", "b", "g")
IN_MEMORY = "findings in memory"


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
    """One population of an analysis.

    Attributes:
        findings: The analysis: its folder, or the findings in memory.
        population: The run's name.
        choice: Why it is this population, in words.
        space: The space's name.
        n: Number of models.
        flops: Fewest and most multiply-adds of its models, or None where they are unknown.
        run: The run folder, or None where it is gone or the population was imported.
        skeleton: Input, stem and strides of its models, or None where they are unknown.
        regnets: RegNet parameters of the best models, by error.
        intervals: Lower end, median and upper end of each parameter's range of the best.
        fitted: Whether parameters were fitted to AnyNets.
        few: Whether too few models carry the intervals.
        best: The best models, by error.
    """

    findings: Findings | Path
    population: str
    choice: str
    space: str
    n: int
    flops: tuple[int, int] | None
    run: Path | None
    skeleton: Skeleton | None
    regnets: tuple[RegNetParams, ...]
    intervals: Mapping[str, tuple[float, float, float]]
    fitted: bool
    few: bool
    best: tuple[ModelRecord, ...]

    @property
    def place(self) -> str:
        """Where the findings are: their folder, or that they are in memory."""
        return str(self.findings) if isinstance(self.findings, Path) else IN_MEMORY

    def origin(self) -> tuple[tuple[str, str], ...]:
        """Return the provenance of models derived from here: findings, run, space, seed."""
        pairs = [
            ("findings", self.place),
            ("run", str(self.run or self.population)),
            ("space", self.space),
        ]
        if self.run is not None:
            sample = Run(self.run).space().get("sample") or {}
            pairs += [(key, str(sample[key])) for key in ("seed", "hash") if key in sample]
        return tuple(pairs)

    def models(self, count: int, skeleton: Skeleton | None = None) -> tuple[BestModel, ...]:
        """Return the best models as whole networks, by error.

        Args:
            count: How many at most.
            skeleton: Input, stem and strides; None takes the population's own.

        Raises:
            InputError: The skeleton is unknown, or a record is no valid network.
        """
        around = self._skeleton(skeleton)
        models = []
        for rank, record in enumerate(self.best[:count], start=1):
            assert record.arch is not None
            provenance = (*self.origin(), ("id", record.id), ("index", str(record.index)))
            regnet = _regnet(record.regnet, self.place) if record.regnet else None
            name = model_name(self.population, record.index)
            body = Body.from_dict(record.arch)
            model = Model(name, body, around.with_stages(body.num_stages), regnet, provenance)
            models.append(BestModel(rank, record.id, record.index, record.error, model))
        return tuple(models)

    @property
    def block(self) -> str:
        """What the stages of its models are made of."""
        return _block_of(self.best)

    def median_model(
        self, skeleton: Skeleton | None, se_ratio: float | None
    ) -> tuple[Model, list[str]]:
        """Return the network of the median parameters, and how it was chosen, in sentences.

        The medians of single parameters may give a number of stages that the skeleton does not
        have; then the best model with that number is taken: of AnyNets the fit to it or, if no fit
        has so many, its own stages. Another block than RegNet's keeps its
        own axes, at the median of each stage over the best models, and its activation.

        Args:
            skeleton: Input, stem and strides; None takes the population's own.
            se_ratio: Squeeze-and-excitation ratio of RegNet's block; others keep their own, as it
                does if None.

        Raises:
            InputError: The skeleton is unknown, or no model has as many stages.
        """
        around = self._skeleton(skeleton)
        kind = "fits to the best AnyNets" if self.fitted else "the best models"
        values = ", ".join(
            f"{name} {median:g} ({low:g} to {high:g})"
            for name, (low, median, high) in self.intervals.items()
        )
        steps = [
            f"{self.place}: population {self.population} ({self.choice}), "
            f"{counted(self.n, 'model')} of {self.space}. The likely best value (range of the "
            f"best) of each parameter, from {kind}: {values}."
        ]
        medians = {name: values[1] for name, values in self.intervals.items()}
        candidates = [_regnet(medians, self.place), *self.regnets]
        counts = [regnet.body().num_stages for regnet in candidates]
        own = {len((record.arch or {}).get("depths", ())) for record in self.best}
        # Populations of several numbers of stages take the first strides of their skeleton.
        wanted = {around.num_stages} | {count for count in own if 0 < count < around.num_stages}
        rank = next((i for i, count in enumerate(counts) if count in wanted), None)
        name = model_name("best-of", self.population)
        if rank is None:
            steps.append(
                f"No RegNet fitted to {self.population} has {around.num_stages} stages: the "
                "best model's own stages are taken."
            )
            return self._best_model(name, around, wanted, se_ratio), steps
        if rank:
            steps.append(
                f"The medians give {counts[0]} stages, the skeleton has {around.num_stages}; the "
                f"model of rank {rank} by error is taken instead."
            )
        around = around.with_stages(counts[rank])
        body = self._with_block(candidates[rank].body(), se_ratio)
        return Model(name, body, around, candidates[rank], self.origin()), steps

    def _best_model(
        self, name: str, around: Skeleton, stages: set[int], se_ratio: float | None
    ) -> Model:
        bodies = [Body.from_dict(record.arch) for record in self.best if record.arch]
        body = next((one for one in bodies if one.num_stages in stages), None)
        if body is None:
            raise InputError(
                f"{self.place}: no model of {self.population} has {around.num_stages} stages"
            )
        if body.block == BOTTLENECK and se_ratio is not None:
            body = replace(body, se_ratio=se_ratio)
        return Model(name, body, around.with_stages(body.num_stages), None, self.origin())

    def _with_block(self, body: Body, se_ratio: float | None) -> Body:
        """Return the body with the block, its own axes and the activation of the best models."""
        best = [Body.from_dict(record.arch) for record in self.best if record.arch]
        alike = [one for one in best if one.num_stages == body.num_stages] or best
        extras = []
        for i, (name, _) in enumerate(best[0].extras):
            values = np.array([one.extras[i][1][: body.num_stages] for one in alike])
            medians = np.quantile(values, 0.5, axis=0, method="inverted_cdf")
            extras.append((name, tuple(medians.tolist())))
        if best[0].block != BOTTLENECK or se_ratio is None:
            se_ratio = best[0].se_ratio
        return replace(
            body,
            block=best[0].block,
            extras=tuple(extras),
            activation=best[0].activation,
            se_ratio=se_ratio,
        )

    def extrapolation(self, model: Model) -> str | None:
        """Return how far a network's flops lie outside those of the findings, or None."""
        if self.flops is None:
            return f"{self.place} does not record the flops of its models"
        low, high = self.flops
        ratio = model.flops / high if model.flops > high else low / model.flops
        notes = []
        if ratio > 1:
            notes.append(
                f"the findings cover networks of {low:,} to {high:,} multiply-adds; this one has "
                f"{model.flops:,}, an extrapolation by a factor of {ratio:.3g}"
            )
        if self.skeleton is not None and model.skeleton.resolution != self.skeleton.resolution:
            notes.append(
                f"the findings are of {self.skeleton.resolution} pixel images; this network is for "
                f"{model.skeleton.resolution}"
            )
        return "; ".join(notes) or None

    def _skeleton(self, skeleton: Skeleton | None) -> Skeleton:
        around = skeleton or self.skeleton
        if around is None:
            raise InputError(
                f"{self.place}: the input size of the networks of {self.population} is unknown: "
                f"its run is gone or was imported, and {self.space!r} is no shipped space; derive "
                "with imagenet=True, or import again with input='imagenet' or such as input='@32'"
            )
        return around


def read_findings(findings: Findings | Path, population: str | None = None) -> StudyPopulation:
    """Choose a population of an analysis: RegNets first, then by mean error.

    Args:
        findings: The analysis: its folder, or findings in memory.
        population: Name of the population; None chooses one.

    Raises:
        InputError: The folder has no valid summary, or there is no such population.
    """
    if isinstance(findings, Path):
        path = str(findings / SUMMARY_FILE)
        summary = _read_summary(findings)
    else:
        path = IN_MEMORY
        summary = summarize(findings)
    chosen, choice = _choose(summary, population, path)
    source = find_run(chosen.path, findings if isinstance(findings, Path) else Path())
    imported = source is not None and (source / IMPORT_FILE).is_file()
    run = None if imported else source
    best = summary.best.get(chosen.name, [])
    if not best:
        raise damaged(path, f"best.{chosen.name}: no models")
    if not any(one.arch for one in best):
        columns = ", ".join(best[0].parameters or ()) or "none"
        raise InputError(
            f"{path}: the models of {chosen.name} are not described as networks: that needs the "
            f"columns {', '.join(NAMES)}, or d1, w1, … of each stage; the columns are: {columns}"
        )
    best = [one for one in best if one.arch]
    regnets, intervals, few = _parameters(summary, chosen, path)
    return StudyPopulation(
        findings=findings,
        population=chosen.name,
        choice=choice,
        space=chosen.space,
        n=chosen.n,
        flops=chosen.flops,
        run=run,
        skeleton=_find_skeleton(source, chosen.space),
        regnets=regnets,
        intervals=intervals,
        fitted=chosen.family != "regnet",
        few=few,
        best=tuple(best),
    )


def _read_summary(folder: Path) -> Summary:
    path = folder / SUMMARY_FILE
    if path.is_file():
        return read_summary(path)
    if (folder / POPULATION_FILE).is_file():
        raise InputError(
            f"{folder} is a run folder, not findings: analyze it, and start from the findings, "
            f"or start from one of its models, such as {quote(f'{folder}:best')}"
        )
    raise InputError(f"{folder} has no {SUMMARY_FILE}; it is no folder of `designspace analyze`")


def find_run(path: str | None, folder: Path) -> Path | None:
    """Return where a run of an analysis is, or None.

    Its path is relative to the folder of the analysis. Earlier versions wrote it relative to where
    they were started: the current folder, or some folder above the analysis.
    """
    if path is None:
        return None
    here = Path(os.path.realpath(folder))
    places = (Path(os.path.normpath(base / path)) for base in (here, Path(), *here.parents))
    marks = ("space.yaml", IMPORT_FILE)
    return next((p for p in places if any((p / mark).is_file() for mark in marks)), None)


def _block_of(best: Sequence[ModelRecord]) -> str:
    return str((best[0].arch or {}).get("block", BOTTLENECK))


def _choose(summary: Summary, name: str | None, path: str) -> tuple[Population, str]:
    """Return the population of that name, or the best of RegNets if any; and why it is that."""
    names = [population.name for population in summary.populations]
    if not names:
        raise InputError(f"{path}: populations: must have at least 1 with an error")
    if name is not None:
        if name not in names:
            raise InputError(f"{path} has no population {name!r}; {nearest(name, names)}")
        return summary.populations[names.index(name)], "as requested"
    chosen = min(summary.populations, key=lambda p: (p.family != "regnet", p.mean))
    regnets = sum(population.family == "regnet" for population in summary.populations)
    if len(names) == 1:
        return chosen, "the only one"
    if regnets == 1:
        return chosen, "the only one of RegNets"
    among = f"{regnets} of RegNets" if regnets else len(names)
    return chosen, f"the one with the lowest mean error of {among}"


def _parameters(
    summary: Summary, chosen: Population, path: str
) -> tuple[tuple[RegNetParams, ...], dict[str, tuple[float, float, float]], bool]:
    """Return the best RegNets, the interval of each parameter, and whether few carry them."""
    best = [one for one in summary.best[chosen.name] if one.arch]
    present = body_axes(_block_of(best))
    names = [name for name in NAMES if name not in ("b", "g") or name in present]
    if chosen.family == "regnet":
        bootstrap = summary.bootstrap.get(chosen.name, {})
        missing = [name for name in names if name not in bootstrap]
        if missing:
            raise damaged(path, f"bootstrap.{chosen.name}.{missing[0]}: missing")
        regnets = tuple(_regnet(one.regnet, path) for one in best if one.regnet)
        parts = {name: bootstrap[name] for name in names}
        intervals = {name: (one.low, one.median, one.high) for name, one in parts.items()}
        return regnets, intervals, any(one.few for one in parts.values())
    regnets = tuple(fitted_regnet(Body.from_dict(one.arch)) for one in best if one.arch)
    intervals = {}
    for name in names:
        values = [getattr(regnet, name) for regnet in regnets]
        low, median, high = np.quantile(values, (0.025, 0.5, 0.975), method="inverted_cdf")
        intervals[name] = (float(low), float(median), float(high))
    return regnets, intervals, True


def _regnet(values: Mapping[str, Any], path: str) -> RegNetParams:
    try:
        return RegNetParams(
            d=int(values["d"]),
            w_0=int(values["w_0"]),
            w_a=float(values["w_a"]),
            w_m=float(values["w_m"]),
            b=float(values.get("b", 1)),
            g=int(values.get("g", 1)),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(path, str(error)) from None


def _find_skeleton(source: Path | None, space: str) -> Skeleton | None:
    """The skeleton of a run or an import; if it is gone, that of the shipped space of that name."""
    if source is not None and (source / IMPORT_FILE).is_file():
        return read_import_info(source).skeleton()
    if source is not None:
        return Run(source).skeleton()
    try:
        return load_space(space).skeleton
    except InputError:
        return None
