"""Findings as CSV tables: one a result, with a header line."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

from designspace.analysis.findings import Findings
from designspace.analysis.summary import interval_record, pair_record, population_record
from designspace.io.serialization import number, plain
from designspace.stats.edf import Band, Edf

Table = tuple[tuple[str, ...], list[list[Any]]]


def tables(findings: Findings) -> dict[str, Table]:
    """Return the tables of a report: name to header and rows."""
    populations = findings.populations
    found = {
        "populations": _from_maps(_flat(population_record(p)) for p in populations),
        "edf": _edf_table((p.name, p.edf, p.band) for p in populations),
        "bootstrap": _from_maps(
            {"population": p.name, "parameter": name, **interval_record(found)}
            for p in populations
            for name, found in p.bootstrap.items()
        ),
        "best_of_k": _best_of_k_table(findings),
        "comparisons": _from_maps(_flat(pair_record(pair)) for pair in findings.comparisons),
        "trends": _from_maps(
            {"population": p.name, **_flat(plain(trend))} for p in populations for trend in p.trends
        ),
        "constraints": _from_maps(
            {"population": p.name, **_flat(plain(one)), "shared": one.shared}
            for p in populations
            for one in p.constraints
        ),
        "fits": _fits_table(findings),
        "models": _models_table(findings),
    }
    if findings.claims is not None:
        found["claims"] = _from_maps(_flat(plain(claim)) for claim in findings.claims.claims)
    if findings.normalized is not None:
        names = [p.name for p in populations]
        parts = zip(names, findings.normalized.edfs, findings.normalized.bands, strict=True)
        found["edf_normalized"] = _edf_table(parts)
    return found


def to_csv(table: Table) -> str:
    """Render a table; a text that a spreadsheet would take for a formula gets a quote before it."""
    header, rows = table
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_harmless(name) for name in header])
    writer.writerows([_harmless(value) for value in row] for row in rows)
    return text.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _edf_table(parts: Iterable[tuple[str, Edf, Band]]) -> Table:
    header = ("population", "error", "share_up_to", "band_low", "band_high")
    rows = [
        [name, *map(float, row)]
        for name, function, band in parts
        for row in zip(function.errors, function.cumulative, band.low, band.high, strict=True)
    ]
    return header, rows


def _best_of_k_table(findings: Findings) -> Table:
    header = ("population", "k", "expected", "unbiased", "low", "high")
    rows: list[list[Any]] = []
    for p in findings.populations:
        found = p.best_of_k
        columns = (found.expected, found.unbiased, found.low, found.high)
        for k, *values in zip(found.k, *columns, strict=True):
            rows.append([p.name, int(k), *map(float, values)])
    return header, rows


def _fits_table(findings: Findings) -> Table:
    header = ("population", "index", "rank", "w_0", "w_a", "w_m", "e_fit")
    rows: list[list[Any]] = []
    for p in findings.populations:
        if p.widths is None:
            continue
        fits = p.widths.fits
        columns = (p.widths.rows, p.widths.ranks, fits.w_0, fits.w_a, fits.w_m, fits.error)
        rows += [[p.name, *map(number, row)] for row in zip(*columns, strict=True)]
    return header, rows


def _models_table(findings: Findings) -> Table:
    """One line a sampled model, whatever its state, with the parameters of all populations."""
    costs = list(dict.fromkeys(c for p in findings.populations for c in p.results.costs))
    names = list(dict.fromkeys(k for p in findings.populations for k in p.results.parameters))
    header = ("population", "id", "index", "state", "counted", "error", *costs, *names)
    rows: list[list[Any]] = []
    for p in findings.populations:
        r = p.results
        columns = [r.costs.get(c) for c in costs] + [r.parameters.get(k) for k in names]
        for i, identifier in enumerate(r.ids):
            error = "" if math.isnan(r.errors[i]) else float(r.errors[i])
            values = ["" if column is None else number(column[i]) for column in columns]
            rows.append(
                [p.name, identifier, i, str(r.states[i]), bool(r.counted[i]), error, *values]
            )
    return header, rows


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """One column a number: `mean: {value, low, high}` becomes mean, mean_low, mean_high."""
    flat: dict[str, Any] = {}
    for key, entry in record.items():
        if isinstance(entry, dict):
            inner = _flat(entry)
            flat |= {key if name == "value" else f"{key}_{name}": v for name, v in inner.items()}
        elif isinstance(entry, list) and len(entry) == 2 and not isinstance(entry[0], dict):
            flat |= {f"{key}_first": entry[0], f"{key}_second": entry[1]}
        elif not isinstance(entry, list):
            flat[key] = "" if entry is None else entry
    return flat


def _from_maps(records: Iterable[Mapping[str, Any]]) -> Table:
    listed = list(records)
    header = tuple(dict.fromkeys(key for record in listed for key in record))
    return header, [[record.get(key, "") for key in header] for record in listed]
