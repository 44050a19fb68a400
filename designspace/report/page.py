"""The page: findings and rendered figures into one HTML file that asks no server for anything."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from designspace.analysis.findings import Findings
from designspace.analysis.narrative import verdicts
from designspace.arch import format_quantity
from designspace.report.model_table import model_table, rows_shown
from designspace.report.report_figures import Rendered


def page(findings: Findings, rendered: Sequence[Rendered], version: str) -> str:
    """Return the report as HTML; every name that people chose is escaped."""
    made = environment()
    sections: defaultdict[str, list[Rendered]] = defaultdict(list)
    for one in rendered:
        sections[one.figure.section].append(one)
    splits = sorted({s for p in findings.populations for s in p.results.provenance.splits})
    template = made.get_template("report.html.j2")
    text = template.render(
        title="Design spaces compared"
        if len(findings.populations) > 1
        else "A design space measured",
        findings=findings,
        figures=sections,
        markup=Markup,
        style=Markup(source(made, "report.css")),
        script=Markup(source(made, "theme.js") + source(made, "report.js")),
        data=Markup(_script_safe(model_table(findings))),
        coded=any(one.coded for one in rendered),
        rows_shown=rows_shown(findings),
        verdicts=verdicts(findings),
        splits=", ".join(splits),
        imported=not all(p.results.provenance.seeds for p in findings.populations),
        version=version,
    )
    return writable(text)


def environment() -> Environment:
    """Return what turns the templates of this room into pages."""
    made = Environment(
        loader=PackageLoader("designspace.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["quantity"] = format_quantity
    made.filters["said"] = said
    return made


def writable(text: str) -> str:
    """Return a page that can be written: a journal may hold half a character."""
    return text.encode("utf-8", "replace").decode("utf-8")


def said(value: Any) -> str:
    """Return a value of a recipe or a sample as a person writes it: budgets, maps, lists, words."""
    if isinstance(value, Mapping):
        low, high = value.get("low"), value.get("high")
        if isinstance(low, int | float) and isinstance(high, int | float):
            measure = value.get("measure", "")
            return f"{measure} {format_quantity(low)} to {format_quantity(high)}"
        return ", ".join(f"{key} {said(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(said, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def source(environment: Environment, name: str) -> str:
    """Return a style sheet or a script as it stands."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _script_safe(data: Any) -> str:
    """JSON that can stand in a script element, whatever strings it holds."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
