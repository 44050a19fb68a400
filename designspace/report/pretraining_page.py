"""The page about a pretraining: one HTML file that asks no server for anything."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from designspace import __version__
from designspace.analysis.pretraining_findings import PretrainingFindings
from designspace.io.files import make_folder, refuse_links_out, write_bytes, write_text
from designspace.io.serialization import readable
from designspace.report.page import environment, source, writable
from designspace.report.pretraining_figures import (
    Strip,
    neighbour_strips,
    pretraining_figures,
    prototype_strips,
)
from designspace.report.report_figures import Rendered, render


def write_pretraining_page(findings: PretrainingFindings, folder: Path) -> Path:
    """Write index.html, and its figures as SVG and PNG files, over those of an earlier page.

    Returns:
        The path of index.html.

    Raises:
        InputError: The folder can't be written.
    """
    refuse_links_out(make_folder(folder), ("figures",))
    files = make_folder(folder / "figures")
    rendered = [render(figure) for figure in pretraining_figures(findings)]
    if len(rendered) == 1:  # no scores: those of an earlier page go
        for kind in ("svg", "png"):
            (files / f"scores.{kind}").unlink(missing_ok=True)
    for one in rendered:
        write_text(files / f"{one.figure.key}.svg", one.svg)
        write_bytes(files / f"{one.figure.key}.png", one.png)
    index = folder / "index.html"
    write_text(index, pretraining_page(findings, rendered))
    return index


def pretraining_page(findings: PretrainingFindings, rendered: Sequence[Rendered]) -> str:
    """Return the page as HTML; every name that people chose is escaped."""
    made = environment()
    pictures = findings.pictures
    text = made.get_template("pretraining.html.j2").render(
        title=f"{readable(findings.name)}: pretraining by SwAV",
        findings=findings,
        figures={one.figure.key: one for one in rendered},
        neighbours=_strips(neighbour_strips(pictures) if pictures else []),
        prototypes=_strips(prototype_strips(pictures) if pictures else []),
        markup=Markup,
        style=Markup(source(made, "report.css")),
        script=Markup(source(made, "theme.js")),
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
