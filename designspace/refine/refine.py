"""From a study to a narrower space: the turn of the paper's loop (DDS §3.2 to §3.4)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from designspace.analysis.imported_folder import IMPORT_FILE
from designspace.analysis.load_results import load_results
from designspace.analysis.population_results import STATES, PopulationResults
from designspace.analysis.study_findings import SUMMARY_FILE, damaged, find_run, read_summary
from designspace.errors import InputError, nearest
from designspace.io.files import dump_yaml
from designspace.refine.constraint_tests import Proposal, Rule, evaluate_constraints
from designspace.runs import Run
from designspace.space import Budget, Space, load_space, sample
from designspace.space.load import parse_space


@dataclass(frozen=True, eq=False)
class Refinement:
    """A narrower space and how it came about.

    Attributes:
        parent: The space that was studied.
        space: The narrower space, or None where no constraint was accepted.
        proposals: Every constraint that was weighed, accepted or not, with its evidence.
        models: Models that the evidence is from.
        sampled: Models of the population, trained or not.
    """

    parent: Space
    space: Space | None
    proposals: tuple[Proposal, ...]
    models: int
    sampled: int

    @property
    def accepted(self) -> tuple[Proposal, ...]:
        """The constraints that the narrower space has."""
        return tuple(proposal for proposal in self.proposals if proposal.accepted)

    def text(self) -> str:
        """Return the narrower space as the text of its YAML file."""
        assert self.space is not None
        source = dict(self.space.source)
        evidence = {"evidence": source.pop("evidence")}
        header = f"Narrowed from {self.parent.name} by designspace refine; the evidence is below."
        # Long sentences read best one below the other.
        return dump_yaml(source, header) + yaml.safe_dump(
            evidence, default_flow_style=False, allow_unicode=True, width=100
        )


def study_run(study: Path, population: str | None) -> Path:
    """Return the run folder that a study is of: one of an analysis folder's, or the folder itself.

    Raises:
        InputError: It is neither, or has no population of that name.
    """
    file = study / SUMMARY_FILE
    if not file.is_file():
        if population is not None:
            raise InputError(f"{study} has no {SUMMARY_FILE}; --population goes with an analysis")
        if study.is_dir() and not (study / "space.yaml").is_file():
            raise InputError(
                f"{study} has no {SUMMARY_FILE} and is no run folder; "
                f"`designspace analyze RUN … --out {study}` writes one"
            )
        return study
    runs = {found.name: found.path for found in read_summary(file).populations}
    chosen = next(iter(runs)) if population is None else population
    if chosen not in runs:
        raise InputError(f"{study} has no population {chosen!r}; {nearest(chosen, list(runs))}")
    path = runs[chosen]
    if path is None:
        raise damaged(file, f"populations: {chosen} has no path")
    run = find_run(path, study)
    if run is None:
        raise InputError(
            f"{file} is of {path}, which is not there; name the run folder itself, or "
            "start from the folder that `designspace analyze` was started from"
        )
    return run


def refine(run: Path | str, name: str, rule: Rule) -> Refinement:
    """Weigh every constraint that a studied space lacks, and add those that the study speaks for.

    Args:
        run: The studied run folder.
        name: Name of the narrower space.
        rule: Level and margin.

    Raises:
        InputError: The run can't be read, has no model with an error, or the name won't do.
    """
    if (Path(run) / IMPORT_FILE).is_file():
        raise InputError(f"{run} was imported: it has errors, but no space that could be narrowed")
    folder = Run.open(run)
    parent = load_space(str(folder.space_file))
    results = load_results(run)
    _check(parent, name, results, run)
    proposals = evaluate_constraints(parent, results, rule)
    budgets = tuple(Budget(**entry) for entry in folder.space().get("sample", {}).get("budget", ()))
    kept: list[Proposal] = []
    weighed: list[Proposal] = []
    # The quantized linear rule replaces the axes d and w, so it comes before their ranges.
    for proposal in sorted(proposals, key=lambda one: "family" not in one.change):
        if proposal.accepted:
            problem = _problem(parent, name, kept, proposal, results, budgets)
            if problem is None:
                kept.append(proposal)
            else:
                proposal = replace(proposal, verdict="rejected", reason=problem)
        weighed.append(proposal)
    space = None
    if kept:
        source = _narrow(parent, name, kept, results)
        source["evidence"] = [str(proposal) for proposal in weighed]
        space = parse_space(source, f"the space refined from {run}")
    return Refinement(parent, space, tuple(weighed), int(results.counted.sum()), len(results))


def _check(parent: Space, name: str, results: PopulationResults, run: Path | str) -> None:
    """Refuse what no verdict should be blamed for."""
    if not results.counted.any():
        states = ", ".join(f"{int((results.states == s).sum())} {s}" for s in STATES)
        raise InputError(
            f"{run} has no trial that counts yet (of {len(results)} models: {states}); "
            f"`designspace train {run}` makes them"
        )
    if name == parent.name:
        raise InputError(f"{name!r} is the name of the studied space; choose another --name")
    parse_space({**parent.source, "name": name}, "the narrower space")


def _narrow(
    parent: Space, name: str, proposals: list[Proposal], results: PopulationResults
) -> dict[str, Any]:
    """The parent's file with the constraints added, and why."""
    data: dict[str, Any] = {**parent.source, "name": name, "parent": parent.name}
    for proposal in proposals:
        change = proposal.change
        if "family" in change:
            kept = {axis: data["axes"][axis] for axis in ("b", "g")}
            axes = {**change["axes"], **kept}
            data |= {"family": change["family"], "axes": axes, "share": [], "monotone": {}}
            continue
        data["share"] = [*data["share"], *change.get("share", ())]
        for key in ("monotone", "axes"):
            data[key] = {**data[key], **change.get(key, {})}
    claims = "; ".join(proposal.claim for proposal in proposals)
    data["reason"] = (
        f"{claims}: what the study {results.name} of {int(results.counted.sum())} models of "
        f"{parent.name} speaks for."
    )
    return data


def _problem(
    parent: Space,
    name: str,
    kept: list[Proposal],
    proposal: Proposal,
    results: PopulationResults,
    budgets: tuple[Budget, ...],
) -> str | None:
    """Why a constraint can't join those kept, or None: some models in the budget must be left."""
    for one in kept:
        taken = {"d", "w"} if "family" in one.change else set(one.change.get("axes", ()))
        if taken & set(proposal.change.get("axes", ())):
            return f"what is accepted already takes its place: {one.claim}"
    source = _narrow(parent, name, [*kept, proposal], results)
    try:
        sample(parse_space(source, "the narrower space"), 2, budgets)
    except InputError as error:
        return f"it would leave no models: {error}"
    return None
