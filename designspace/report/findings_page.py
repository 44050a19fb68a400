"""Compose findings and rendered figures into one HTML page that needs no server."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from designspace.analysis.compare_pairs import signed
from designspace.analysis.findings import (
    Findings,
    PopulationFindings,
    compared,
    error_range,
    lowest_mean,
)
from designspace.analysis.headline import narrate
from designspace.arch import format_quantity
from designspace.errors import counted
from designspace.io.serialization import significant
from designspace.report.comparison_matrix import comparison_matrix
from designspace.report.figure_files import Rendered
from designspace.report.model_table import model_table, rows_shown
from designspace.report.palette import MOST_BANDS, css
from designspace.report.report_figures import ranges_of_best
from designspace.report.trade_off_rows import TradeOffRows
from designspace.report.verdict_cards import points, verdict, verdict_cards


def page(
    findings: Findings,
    rendered: Sequence[Rendered],
    hero: Sequence[Rendered],
    version: str,
    wide: Mapping[str, Sequence[Rendered]],
) -> str:
    """Return the report as HTML, with names escaped.

    Args:
        findings: What to report.
        rendered: The figures that have files.
        hero: The EDF for wide and for narrow screens.
        version: Of the package.
        wide: Figures by key, as they are for wide and for narrow screens.
    """
    templates = environment()
    sections: defaultdict[str, list[Rendered]] = defaultdict(list)
    for one in rendered:
        sections[one.figure.section].append(one)
    runs = [population.results.provenance for population in findings.populations]
    splits = sorted({split for run in runs for split in run.splits})
    images = sorted({run.data for run in runs if run.data})
    template = templates.get_template("report.html.j2")
    text = template.render(
        title="Design spaces compared"
        if len(findings.populations) > 1
        else "A design space measured",
        findings=findings,
        figures=sections,
        markup=Markup,
        hero=hero,
        wide=wide,
        best=lowest_mean(findings),
        many=len(findings.populations) > MOST_BANDS,
        style=Markup(css(len(findings.populations)) + source(templates, "report.css")),
        everything=[*(p.results for p in findings.populations), *findings.without_errors],
        script=Markup(_report_script(templates, bool(findings.populations))),
        data=Markup(_script_safe(_data(findings))),
        rows_shown=rows_shown(findings),
        cards=verdict_cards(findings),
        warnings=narrate(findings).warnings,
        matrix=comparison_matrix(findings),
        compared=compared(findings),
        trade_offs=[TradeOffRows.of(one, findings) for one in findings.trade_offs],
        images=" and ".join(images),
        splits=", ".join(splits),
        imported=not all(run.seeds for run in runs),
        version=version,
    )
    return writable(text)


@cache
def environment() -> Environment:
    """Return the environment of this package's templates, which keeps them compiled."""
    templates = Environment(
        loader=PackageLoader("designspace.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["infinity"] = math.inf
    templates.filters |= {"signed": signed, "verdict": verdict, "points": points}
    templates.filters["quantity"] = format_quantity
    templates.filters |= {"words": in_words, "units": _with_units, "few_models": _few_models}
    return templates


def _few_models(p: PopulationFindings) -> list[str]:
    """Say which parameters have too few models for the range of the best."""
    varying = ranges_of_best(p)
    few: dict[int, list[str]] = {}
    for name, interval in varying.items():
        if interval.few:
            few.setdefault(interval.n, []).append(name)
    texts = []
    for n, names in few.items():
        which = "" if len(names) == len(varying) else f"{', '.join(names)}: "
        ranges = "these ranges" if len(names) > 1 else "this range"
        are = counted(n, "model is", "models are")
        texts.append(f"{which}{are} too few for {ranges} to say anything.")
    return texts


def writable(text: str) -> str:
    """Replace lone surrogates, which a journal may hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _with_units(text: str) -> str:
    """Keep percent signs and points on the line of their number."""
    return re.sub(r"(?<=\d) (?=%|points?\b)", "\xa0", text)


def in_words(value: Any) -> str:
    """Format a value of a recipe or a sample: budgets, maps, lists, numbers, words."""
    if isinstance(value, Mapping):
        low, high = value.get("low"), value.get("high")
        if isinstance(low, int | float) and isinstance(high, int | float):
            measure = value.get("measure", "")
            return f"{measure} {format_quantity(low)} to {format_quantity(high)}"
        return ", ".join(f"{key} {in_words(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def source(environment: Environment, name: str) -> str:
    """Return the text of a style sheet or a script."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _report_script(templates: Environment, populations: bool) -> str:
    """Join the page's scripts, which share one scope beside that of the theme."""
    if not populations:
        return source(templates, "theme.js")
    parts = [source(templates, f"{name}.js") for name in ("network", "table", "hover")]
    return source(templates, "theme.js") + '(() => {\n"use strict";\n' + "".join(parts) + "})();"


def _data(findings: Findings) -> dict[str, Any]:
    """Return what the scripts need: the models, and the numbers of each curve."""
    until = error_range(findings.populations)[1]
    curves = [
        {
            "n": p.edf.n,
            "min": p.edf.minimum,
            "mean": p.edf.mean,
            "median": p.edf.median,
            "until": max(until, p.edf.minimum),
        }
        for p in findings.populations
    ]
    return {**model_table(findings), "curves": significant(curves)}


def _script_safe(data: Any) -> str:
    """Return JSON that is safe inside a script element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
