"""Check a study beyond its schema, so that no step refuses days later what its file has wrong."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from designspace.analysis.claims import ClaimsFile
from designspace.api.model import Model, load_model
from designspace.arch import BOTTLENECK, check_name
from designspace.derivation.cost_target import parse_target
from designspace.derivation.scaling_rules import DEFAULT_RULE, find_rule
from designspace.derivation.search_by_findings import MIN_SEARCHED
from designspace.errors import InputError, counted, nearest
from designspace.export.target_registry import find_target
from designspace.io.validation import list_mistakes
from designspace.runs import Recipe
from designspace.runs.training_options import check_device, check_source_kind, chosen_models
from designspace.space import Budget, Space
from designspace.studies.check_claims import check_agreements, check_claims
from designspace.studies.derived_shapes import shape_mistakes
from designspace.studies.figure_answers import check_figures
from designspace.studies.study_file import Budget as BudgetEntry
from designspace.studies.study_file import DerivedEntry, PopulationEntry, StudyFile
from designspace.studies.study_inputs import (
    find_file,
    study_recipe,
    study_source,
    study_space,
)
from designspace.studies.subset import errors_needed, models_to_train
from designspace.studies.toggle import check_toggle, keeps_regnets, skeleton_toggle

_WHICH = re.compile(r"best|[0-9]{1,9}")


def check_study(
    path: Path, folder: Path, file: StudyFile, claims: Mapping[str, ClaimsFile]
) -> None:
    """Check what a study's steps will need; nothing is sampled.

    Args:
        path: The study's file.
        folder: Its results.
        file: What the file states.
        claims: The claims of each report.

    Raises:
        InputError: With file and place, for the first five mistakes.
    """
    check = _StudyCheck(path, folder, file, claims)
    mistakes = [*dict.fromkeys(check.mistakes())]
    if mistakes:
        raise InputError(f"study: {path}: {list_mistakes(mistakes)}")


def _mistake(place: str, check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except InputError as error:
        yield f"{place}: {error}".replace(f"{place}: {place} is ", f"{place} is ", 1)


@dataclass(frozen=True)
class _StudyCheck:
    path: Path
    folder: Path
    file: StudyFile
    claims: Mapping[str, ClaimsFile]

    def mistakes(self) -> Iterator[str]:
        """Yield a text for each mistake, in the order of the file."""
        if self.file.data is not None:
            yield from _mistake("data", lambda: check_source_kind(str(self.file.data)))
        yield from _mistake("recipe", lambda: self._recipe)
        yield from _mistake("train.device", lambda: check_device(self.file.train.device))
        yield from _budget("budget", self.file.budget)
        yield from self._epochs()
        for name, entry in self.file.populations.items():
            yield from self._population(f"populations.{name}", name, entry)
        for i, refined in enumerate(self.file.refinements):
            models = self.file.size(refined.population)
            if refined.n is not None and refined.n > models:
                yield (
                    f"refinements[{i}].n: {refined.n}, but {refined.population} has "
                    f"{counted(models, 'model')}; lower it, or leave it out"
                )
            toggle = self.file.entry(refined.population).toggle
            space = self._spaces.get(refined.population)
            if space is not None and space.family == "regnet" and not keeps_regnets(toggle):
                yield (
                    f"refinements[{i}].population: {refined.population} is no longer of RegNets, "
                    "and of no space that could be narrowed"
                )
        for place, report in self.file.reports.items():
            for name in report.populations:
                if report.n and not models_to_train(self.file, name, report.n):
                    yield (
                        f"reports.{place}.n: none of the first {report.n} models of {name} is "
                        f"chosen by populations.{name}.models; raise it, or leave it out"
                    )
        yield from check_claims(self.file, self.claims, self._spaces)
        yield from check_figures(self.file, self.claims)
        for name, derived in self.file.derived.items():
            yield from self._derived(f"derived.{name}", derived)
        yield from shape_mistakes(self.file, self._spaces, self._load_source)
        for place, export in self.file.exports.items():
            yield from _targets(f"exports.{place}.to", export.to)
        yield from self._repeated_names()
        yield from self._places()
        yield from self._order()
        yield from check_agreements(self.file, self._spaces)

    def _repeated_names(self) -> Iterator[str]:
        lists = {f"steps[{i}]": step.populations for i, step in enumerate(self.file.steps)}
        lists |= {f"reports.{place}": r.populations for place, r in self.file.reports.items()}
        lists |= {f"agreements.{place}": names for place, names in self.file.agreements.items()}
        for place, names in lists.items():
            for name in dict.fromkeys(names):
                if names.count(name) > 1:
                    yield f"{place}: {name} is there twice"

    def _places(self) -> Iterator[str]:
        """Check that no two parts of the study are written to one place."""
        file = self.file
        written = [(f"populations.{name}", name) for name in file.populations]
        for i, entry in enumerate(file.refinements):
            written += [(f"refinements[{i}].findings", entry.findings)]
            written += [(f"refinements[{i}].space", place) for place in (entry.space, entry.run)]
        for key in ("reports", "agreements", "exports"):
            written += [(f"{key}.{place}", place) for place in getattr(file, key)]
        used = {"index.html": "the study's page", self.path.name: "the study's file"}
        used |= {f"derived/seed-{seed}": "derived_seeds" for seed in file.derived_seeds}
        used |= {f"derived/{name}.yaml": f"derived.{name}" for name in file.derived}
        used |= {
            f"exported/{name}": f"derived.{name}" for name, d in file.derived.items() if d.export
        }
        for where, place in written:
            other = used.setdefault(place, where)
            if other != where:
                yield f"{where}: {place} is also the place of {other}; choose another name"

    def _order(self) -> Iterator[str]:
        """Check that errors are measured before models are chosen by them."""
        trained: dict[str, int] = {}
        begun: dict[str, int] = {}  # with those whose models are chosen
        written: set[str] = set()
        for step in self.file.ordered_steps():
            entries = {name: self.file.populations[name] for name in step.populations}
            for name, entry in entries.items():
                space = str(entry.space).partition("@")[0]
                refined = self._refined.get(space)
                there = space in written or (self.folder / space).is_file()
                if refined is not None and not there:
                    yield (
                        f"populations.{name}.space: {space} is written once {refined} is trained; "
                        f"train {name} in a later entry of steps"
                    )
            for name, entry in entries.items():
                if entry.models is None:
                    n = step.n or self.file.own_size(name)
                    trained[name] = max(n, trained.get(name, 0))
            for name, entry in entries.items():
                if entry.models is None or entry.models.spread is None:
                    continue
                needed = errors_needed(self.file, name)
                if trained.get(str(entry.same_as), 0) < needed:
                    yield (
                        f"populations.{name}.models: spread needs the errors of the first {needed} "
                        f"models of {entry.same_as}; train these in the same step or an earlier "
                        "one, or set among"
                    )
            begun |= trained | {name: self.file.size(name) for name in entries}
            for refinement in self.file.refinements:
                n = self.file.size(refinement.run)
                if begun.get(refinement.population, 0) >= n:
                    written.add(refinement.space)
                    begun[refinement.run] = n

    @cached_property
    def _refined(self) -> dict[str, str]:
        """The population that is refined to each space."""
        return {entry.space: entry.population for entry in self.file.refinements}

    @cached_property
    def _recipe(self) -> Recipe:
        return study_recipe(self.path, self.file)

    @cached_property
    def _spaces(self) -> dict[str, Space]:
        """The spaces that can be loaded, by population; a refinement has yet to write its own."""
        spaces = {}
        for name, entry in self.file.populations.items():
            try:
                space = None if entry.space is None else self._load_space(entry)
            except InputError:  # reported where the file names it
                continue
            if space is not None:
                spaces[name] = space
        repeated = {
            name: spaces[entry.same_as]
            for name, entry in self.file.populations.items()
            if entry.same_as in spaces
        }
        return spaces | repeated

    def _load_space(self, entry: PopulationEntry) -> Space | None:
        space = str(entry.space)
        if space.partition("@")[0] in self._refined:
            return None
        return study_space(self.path, space, self.file.axes_of(entry))

    def _population(self, place: str, name: str, entry: PopulationEntry) -> Iterator[str]:
        if name not in self._spaces and entry.space is not None:
            yield from _mistake(f"{place}.space", lambda: self._load_space(entry))
        if entry.budget is not None:
            yield from _budget(f"{place}.budget", entry.budget)
        if entry.models is not None:
            yield from self._models(f"{place}.models", name, entry)
        space = self._spaces.get(name)
        if space is None:
            return
        if entry.toggle is not None:
            toggle = entry.toggle
            yield from _mistake(place, lambda: _check_change(toggle, space))
        yield from self._schedule(place, entry, space)

    def _epochs(self) -> Iterator[str]:
        """Check that some model is trained for the epochs of the study."""
        spaces = [self._spaces.get(name) for name in self.file.populations]
        drawn = all(space is not None and "epochs" in space.recipe for space in spaces)
        if self.file.epochs is not None and drawn and not self.file.derived_runs:
            yield (
                "epochs: has no effect, as every space draws epochs for each model; leave it out"
            )

    def _schedule(self, place: str, entry: PopulationEntry, space: Space) -> Iterator[str]:
        """Check that the recipe goes with the epochs of a population and what it draws."""
        try:
            recipe = self._recipe
        except InputError:
            return
        epochs = self.file.epochs_of(entry)
        drawn = space.recipe.get("epochs")
        if drawn is not None:
            if entry.epochs is not None:
                yield (
                    f"{place}.epochs: has no effect, as the space draws epochs for each model; "
                    "leave it out"
                )
            least = int(min(drawn["values"] if "values" in drawn else [drawn["low"]]))
            yield from _mistake(place, lambda: recipe.with_settings({"epochs": least}))
        else:
            where = "epochs" if entry.epochs is None else f"{place}.epochs"
            yield from _mistake(where, lambda: recipe.override(epochs=epochs))
        side = skeleton_toggle(entry.toggle).get("resolution", space.skeleton.resolution)
        if isinstance(side, int | float):  # else reported as a wrong toggle
            yield from _mistake(place, lambda: recipe.at(int(side)))

    def _models(self, place: str, name: str, entry: PopulationEntry) -> Iterator[str]:
        """Check that a population has the models that are chosen from it."""
        subset = entry.models
        assert subset is not None
        models = min(self.file.size(name), subset.among or self.file.size(name))
        if subset.indices is not None:
            try:
                chosen_models(subset.indices, None, models, name)
            except InputError as error:
                yield f"{place}: {str(error).replace('only is', 'indices is', 1)}"
        if subset.spread is not None and entry.same_as is not None:
            models = min(models, self.file.size(entry.same_as))
        for rule in ("random", "spread"):
            wanted = getattr(subset, rule)
            if wanted is not None and wanted > models:
                yield f"{place}: {rule} is {wanted}, but only {models} models take part"

    def _derived(self, place: str, entry: DerivedEntry) -> Iterator[str]:
        yield from _mistake(place, lambda: check_name(place.removeprefix("derived.")))
        costs = {"flops": entry.flops, "params": entry.params, "acts": entry.acts}
        yield from _mistake(place, lambda: parse_target(**costs))
        wanted = [key for key, value in {**costs, "scale": entry.scale}.items() if value]
        if not wanted or (entry.scale and len(wanted) > 1):
            yield f"{place}: give one target: flops, params, acts or scale"
        yield from _mistake(f"{place}.rule", lambda: find_rule(entry.rule))
        yield from _targets(f"{place}.export", entry.export)
        if entry.source is not None:
            source = entry.source
            yield from _mistake(f"{place}.source", lambda: self._check_source(source, place))
        elif entry.family is None or entry.scale is not None:
            yield f"{place}: give source" + (" or family" if entry.scale is None else "")
        yield from self._derived_from(place, entry)

    def _derived_from(self, place: str, entry: DerivedEntry) -> Iterator[str]:
        """Check that the population that a model is derived from allows what is requested."""
        name, _, which = (entry.source or "").partition(":")
        report = self.file.reports.get(entry.source or "")
        if report is not None:
            names = report.by_claim_name
            if entry.population is not None and entry.population not in names:
                yield (
                    f"{place}.population: {entry.source} has no population {entry.population}; "
                    f"{nearest(entry.population, list(names))}"
                )
            sole = report.populations[0] if len(report.populations) == 1 else ""
            name = names.get(entry.population or "", sole)
        elif entry.search is not None and (entry.source is None or name in self.file.runs):
            yield f"{place}: search fits its predictor to a report; source must be one"
        if entry.search is not None and (entry.scale is not None or entry.imagenet):
            yield f"{place}: search needs flops, params or acts, and no imagenet"
        if entry.search is not None and entry.rule != DEFAULT_RULE:
            yield f"{place}: rule has no effect with search; leave one of them out"
        of_model = report is None and (entry.source is None or name in self.file.runs)
        if entry.population is not None and of_model:
            yield f"{place}: population is of a report; source must be one, or leave it out"
        models = self.file.populations.get(name)
        if models is not None and which.isdigit() and int(which) >= self.file.size(name):
            yield f"{place}.source: {name} has models 0 to {self.file.size(name) - 1}"
        space = self._spaces.get(name)
        if models is None or space is None:
            return
        if entry.family is not None and space.block != BOTTLENECK:
            yield f"{place}: family is for bottleneck blocks; {name} has {space.block} blocks"
        if entry.search is not None:
            if space.family != "regnet" or not keeps_regnets(models.toggle):
                yield f"{place}: search needs a population of RegNets; {name} has others"
            elif (n := models_to_train(self.file, name)) < MIN_SEARCHED:
                yield f"{place}: search needs {MIN_SEARCHED} or more models; {name} has {n}"

    def _check_source(self, source: str, model: str) -> None:
        """Raise unless a source is there, or will be once the study derives the model."""
        name, colon, which = source.partition(":")
        runs = self.file.runs
        if colon and name in runs and not _WHICH.fullmatch(which):
            raise InputError(f"{source!r} must end in an index or best, as in {name}:best")
        places = [*runs, *self.file.reports, *(entry.findings for entry in self.file.refinements)]
        before = takewhile(lambda other: f"derived.{other}" != model, self.file.derived)
        places += [f"derived/{other}.yaml" for other in before]
        if name in places or find_file(name, self.folder, self.path.parent, Path()):
            return
        try:
            load_model(source)
        except InputError as error:
            raise InputError(f"{error}; or one of this study: {', '.join(places[:20])}") from None

    def _load_source(self, source: str) -> Model:
        """Load a model that is none of the study's own."""
        return load_model(study_source(source, self.folder, self.path.parent))


def _check_change(toggle: Mapping[str, Any], space: Space) -> None:
    """Raise unless a toggle changes models of the space."""
    check_toggle(toggle, space.block, space.skeleton)
    ((name, value),) = toggle.items()
    axis = space.axes.get(name)
    current: object = None
    if name == "se_ratio":
        current = space.se_ratio
    elif name == "activation":
        current = space.activations[0] if len(space.activations) == 1 else None
    elif skeleton_toggle(toggle):
        current = getattr(space.skeleton, name)
    elif axis is not None and name not in ("d", "w", "g"):  # these are rounded
        current = axis.values[0] if len(axis.values) == 1 else None
    if current == value:
        raise InputError(f"toggle: every model has {name} = {current} already")


def _budget(place: str, budget: BudgetEntry) -> Iterator[str]:
    for measure, text in budget.model_dump(exclude_none=True).items():
        yield from _mistake(place, partial(Budget.parse, measure, text))


def _targets(place: str, targets: list[str]) -> Iterator[str]:
    for target in targets:
        yield from _mistake(place, partial(find_target, target))
