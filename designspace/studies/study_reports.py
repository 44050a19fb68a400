"""The reports and rank agreements of a study, as far as their models are trained."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from designspace.analysis import findings as analysis
from designspace.analysis.claims import ClaimsFile
from designspace.analysis.rank_agreement import rank_agreement
from designspace.errors import InputError
from designspace.io.atomic_write import make_folder, write_text
from designspace.report.write_report import write_report
from designspace.studies.report_populations import load_stated, shown_names
from designspace.studies.study_file import RefinementEntry, ReportEntry, StudyFile
from designspace.studies.subset import chosen_indices, is_subset, trained_indices


@dataclass(frozen=True)
class StudyReports:
    """Writes the reports of a study.

    Attributes:
        file: The study.
        folder: Its results.
        claims: The claims of each report that has any.
    """

    file: StudyFile
    folder: Path
    claims: Mapping[str, ClaimsFile]

    def analyze_refined(self, entry: RefinementEntry) -> None:
        """Write the analysis of the models that a refinement starts from."""
        n = self.file.size(entry.run)
        models = load_stated(self.file, self.folder, [entry.population], n)
        write_report(analysis.analyze(models), self.folder / entry.findings)

    def write(self, errors: list[str]) -> dict[str, analysis.Findings]:
        """Write the reports, or the parts of them, whose models are trained, and return them.

        Args:
            errors: Receives what keeps one of them from being written; the others are.
        """
        written: dict[str, analysis.Findings] = {}
        for i, entry in enumerate(self.file.refinements):
            if (self.folder / entry.findings).is_dir():
                with collected(errors, f"refinements[{i}].findings"):
                    self.analyze_refined(entry)
        for place, report in self.file.reports.items():
            with collected(errors, f"reports.{place}"):
                findings = self._write_report(place, report)
                if findings is not None:
                    written[place] = findings
        for place, names in self.file.agreements.items():
            with collected(errors, f"agreements.{place}"):
                if self._comparable(names):
                    self._write_agreement(place, names)
        return written

    def _write_report(self, place: str, report: ReportEntry) -> analysis.Findings | None:
        names, claims = self._ready(place, report)
        if not names:
            return None
        if claims is not None:
            shown = self.shown_names(report, names)
            renamed = [claim.renamed(shown) for claim in claims.claims]
            claims = claims.model_copy(update={"claims": renamed})
        populations = load_stated(self.file, self.folder, names, report.n)
        findings = analysis.analyze(populations, report.margin, claims)
        write_report(findings, self.folder / place)
        return findings

    def _write_agreement(self, place: str, names: Sequence[str]) -> None:
        # By the names of the file, so that the folder it lies in does not matter.
        loaded = load_stated(self.file, self.folder, names, all_finished=True)
        named = [replace(run, name=n) for run, n in zip(loaded, names, strict=True)]
        file = self.folder / place
        make_folder(file.parent)
        write_text(file, json.dumps(rank_agreement(named).to_dict()) + "\n")

    def _comparable(self, names: Sequence[str]) -> bool:
        """Return whether the models that populations have in common are trained in all of them."""
        chosen = {name: chosen_indices(self.file, name, self.folder) for name in names}
        for name, own in chosen.items():
            others = [indices for other, indices in chosen.items() if other != name]
            if own is None or None in others:
                return False
            common = set(own) & set().union(*(indices or () for indices in others))
            if not trained_indices(self.folder / name) >= common:
                return False
        return True

    def _ready(self, place: str, report: ReportEntry) -> tuple[list[str], ClaimsFile | None]:
        """Return the populations and claims of a report for which all models are trained.

        All of them, or as long as some are missing those of the claims whose models are there.
        """
        claims = self.claims.get(place)
        if all(self.complete(name, report.n) for name in report.populations):
            return report.populations, claims
        if claims is None:
            return [], None
        named = report.by_claim_name
        ready = {}
        for claim in claims.claims:
            about = {named[name] for name in claim.populations}
            # Of chosen models n counts those that are chosen, wherever they are.
            chosen = any(is_subset(self.file, name) for name in about)
            first = report.n if chosen else claim.n or report.n
            if all(self.complete(name, first) for name in about):
                ready[claim] = about
        names = [name for name in report.populations if any(name in of for of in ready.values())]
        untested = claims.untested + len(claims.claims) - len(ready)
        return names, claims.model_copy(update={"claims": list(ready), "untested": untested})

    def shown_names(self, report: ReportEntry, names: Sequence[str]) -> dict[str, str]:
        """Return what the analysis of these populations calls them, by the names in claims."""
        by_name = shown_names(self.folder, names)
        return {k: by_name[name] for k, name in report.by_claim_name.items() if name in by_name}

    def complete(self, name: str, first: int | None) -> bool:
        """Return whether all of the first models of a population, as far as chosen, are trained."""
        indices = chosen_indices(self.file, name, self.folder)
        if indices is None:
            return False
        trained = trained_indices(self.folder / name)
        return trained.issuperset(index for index in indices if first is None or index < first)


@contextmanager
def collected(errors: list[str], place: str) -> Iterator[None]:
    """Add what is wrong in one place of a study to a list, so that the other places go on."""
    try:
        yield
    except InputError as error:
        errors.append(f"{place}: {error}")
