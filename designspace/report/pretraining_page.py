"""Write the page of a pretraining run: one HTML file that needs no server."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from markupsafe import Markup

from designspace import __version__
from designspace.analysis.pretraining_findings import PretrainingFindings
from designspace.io.atomic_write import make_output_folder, write_text
from designspace.io.serialization import readable
from designspace.io.text_files import check_links
from designspace.report.figure_files import Rendered, render
from designspace.report.findings_page import environment, source, writable
from designspace.report.palette import css
from designspace.report.pretraining_cards import group_title, pretraining_cards
from designspace.report.pretraining_figures import (
    Strip,
    loss_hero,
    neighbour_strips,
    pretraining_figures,
    prototype_strips,
)
from designspace.report.write_report import write_figures


def write_pretraining_page(findings: PretrainingFindings, folder: Path) -> Path:
    """Write index.html and its figures as SVG and PNG files, over an earlier page.

    Returns:
        The path of index.html.

    Raises:
        InputError: The folder cannot be written.
    """
    check_links(make_output_folder(folder), ("figures",))
    rendered = [render(figure, ("svg", "png")) for figure in pretraining_figures(findings)]
    write_figures(folder, rendered, re.compile("curves|scores"))
    index = folder / "index.html"
    hero = [render(figure, ()) for figure in loss_hero(rendered[0].figure)]
    write_text(index, pretraining_page(findings, rendered, hero))
    return index


def pretraining_page(
    findings: PretrainingFindings, rendered: Sequence[Rendered], hero: Sequence[Rendered]
) -> str:
    """Return the page as HTML, with names escaped."""
    templates = environment()
    pictures = findings.pictures
    text = templates.get_template("pretraining.html.j2").render(
        title=f"{readable(findings.name)}: pretraining by SwAV",
        findings=findings,
        quoted_name=quote(findings.name),
        cards=pretraining_cards(findings),
        hero=hero,
        group_title=group_title,
        figures={one.figure.key: one for one in rendered},
        neighbours=_strips(neighbour_strips(pictures) if pictures else []),
        prototypes=_strips(prototype_strips(pictures) if pictures else []),
        markup=Markup,
        style=Markup(css(0) + source(templates, "report.css")),
        script=Markup(source(templates, "theme.js")),
        version=__version__,
    )
    return writable(text)


def _strips(strips: Sequence[Strip]) -> list[dict[str, Any]]:
    return [
        {
            "source": f"data:image/png;base64,{base64.b64encode(one.png).decode('ascii')}",
            "alt": one.alt,
            "words": one.words,
        }
        for one in strips
    ]
