"""What the page of a study shows, from its file, its journals and its reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from designspace.analysis.claims import Claim
from designspace.analysis.findings import Findings
from designspace.errors import counted
from designspace.report.study_page import StudyPage, write_study_page
from designspace.studies.figure_answers import FigureAnswer
from designspace.studies.plan import ClaimPlan, PopulationPlan, StudyPlan
from designspace.studies.sequential_claims import SequentialVerdict
from designspace.studies.study_file import StudyFile


def study_page(
    file: StudyFile,
    folder: Path,
    plan: StudyPlan,
    findings: Mapping[str, Findings],
    verdicts: Mapping[str, Sequence[SequentialVerdict]],
    figures: Sequence[FigureAnswer],
) -> Path:
    """Write the page of a study.

    Args:
        file: The study.
        folder: Its results.
        plan: What is trained, and the power of each claim.
        findings: Of each report that is written.
        verdicts: Always-valid verdicts of each report, empty unless populations were extended.
        figures: What the claims say about the figures of the paper.

    Returns:
        The path of index.html.
    """
    sequential = {(place, v.claim.claim): v for place, rows in verdicts.items() for v in rows}
    judged = {
        (place, claim.claim): claim
        for place, result in findings.items()
        for claim in (result.claims.claims if result.claims else ())
    }
    page = StudyPage(
        title=file.name,
        about=[" ".join(part.split()) for part in file.about.split("\n\n") if part.strip()],
        populations=[_population(file, row) for row in plan.rows],
        claims=[
            _claim(row, judged.get(key), sequential.get(key))
            for row in plan.claims
            for key in [(row.report, row.claim)]
        ],
        figures=figures,
        reports=list(findings),
        models=_models(file, folder),
        sequential=bool(verdicts),
    )
    return write_study_page(page, folder, next(iter(findings.values()), None))


def _population(file: StudyFile, plan: PopulationPlan) -> dict[str, str]:
    of_derived = file.derived_runs.get(plan.name)
    entry = of_derived or file.entry(plan.name)
    source = "the derived models" if of_derived else entry.space or f"{entry.same_as}"
    details = [f"{key} = {value}" for key, value in (entry.toggle or {}).items()]
    details += [f"{counted(entry.epochs, 'epoch')}"] if entry.epochs else []
    details += [f"seed {entry.seed}"] if entry.seed else []
    errors = plan.errors.values()
    return {
        "name": plan.name,
        "source": ", ".join([source, *details]),
        "trained": f"{plan.trained}" if plan.trained else "not trained yet",
        "models": f"{plan.models}",
        "least": f"{min(errors):.1f}" if errors else "",
        "mean": f"{sum(errors) / len(errors):.2f}" if errors else "",
        "sd": "" if plan.sd is None else f"{plan.sd:.2f}",
        "hours": "" if not plan.hours else f"{plan.hours:.1f}",
    }


def _claim(
    plan: ClaimPlan, judged: Claim | None, sequential: SequentialVerdict | None
) -> dict[str, str]:
    return {
        "claim": plan.claim,
        "report": plan.report,
        "estimate": "" if judged is None else judged.estimate_text,
        "verdict": "" if judged is None else judged.verdict,
        "n": f"{plan.n or ''}",
        "power": "" if plan.power is None else f"{plan.power:.2f}",
        "sequential": ""
        if sequential is None
        else f"{sequential.verdict}, {counted(sequential.pairs, 'pair')}",
    }


def _models(file: StudyFile, folder: Path) -> list[str]:
    places = [f"derived/{name}.yaml" for name in file.derived]
    places += [f"exported/{name}/manifest.json" for name in file.derived]
    places += [f"{place}/manifest.json" for place in file.exports]
    return [place for place in places if (folder / place).is_file()]
