"""Writing a report folder: index.html, summary.json, tables/*.csv, figures/*.svg and *.png."""

import json
import re
from pathlib import Path

from designspace import __version__
from designspace.analysis.findings import Findings
from designspace.analysis.summary import summary
from designspace.analysis.summary_schema import summary_schema
from designspace.analysis.tables import tables, to_csv
from designspace.io.files import (
    make_folder,
    refuse_links_out,
    remove_half_written,
    write_bytes,
    write_text,
)
from designspace.report.page import page
from designspace.report.report_figures import figures, render

# Figures that not every report has: those of an earlier one in the same folder are removed.
_OPTIONAL = re.compile(r"bootstrap_.+|edf_normalized|differences|importance|widths|fit_errors")


def write_report(findings: Findings, folder: Path) -> Path:
    """Write all of a report into a folder, over what an earlier one left there.

    Returns:
        The path of index.html.

    Raises:
        InputError: The folder cannot be written.
    """
    refuse_links_out(make_folder(folder), ("figures", "tables"))
    pictures = make_folder(folder / "figures")
    rendered = [render(figure) for figure in figures(findings)]
    for path in pictures.iterdir():
        if path.suffix in (".svg", ".png") and _OPTIONAL.fullmatch(path.stem):
            path.unlink()
    for one in rendered:
        write_text(pictures / f"{one.figure.key}.svg", one.svg)
        write_bytes(pictures / f"{one.figure.key}.png", one.png)
    sheets = make_folder(folder / "tables")
    for name, table in tables(findings).items():
        if table[1]:
            write_text(sheets / f"{name}.csv", to_csv(table))
        else:
            (sheets / f"{name}.csv").unlink(missing_ok=True)
    numbers = json.dumps(summary(findings), indent=1, allow_nan=False)
    write_text(folder / "summary.json", numbers + "\n")
    write_text(folder / "summary.schema.json", json.dumps(summary_schema(), indent=1) + "\n")
    index = folder / "index.html"
    write_text(index, page(findings, rendered, __version__))
    for place in (pictures, sheets, folder):
        remove_half_written(place)
    return index
