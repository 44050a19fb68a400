"""Write the page of a study: one HTML file that needs no server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from designspace import __version__
from designspace.analysis.findings import Findings
from designspace.io.atomic_write import make_folder, write_text
from designspace.report.figure_files import render
from designspace.report.findings_page import environment, source, writable
from designspace.report.palette import MOST_BANDS, css
from designspace.report.report_figures import edf_hero

Row = Mapping[str, str]


@dataclass(frozen=True)
class StudyPage:
    """What the page of a study shows, as text.

    Attributes:
        title: The study's name.
        about: What it is, and what it can't say, in paragraphs.
        populations: name, source, trained, models, least, mean, sd, hours.
        claims: claim, estimate, verdict (empty while it waits), n, power, sequential, report.
        figures: Figures of the paper: figure, shows, verdict, note and evidence, each a claim with
            its report, verdict (None while it waits) and n.
        reports: Folders of the reports.
        models: Files of derived and exported models.
        sequential: Whether populations were extended, so that always-valid verdicts count.
    """

    title: str
    about: Sequence[str]
    populations: Sequence[Row]
    claims: Sequence[Row]
    figures: Sequence[Any] = ()
    reports: Sequence[str] = ()
    models: Sequence[str] = ()
    sequential: bool = field(default=False)


def write_study_page(page: StudyPage, folder: Path, findings: Findings | None) -> Path:
    """Write index.html.

    Args:
        page: What it shows.
        folder: Where it is written; links are relative to it.
        findings: Of the first report, whose EDFs head the page.

    Returns:
        The path of index.html.
    """
    templates = environment()
    text = templates.get_template("study.html.j2").render(
        page=page,
        hero=[] if findings is None else [render(figure, ()) for figure in edf_hero(findings)],
        names=[] if findings is None else [p.name for p in findings.populations],
        many=findings is not None and len(findings.populations) > MOST_BANDS,
        markup=Markup,
        style=Markup(
            css(0 if findings is None else len(findings.populations))
            + source(templates, "report.css")
        ),
        script=Markup(source(templates, "theme.js")),
        version=__version__,
    )
    index = make_folder(folder) / "index.html"
    write_text(index, writable(text))
    return index
