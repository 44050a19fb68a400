"""Write a report folder: index.html, summary.json, tables/*.csv, and figures in several formats."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from designspace import __version__
from designspace.analysis.csv_tables import tables, to_csv
from designspace.analysis.findings import Findings, PopulationFindings
from designspace.analysis.summary import SUMMARY_FILE, summarize, summary_schema
from designspace.io.atomic_write import (
    make_folder,
    make_output_folder,
    remove_temporary_files,
    write_bytes,
    write_text,
)
from designspace.io.text_files import check_links
from designspace.report.figure_files import FORMATS, Rendered, check_formats, render
from designspace.report.findings_page import page
from designspace.report.report_figures import edf_hero, report_figures
from designspace.report.trade_off_figures import TRADE_OFF, wide_and_narrow

_KEYS = re.compile(
    "(edf|edf_normalized|differences|edf_differences|best_of_k|importance|widths|fit_errors)"
    "(-wide)?|(bootstrap|trade_off|edf_at)_.+"
)


def write_report(
    findings: Findings, out: str | Path, figures: Sequence[str] = ("svg", "png")
) -> Path:
    """Write a report into a folder, over an earlier one.

    Args:
        findings: What to report.
        out: The folder; it is created if missing.
        figures: Formats of the figures' files: "svg", "png", "pdf".

    Returns:
        The path of index.html.

    Raises:
        InputError: The folder cannot be written, or there is no such format.
    """
    formats, folder = check_formats(figures), Path(out)
    check_links(make_output_folder(folder), ("figures", "tables"))
    findings = _with_relative_paths(findings, folder)
    rendered = [render(figure, formats) for figure in report_figures(findings)]
    hero = [render(figure, ()) for figure in edf_hero(findings)]
    wide = {
        one.figure.key: [render(figure, ()) for figure in wide_and_narrow(one.figure)]
        for one in rendered
        if one.figure.section == TRADE_OFF
    }
    write_figures(folder, rendered, _KEYS)
    sheets = make_folder(folder / "tables")
    for name, table in tables(findings).items():
        if len(table):
            write_text(sheets / f"{name}.csv", to_csv(table))
        else:
            (sheets / f"{name}.csv").unlink(missing_ok=True)
    numbers = json.dumps(summarize(findings).to_dict(), indent=1, allow_nan=False)
    write_text(folder / SUMMARY_FILE, numbers + "\n")
    write_text(folder / "summary.schema.json", json.dumps(summary_schema(), indent=1) + "\n")
    index = folder / "index.html"
    write_text(index, page(findings, rendered, hero, __version__, wide))
    for place in (folder / "figures", sheets, folder):
        remove_temporary_files(place)
    return index


def _with_relative_paths(findings: Findings, folder: Path) -> Findings:
    """Name the runs relative to the report: it is the same wherever it is written from."""

    def relative(p: PopulationFindings) -> PopulationFindings:
        results = p.results
        path = os.path.relpath(os.path.realpath(results.provenance.path), os.path.realpath(folder))
        provenance = replace(results.provenance, path=Path(path).as_posix())
        return replace(p, results=replace(results, provenance=provenance))

    return replace(findings, populations=tuple(map(relative, findings.populations)))


def write_figures(folder: Path, rendered: Iterable[Rendered], keys: re.Pattern[str]) -> None:
    """Write a figure's files; remove files of these keys that an earlier report left there."""
    files = {name: content for one in rendered for name, content in one.files.items()}
    place = make_folder(folder / "figures")
    for path in place.iterdir():
        if path.suffix[1:] in FORMATS and keys.fullmatch(path.stem) and path.name not in files:
            path.unlink()
    for name, content in files.items():
        write_bytes(place / name, content)
