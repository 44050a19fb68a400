"""A study: trains what its file states and is missing, in steps, and resumes like training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.analysis.claims import ClaimsFile, ComparisonClaim, read_claims
from designspace.analysis.summary import SUMMARY_FILE
from designspace.api.gathering import gather
from designspace.api.model import Model, derive, load_model
from designspace.api.progress import Display
from designspace.api.run import Run
from designspace.errors import InputError, check_types
from designspace.export.export_best import export_best
from designspace.io.atomic_write import make_folder
from designspace.io.validation import list_mistakes
from designspace.refinement.refine import refine
from designspace.studies.check_begun import DERIVATION, derivation_of
from designspace.studies.check_study import check_study
from designspace.studies.collect_study_page import study_page
from designspace.studies.figure_answers import (
    Evidence,
    FigureAnswers,
    answer_figures,
    claim_verdicts,
)
from designspace.studies.plan import StudyPlan, plan_study
from designspace.studies.sequential_claims import SequentialVerdict, judge_sequentially
from designspace.studies.study_file import (
    DerivedEntry,
    StepEntry,
    StudyFile,
    comparisons,
    load_study_file,
)
from designspace.studies.study_inputs import study_recipe, study_source
from designspace.studies.study_reports import StudyReports, collected
from designspace.studies.subset import chosen_indices, is_subset, trained_indices
from designspace.studies.train_study import StudyTraining, check_overrides

if TYPE_CHECKING:
    from designspace.training.metric_logger import LoggerLike

_PARTS = (None, "train", "report")


@dataclass(frozen=True)
class Study:
    """A study file and the folder that its results lie in.

    Attributes:
        path: The file.
        folder: Where populations, reports and models are written: the file's folder, or `out`.
        file: What the file states.

    Example:
        >>> import designspace as ds
        >>> text = '''
        ... name: two-spaces
        ... data: digits
        ... epochs: 1
        ... n: 4
        ... budget: {flops: "180K:220K"}
        ... populations:
        ...   anynetxa: {space: AnyNetXA@8}
        ...   regnetx: {space: RegNetX@8}
        ... reports:
        ...   report: {populations: [anynetxa, regnetx]}
        ... '''
        >>> file = pathlib.Path("study.yaml")
        >>> file.write_text(text) > 0
        True
        >>> study = ds.Study.load(file)
        >>> study.plan().models
        8
        >>> study.run(jobs=1, progress=False).name
        'index.html'
    """

    path: Path
    folder: Path
    file: StudyFile

    @staticmethod
    @check_types
    def load(path: str | Path, out: str | Path | None = None) -> "Study":
        """Read a study file.

        Args:
            path: The file.
            out: Folder of the results; by default the file's.

        Raises:
            InputError: The file can't be read, a key is unknown, missing or out of range, or what
                it names isn't there.
        """
        file = Path(path)
        study = Study(file, file.parent if out is None else Path(out), load_study_file(file))
        for place, claims in study.claims.items():
            report = study.file.reports[place]
            for claim in claims.claims:
                wrong = [name for name in claim.populations if name not in report.by_claim_name]
                if wrong:
                    raise InputError(
                        f"study: {file}: reports.{place}: the claim {claim.claim!r} is about "
                        f"{wrong[0]}, which is not among {', '.join(report.populations)}"
                    )
        check_study(file, study.folder, study.file, study.claims)
        return study

    @cached_property
    def claims(self) -> dict[str, ClaimsFile]:
        """The claims of each report that has any."""
        contents = {}
        for place, report in self.file.reports.items():
            if isinstance(report.claims, str):
                contents[place] = read_claims(self.path.parent / report.claims)
            elif report.claims is not None:
                contents[place] = report.claims
        return contents

    @property
    def _reports(self) -> StudyReports:
        return StudyReports(self.file, self.folder, self.claims)

    def plan(self) -> StudyPlan:
        """Return what is trained and what is missing, core-hours, and the power of each claim."""
        epochs = study_recipe(self.path, self.file).epochs
        return plan_study(self.file, self.folder, self.claims, epochs)

    def verdicts(self) -> tuple[Evidence, ...]:
        """Return the verdict of each claim, as far as the reports are written."""
        return claim_verdicts(self.folder, self.claims)

    def figures(self) -> FigureAnswers:
        """Return what the reports say about each figure of the paper that the file lists."""
        return answer_figures(self.file, self.folder, self.claims)

    @check_types
    def run(
        self,
        data: str | None = None,
        *,
        only: str | None = None,
        until: str | None = None,
        jobs: int | None = None,
        device: str | None = None,
        precision: str | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        retry: bool = False,
        time_limit: float | None = None,
        compile: bool | None = None,
        exact: bool | None = None,
        image_results: bool | None = None,
        download: bool = False,
        cache: str | Path | None = None,
        tensorboard: bool = False,
        log: "Sequence[LoggerLike] | LoggerLike" = (),
        backend: str | None = None,
        scheduler: str | None = None,
        cluster: str | None = None,
        cluster_options: Mapping[str, Any] | Sequence[str] = (),
        progress: bool = True,
    ) -> Path:
        """Sample, train, analyze, derive and export all that is missing.

        Interrupt it at any time: the same call resumes, within a trial too. Arguments that are not
        listed below are as of `designspace.train`, in place of the file's.

        Args:
            data: In place of the file's data.
            only: `"train"` stops before the reports, `"report"` writes them from what is trained.
            until: `"decided"` extends populations, once all are trained, until always-valid tests
                have decided every claim or the file's `extension` is used up.
            jobs: Trials at once, in place of the file's.
            device: In place of the file's: auto, cpu, cuda, cuda:N or mps.
            precision: In place of the file's: fp32, tf32, bf16 or fp16.
            batch_size: In place of the recipe's.
            lr: In place of the recipe's.
            retry: Train failed models again.
            progress: Show a progress bar on a terminal or in a notebook, lines elsewhere.

        Returns:
            The study's page. With `only="train"` it is left as it is once there is a report.

        Raises:
            InputError: An argument is wrong, the data are missing, or the file states other spaces,
                budgets, schedules, data or targets than those of the models that are there already.
                Parts that can't be reported, derived or exported are listed once all others are
                written.
        """
        options: dict[str, Any] = {
            "jobs": jobs,
            "device": device,
            "precision": precision,
            "batch_size": batch_size,
            "lr": lr,
            "retry": retry,
            "time_limit": time_limit,
            "compile": compile,
            "exact": exact,
            "image_results": image_results,
            "download": download,
            "cache": cache,
            "tensorboard": tensorboard,
            "log": log,
            "backend": backend,
            "scheduler": scheduler,
            "cluster": cluster,
            "cluster_options": cluster_options,
        }
        self.check_options(data, only=only, until=until, **options)
        training = StudyTraining(self.path, self.folder, self.file, data, progress, options)
        training.check_begun()
        if only != "report":
            display = Display(None, silent=not progress)
            make_folder(self.folder)
            training.check()
            for step in self.file.ordered_steps():
                training.run_step(self._possible(step))
                self._refine(training)
            if lacking := self._without_space():
                names = ", ".join(sorted(lacking))
                display.note(f"not trained, as the refinement accepted no constraint: {names}")
            if until is not None:
                display.note(f"not extended any further: {self._extend(training, display)}")
        page = self.folder / "index.html"
        written = any((self.folder / place / SUMMARY_FILE).is_file() for place in self.file.reports)
        if only == "train" and written and page.is_file():
            return page
        verdicts = self.sequential_verdicts() if self._extended() else {}
        errors: list[str] = []
        findings = self._reports.write(errors) if only != "train" else {}
        if only is None:
            self._derive(training, errors)
            self._export(errors)
        page = study_page(
            self.file, self.folder, self.plan(), findings, verdicts, self.figures().answers
        )
        if errors:
            raise InputError(f"study: {self.path}: {list_mistakes(errors)}")
        return page

    def check_options(
        self,
        data: str | None = None,
        *,
        only: str | None = None,
        until: str | None = None,
        **options: Any,
    ) -> None:
        """Raise for a wrong argument of `run`, which has the same ones; nothing is written.

        Raises:
            InputError: For the first wrong one.
        """
        if only not in _PARTS:
            raise InputError(f"only is {only!r}; it is 'train' or 'report'", "only")
        if until not in (None, "decided"):
            raise InputError(f"until is {until!r}; it is 'decided'", "until")
        if until is not None and only == "report":
            raise InputError("only='report' trains nothing, but until='decided' does", "until")
        if options.get("retry") and only == "report":
            raise InputError("only='report' trains nothing, but retry=True does", "retry")
        if until is not None:
            self._check_until()
        check_overrides(self.path, self.file, data, options)

    def sequential_verdicts(self) -> dict[str, list[SequentialVerdict]]:
        """Return the always-valid verdicts on the claims of each report, at what is trained."""
        verdicts = {}
        for place, claims in self.claims.items():
            runs = self._runs(self.file.reports[place].by_claim_name)
            there = [c for c in comparisons(claims) if c.first in runs and c.second in runs]
            declared = len(claims.claims) + claims.untested
            chosen = {
                key: chosen_indices(self.file, name, self.folder) or ()
                for key, name in self.file.reports[place].by_claim_name.items()
                if is_subset(self.file, name)
            }
            verdicts[place] = judge_sequentially(there, runs, claims.alpha, declared, chosen)
        return verdicts

    def _runs(self, names: Mapping[str, str]) -> dict[str, Run]:
        """Return the runs that exist of these populations, by the same keys."""
        folders = {key: self.folder / name for key, name in names.items()}
        return {k: Run.open(f) for k, f in folders.items() if (f / "space.yaml").is_file()}

    def _check_until(self) -> None:
        """Raise unless there is a claim that larger populations may decide."""
        claims = [(place, claim) for place, of in self.claims.items() for claim in comparisons(of)]
        if not claims:
            raise InputError(
                "until='decided' decides claims about two populations, and there are none", "until"
            )
        fixed = [self._fixed(place, claim) for place, claim in claims]
        if all(fixed):
            raise InputError(
                "until='decided' extends the populations of claims, but no claim has two that can "
                f"grow: {claims[0][1].claim!r} is about {fixed[0]}, whose models are chosen, or "
                "those of a refinement",
                "until",
            )

    def _fixed(self, place: str, claim: ComparisonClaim) -> str:
        """Return the population of a claim that can't grow, or an empty text."""
        named = self.file.reports[place].by_claim_name
        names = [named[name] for name in claim.populations]
        fixed = [n for n in names if n not in self.file.populations or is_subset(self.file, n)]
        return fixed[0] if fixed else ""

    def _extend(self, training: StudyTraining, display: Display) -> str:
        """Add models to the populations of undecided claims; return why that ends."""
        for place, claims in self.claims.items():
            for claim in claims.claims:
                if not isinstance(claim, ComparisonClaim):
                    why = "it is about a parameter, not about two populations"
                    display.note(f"not extended: {claim.claim}: {why}")
                elif fixed := self._fixed(place, claim):
                    display.note(f"not extended: {claim.claim}: the models of {fixed} are fixed")
        extension = self.file.extension
        limits = dict.fromkeys(self.file.populations, extension.n)
        while extension.core_hours is None or training.core_hours() < extension.core_hours:
            targets = self._targets(limits)
            sizes = {name: self._trained(name) for name in targets}
            growing = [name for name, size in sizes.items() if size < targets[name]]
            if not growing:
                if targets:
                    return f"{', '.join(targets)} have as many models as the file allows"
                return "every claim about populations that can grow is decided"
            smallest = min(sizes[name] for name in growing)
            names = [name for name in growing if sizes[name] < smallest + extension.batch]
            n = min(smallest + extension.batch, *(targets[name] for name in names))
            # A small space may not have so many.
            there = {name: training.most(name, n) for name in names}
            limits |= {name: number for name, number in there.items() if number < n}
            if min(there.values()) == n:
                training.run_step(StepEntry(populations=names, n=n))
        return f"{extension.core_hours:g} core-hours are used up"

    def _trained(self, name: str) -> int:
        """Return up to which model a population is trained; an interrupted batch may lack some."""
        trained, n = trained_indices(self.folder / name), len(Run.open(self.folder / name))
        return next((index for index in range(n) if index not in trained), n)

    def _targets(self, limits: Mapping[str, int]) -> dict[str, int]:
        """Return to how many models the populations of undecided claims may grow.

        A pair needs both of its models, so that the smaller limit of the two counts.
        """
        targets: dict[str, int] = {}
        for place, verdicts in self.sequential_verdicts().items():
            named = self.file.reports[place].by_claim_name
            for verdict in verdicts:
                if verdict.verdict == "undecided" and not self._fixed(place, verdict.claim):
                    names = [named[name] for name in verdict.claim.populations]
                    least = min(limits[name] for name in names)
                    targets |= {name: max(least, targets.get(name, 0)) for name in names}
        return targets

    def _extended(self) -> bool:
        runs = self._runs({name: name for name in self.file.populations})
        return any(len(run) > self.file.size(name) for name, run in runs.items())

    def _without_space(self) -> set[str]:
        """Return the populations whose refinement accepted no constraint, and wrote no space."""
        lacking: set[str] = set()
        spaces = {name: str(self.file.base(name).space) for name in self.file.runs}
        for entry in self.file.refinements:
            refined = self._reports.complete(entry.population, self.file.size(entry.run))
            if entry.population in lacking or (
                refined and not (self.folder / entry.space).is_file()
            ):
                lacking.add(entry.run)
                lacking |= {n for n, s in spaces.items() if s.partition("@")[0] == entry.space}
        return lacking

    def _possible(self, step: StepEntry) -> StepEntry:
        """Return a step without the populations that have no space."""
        lacking = self._without_space()
        names = [name for name in step.populations if name not in lacking]
        return step.model_copy(update={"populations": names})

    def _refine(self, training: StudyTraining) -> None:
        for entry in self.file.refinements:
            space, n = self.folder / entry.space, self.file.size(entry.run)
            if not self._reports.complete(entry.population, n):
                continue
            if not space.is_file():
                self._reports.analyze_refined(entry)
                refinement = refine(
                    self.folder / entry.population,
                    name=space.stem,
                    first=n,
                    all_finished=is_subset(self.file, entry.population),
                )
                if refinement.space is None:
                    continue
                refinement.save(space)
            training.train([training.sample(entry.run)], self.file.entry(entry.run))

    def _derive(self, training: StudyTraining, errors: list[str]) -> None:
        models: dict[str, Model] = {}
        missing = self._missing_sources()
        for name, entry in self.file.derived.items():
            if str(entry.source).partition(":")[0] in missing:
                missing.add(f"derived/{name}.yaml")
                continue
            with collected(errors, f"derived.{name}"):
                models[name] = self._derived(name, entry)
        trained = [name for name, entry in self.file.derived.items() if entry.trained]
        tested = [name for name in trained if f"derived/{name}.yaml" not in missing]
        if not tested or not models.keys() >= set(tested):
            return  # a part of them would be another population
        for place, run in self.file.derived_runs.items():
            with collected(errors, place):
                together = gather([models[name] for name in tested], self.folder / place)
                training.train([together], run)

    def _missing_sources(self) -> set[str]:
        """Return the runs, findings and reports that lack models, for want of a refinement."""
        lacking = self._without_space()
        findings = [r.findings for r in self.file.refinements if r.population in lacking]
        reports = [p for p, report in self.file.reports.items() if lacking & {*report.populations}]
        return {*lacking, *findings, *reports}

    def _derived(self, name: str, entry: DerivedEntry) -> Model:
        """Return a derived model; its file is kept, as training it again depends on it."""
        file = self.folder / "derived" / f"{name}.yaml"
        if not file.is_file():
            options = entry.model_dump(exclude={"source", "trained", "export"}, exclude_none=True)
            report = self.file.reports.get(entry.source or "")
            if report is not None and entry.population is not None:
                shown = self._reports.shown_names(report, report.populations)
                options["population"] = shown[entry.population]
            source = entry.source and study_source(entry.source, self.folder, self.path.parent)
            derived = Model.of(derive(source=source, name=name, **options))
            origin = dict(derived.provenance) | {DERIVATION: json.dumps(derivation_of(entry))}
            make_folder(file.parent)
            replace(derived, provenance=tuple(origin.items())).save(file)
        model = load_model(file)
        manifest = self.folder / "exported" / name / "manifest.json"
        if entry.export and not manifest.is_file():
            model.export(entry.export, manifest.parent)
        return model

    def _export(self, errors: list[str]) -> None:
        lacking = self._without_space()
        for place, entry in self.file.exports.items():
            folder = self.folder / place
            if entry.population in lacking or (folder / "manifest.json").is_file():
                continue
            with collected(errors, f"exports.{place}"):
                export_best(self.folder / entry.population, entry.best, entry.to, folder)
