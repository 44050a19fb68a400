"""Narrow a studied space by the constraints that its results support (DDS §3.2 to §3.4)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import yaml

from designspace.analysis.findings import Findings
from designspace.analysis.imported_folder import IMPORT_FILE
from designspace.analysis.load_results import load_results
from designspace.analysis.population_results import STATES, PopulationResults
from designspace.analysis.read_findings import find_run
from designspace.analysis.summary import SUMMARY_FILE, damaged, read_summary
from designspace.errors import InputError, counted, nearest
from designspace.io.atomic_write import write_text
from designspace.io.yaml_files import dump_yaml, read_yaml
from designspace.refinement.constraint_tests import Proposal, evaluate_constraints
from designspace.runs import Run
from designspace.space import Budget, Space, load_space, sample
from designspace.space.sampler import TooFewModels
from designspace.space.schema import ACTIVATION, STAGES
from designspace.space.space import parse_space


@dataclass(frozen=True, eq=False)
class Refinement:
    """A narrower space and the evidence for it.

    Attributes:
        run: The studied run folder.
        parent: The studied space.
        space: The narrower space, or None if no constraint was accepted.
        proposals: Every tested constraint, accepted or not, with its evidence.
        models: Number of models with an error.
        sampled: Number of models in the population.
    """

    run: Path
    parent: Space
    space: Space | None
    proposals: tuple[Proposal, ...]
    models: int
    sampled: int

    @property
    def accepted(self) -> tuple[Proposal, ...]:
        """The accepted constraints."""
        return tuple(proposal for proposal in self.proposals if proposal.accepted)

    def text(self) -> str:
        """Return the text of the narrower space's YAML file.

        Raises:
            InputError: No constraint was accepted.
        """
        if self.space is None:
            raise InputError(f"no constraint of {self.parent.name} was accepted: no narrower space")
        source = dict(self.space.source)
        evidence = {"evidence": source.pop("evidence")}
        header = f"Narrowed from {self.parent.name} by designspace refine; see `evidence` below."
        # One sentence per line.
        return dump_yaml(source, header) + yaml.safe_dump(
            evidence, default_flow_style=False, allow_unicode=True, width=100
        )

    def save(self, path: Path | str, *, force: bool = False) -> None:
        """Write the narrower space's YAML file.

        Args:
            path: The file, such as mine.yaml.
            force: Replace an existing file, though never the space file of a run.

        Raises:
            InputError: No constraint was accepted, a file is in the way, or it can't be written.
        """
        text = self.text()
        check_output(Path(path), force)
        write_text(Path(path), text)


def check_output(path: Path, force: bool) -> None:
    """Raise unless a space file may be written to a path.

    Raises:
        InputError: It is the space file of a run, or another file that is not to be replaced.
    """
    if not path.exists():
        return
    try:
        sampled = "sample" in read_yaml(path, "space")
    except InputError:  # no space file at all
        sampled = False
    if sampled:
        raise InputError(
            f"{path} is the space file of a run, which records how its models were sampled; choose "
            "another path"
        )
    if not force:
        raise InputError(f"{path} exists already; choose another path, or pass force=True")


@dataclass(frozen=True)
class StudiedModels:
    """The models that a study is about.

    Attributes:
        run: Their run folder, or the folder of their import.
        first: Only the first so many of it, in sampled order; None is all.
        all_finished: As of `designspace.analyze`.
    """

    run: Path
    first: int | None = None
    all_finished: bool = False


def studied_models(study: Findings | Path, population: str | Path | None) -> StudiedModels:
    """Return the models of one population of findings or an analysis folder, or those of a run.

    Args:
        study: Findings, an analysis folder, or a run folder.
        population: Name or folder of the population; None is the first.

    Raises:
        InputError: It is no study, or has no such population.
    """
    if isinstance(study, Path):
        return _of_folder(study, population)
    if not study.populations:
        raise InputError("study has no model with an error: every trial failed", "study")
    places = {p.name: Path(p.results.provenance.path) for p in study.populations}
    name = _choose(places, population, "study")
    chosen = next(p for p in study.populations if p.name == name)
    return StudiedModels(places[name], len(chosen.results), chosen.accounting.with_gaps)


def _of_folder(study: Path, population: str | Path | None) -> StudiedModels:
    file = study / SUMMARY_FILE
    if not file.is_file():
        if population is not None:
            raise InputError(
                f"population needs an analysis folder; {study} has no {SUMMARY_FILE}", "population"
            )
        files = ("space.yaml", IMPORT_FILE)
        if study.is_dir() and not any((study / name).is_file() for name in files):
            raise InputError(
                f"{study} has no {SUMMARY_FILE} and is not a run folder; "
                "`designspace analyze` writes one"
            )
        return StudiedModels(study)
    entries = {entry.name: entry for entry in read_summary(file).populations}
    if not entries:
        raise InputError(f"{study}: no model has an error: every trial failed")
    places = {name: find_run(entry.path, study) for name, entry in entries.items()}
    name = _choose(places, population, str(study))
    entry, run = entries[name], places[name]
    if entry.path is None:
        raise damaged(file, f"populations: {name} has no path")
    if entry.n < 1:
        raise damaged(file, f"populations: {name} has n = {entry.n}")
    if run is None:
        raise InputError(
            f"{file} is an analysis of {entry.path}, which does not exist; pass the run folder "
            "itself, or work in the folder in which `designspace analyze` was run"
        )
    return StudiedModels(run, entry.n, entry.with_gaps)


def _choose(places: Mapping[str, Path | None], population: str | Path | None, study: str) -> str:
    """Return the name of a population: the first, or that of a name or a folder."""
    if population is None:
        return next(iter(places))
    if isinstance(population, str) and population in places:
        return population
    folder = os.path.realpath(population)
    for name, place in places.items():
        if place is not None and os.path.realpath(place) == folder:
            return name
    text = str(population)
    raise InputError(
        f"{study} has no population {text!r}; {nearest(text, list(places))}", "population"
    )


def refine(
    study: Findings | Path | str,
    population: str | Path | None = None,
    *,
    name: str,
    alpha: float = 0.05,
    margin: float = 1.0,
    space: str | None = None,
    first: int | None = None,
    all_finished: bool = False,
) -> Refinement:
    """Test every constraint that a studied space lacks, and add those that the study supports.

    Args:
        study: Findings, an analysis folder, or a run folder.
        population: Name or folder of a population of the analysis; by default its first.
        name: Name of the narrower space.
        alpha: Family-wise error rate of the accepted constraints.
        margin: Percent of error below which sharing counts as costing nothing.
        space: The space that imported or gathered models belong to; a sampled run records its own.
        first: Only the first so many models, in sampled order; None is as the study was analyzed.
        all_finished: As of `designspace.analyze`; a study that was analyzed so needs none.

    Raises:
        InputError: The run can't be read, has no model with an error, or an argument is invalid.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha:g}; it must be between 0 and 1", "alpha")
    if not 0 < margin <= 100:
        raise InputError(f"margin is {margin:g}; it must be above 0 and at most 100", "margin")
    models = studied_models(Path(study) if isinstance(study, str) else study, population)
    run = models.run
    results = load_results(
        run, all_finished or models.all_finished, models.first if first is None else first
    )
    budgets: tuple[Budget, ...] = ()
    if (run / IMPORT_FILE).is_file():
        parent = _parent_of_import(run, space)
        results = _of_space(results, parent, run)
    else:
        folder = Run.open(run)
        parent = _parent_of_run(folder, space)
        if space is not None:
            results = _of_space(results, parent, run)
        sampled = folder.space().get("sample", {})
        budgets = tuple(Budget(**entry) for entry in sampled.get("budget", ()))
    _check(parent, name, results, run)
    proposals = evaluate_constraints(parent, results, alpha, margin)
    accepted: list[Proposal] = []
    judged: list[Proposal] = []
    # The quantized linear rule replaces the axes d and w, so it comes before their ranges.
    for proposal in sorted(proposals, key=lambda one: "family" not in one.change):
        if proposal.accepted:
            problem = _problem(parent, name, accepted, proposal, results, budgets)
            if problem is None:
                accepted.append(proposal)
            else:
                proposal = replace(proposal, verdict="rejected", reason=problem)
        judged.append(proposal)
    narrower = None
    if accepted:
        source = _narrow(parent, name, accepted, results)
        source["evidence"] = [str(proposal) for proposal in judged]
        narrower = parse_space(source, f"the space refined from {run}")
    return Refinement(
        run, parent, narrower, tuple(judged), int(results.counted.sum()), len(results)
    )


def _parent_of_run(run: Run, space: str | None) -> Space:
    """Return the space that a run was sampled from, or the named one if it was not sampled."""
    data = run.space()
    if "axes" in data:
        if space is not None:
            raise InputError(
                f"space is for models of no space; {run.path} records its own", "space"
            )
        return load_space(str(run.space_file))
    if space is None:
        raise InputError(
            f"{run.path} was not sampled from a space ({data.get('reason', data['name'])}): name "
            "one that its models belong to, such as space='AnyNetXA'",
            "space",
        )
    return load_space(space)


def _parent_of_import(run: Path, space: str | None) -> Space:
    if space is None:
        raise InputError(
            f"{run} was imported, and does not record the space of its models: name it, such as "
            "space='RegNetX'",
            "space",
        )
    return load_space(space)


def _of_space(results: PopulationResults, parent: Space, run: Path) -> PopulationResults:
    """Return the models of an import or a gathered run as those of the parent space.

    Raises:
        InputError: The columns describe no networks, or networks of another kind.
    """
    regnet = parent.family == "regnet"
    if results.bodies is None or (regnet and results.regnets is None):
        needed = "d, w_0, w_a, w_m, b, g" if regnet else "d1, w1, … of each stage"
        raise InputError(
            f"{run}: the models are not described as networks of {parent.name}, which needs the "
            f"columns {needed}; the parameters are {', '.join(results.parameters) or 'none'}",
            "space",
        )
    # Imported RegNets are compared by their parameters alone, which all blocks share.
    block = results.bodies.block
    if block != parent.block and not (regnet and (run / IMPORT_FILE).is_file()):
        raise InputError(
            f"space: {parent.name} is of {parent.block} blocks, the models of {run} are described "
            f"as networks of {block} blocks",
            "space",
        )
    counts = np.unique(results.bodies.stage_counts)
    if not set(counts.tolist()) <= set(parent.stage_counts):
        raise InputError(
            f"space: {parent.name} has {' or '.join(map(str, parent.stage_counts))} stages, the "
            f"models of {run} have {' or '.join(map(str, counts))}",
            "space",
        )
    own = {name: v for name, v in results.parameters.items() if name in parent.axes}
    parameters = own if regnet else results.parameters
    return replace(results, counted=results.counted & results.has_body, parameters=parameters)


def _check(parent: Space, name: str, results: PopulationResults, run: Path) -> None:
    """Raise if there are no results, or the name is invalid."""
    if not results.counted.any():
        states = ", ".join(f"{int((results.states == s).sum())} {s}" for s in STATES)
        raise InputError(
            f"{run} has no completed trial yet (of {counted(len(results), 'model')}: {states}); "
            f"`designspace train {quote(str(run))}` trains them"
        )
    if name == parent.name:
        raise InputError(f"name is {name!r}, the name of the studied space; choose another", "name")
    parse_space({**parent.source, "name": name}, "the narrower space")


def _narrow(
    parent: Space, name: str, proposals: list[Proposal], results: PopulationResults
) -> dict[str, Any]:
    """The parent's source with the constraints added, and the reason."""
    data: dict[str, Any] = {**parent.source, "name": name, "parent": parent.name}
    for proposal in proposals:
        change = proposal.change
        if "family" in change:
            others = {name: axis for name, axis in data["axes"].items() if name not in ("d", "w")}
            axes = {**change["axes"], **others}
            data |= {"family": change["family"], "axes": axes, "share": [], "monotone": {}}
            data.pop("distinct", None)
            continue
        data["share"] = [*data["share"], *change.get("share", ())]
        for key in ("monotone", "axes"):
            data[key] = {**data[key], **change.get(key, {})}
        # Rules between stages have no effect on an axis with one value for all of them.
        for key in ("monotone", "distinct"):
            if rules := data.get(key):
                data[key] = {k: v for k, v in rules.items() if k not in data["share"]}
        data |= {key: change[key] for key in (ACTIVATION, STAGES) if key in change}
        if "distinct" in change and data["family"] == "anynet":
            data["distinct"] = {**(data.get("distinct") or {}), **change["distinct"]}
    claims = "; ".join(proposal.claim for proposal in proposals)
    data["reason"] = (
        f"{claims}: supported by the study {results.name} of "
        f"{counted(int(results.counted.sum()), 'model')} "
        f"of {parent.name}."
    )
    return data


def _problem(
    parent: Space,
    name: str,
    accepted: list[Proposal],
    proposal: Proposal,
    results: PopulationResults,
    budgets: tuple[Budget, ...],
) -> str | None:
    """Return why a constraint can't be added, or None; it must leave models in the budget."""
    for one in accepted:
        taken = {"d", "w"} if "family" in one.change else set(one.change.get("axes", ()))
        if taken & set(proposal.change.get("axes", ())):
            return f"replaced by an accepted constraint: {one.claim}"
    source = _narrow(parent, name, [*accepted, proposal], results)
    try:
        sample(parse_space(source, "the narrower space"), 2, budgets)
    except TooFewModels as error:
        return f"it would leave no models: {error}"
    except InputError as error:
        return f"it contradicts the space: {error}"
    return None
