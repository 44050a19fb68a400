"""Findings as plain data: summary.json, and the tables that lie beside it as CSV."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from designspace.analysis.best import BestInterval
from designspace.analysis.findings import Findings, PopulationFindings, WidthFits
from designspace.analysis.pairs import Pair

SCHEMA = 1
Table = tuple[tuple[str, ...], list[list[Any]]]


def summary(findings: Findings) -> dict[str, Any]:
    """Return all numbers of the report as plain data, as they stand in summary.json."""
    populations = findings.populations
    return {
        "schema": SCHEMA,
        "populations": [_population(p) for p in populations],
        "bootstrap": {
            p.name: {name: _interval(found) for name, found in p.bootstrap.items()}
            for p in populations
        },
        "best": {p.name: [_model(p, int(row)) for row in p.best_rows] for p in populations},
        "comparisons": [_pair(pair) for pair in findings.pairs],
        "fits": {p.name: _fits(p.widths) for p in populations if p.widths is not None},
    }


def tables(findings: Findings) -> dict[str, Table]:
    """Return the CSV tables: name to header and rows."""
    return {
        "populations": _from_maps(_flat(_population(p)) for p in findings.populations),
        "edf": _edf_table(findings),
        "bootstrap": _from_maps(
            {"population": p.name, "parameter": name, **_interval(found)}
            for p in findings.populations
            for name, found in p.bootstrap.items()
        ),
        "best_of_k": _best_of_k_table(findings),
        "comparisons": _from_maps(_spread(_pair(pair)) for pair in findings.pairs),
        "models": _models_table(findings),
    }


def _population(p: PopulationFindings) -> dict[str, Any]:
    results, count = p.results, p.accounting
    flops = results.costs.get("flops")
    return {
        "name": p.name,
        "space": results.space,
        "family": results.family,
        "resolution": results.resolution,
        "n": count.n,
        "trained": count.trained,
        "complete": count.complete,
        "diverged": count.diverged,
        "failed": count.failed,
        "missing": count.missing,
        "counted": count.counted,
        "min": p.edf.minimum,
        "mean": p.edf.mean,
        "median": p.edf.median,
        "mean_best_case": count.mean_best_case,
        "mean_worst_case": count.mean_worst_case,
        "chance": results.chance,
        "flops": None if flops is None else [int(flops.min()), int(flops.max())],
        "path": results.provenance.path,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    found, equal = pair.comparison, pair.equivalence
    return {
        "first": pair.first,
        "second": pair.second,
        "verdict": pair.verdict,
        "n": list(found.n),
        "mean": asdict(found.mean),
        "median": asdict(found.median),
        "minimum": found.minimum,
        "superiority": asdict(found.superiority),
        "hedges_g": asdict(found.hedges_g),
        "ks": found.ks,
        "p_ks": found.p_ks,
        "p_mean": found.p_mean,
        "p_median": found.p_median,
        "p_minimum": found.p_minimum,
        "p_mean_holm": pair.p,
        "margin": equal.margin,
        "p_equivalent": equal.p,
        "p_equivalent_holm": pair.p_equivalent,
    }


def _interval(found: BestInterval) -> dict[str, Any]:
    return {
        "low": plain(found.low),
        "median": plain(found.median),
        "high": plain(found.high),
        "best": plain(found.best),
        "carriers": found.carriers,
        "few": found.few,
    }


def _model(p: PopulationFindings, row: int) -> dict[str, Any]:
    results = p.results
    record: dict[str, Any] = {
        "id": results.ids[row],
        "index": row,
        "error": float(results.errors[row]),
        **{name: int(values[row]) for name, values in results.costs.items()},
    }
    if results.stages is not None:
        record["arch"] = results.stages.arch(row).to_dict()
    if results.regnets is not None:
        record["regnet"] = results.regnets.regnet(row).to_dict()
    if results.stages is None:
        record["parameters"] = {k: plain(v[row]) for k, v in results.parameters.items()}
    return record


def _fits(widths: WidthFits) -> dict[str, Any]:
    errors, few = widths.fits.error, min(len(widths.fits), 20)
    return {
        "fitted": len(errors),
        "median_error": float(np.median(errors)),
        "median_error_best": float(np.median(errors[:few])),
        "trend": asdict(widths.trend),
        "best": [
            {
                "index": int(widths.rows[i]),
                "w_0": int(widths.fits.w_0[i]),
                "w_a": round(float(widths.fits.w_a[i]), 2),
                "w_m": round(float(widths.fits.w_m[i]), 3),
                "error": float(errors[i]),
            }
            for i in range(few)
        ],
    }


def _edf_table(findings: Findings) -> Table:
    header = ("population", "error", "share_up_to", "band_low", "band_high")
    rows = [
        [p.name, *map(float, row)]
        for p in findings.populations
        for row in zip(p.edf.errors, p.edf.cumulative, p.band.low, p.band.high, strict=True)
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
            values = ["" if column is None else plain(column[i]) for column in columns]
            rows.append(
                [p.name, identifier, i, str(r.states[i]), bool(r.counted[i]), error, *values]
            )
    return header, rows


def plain(value: Any) -> float | int:
    """Return a number as JSON and CSV should show it: whole ones without a point."""
    number = float(value)
    return int(number) if number.is_integer() else number


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: value for key, value in record.items() if key != "flops"}
    low, high = record["flops"] or ("", "")
    return {**flat, "flops_low": low, "flops_high": high}


def _spread(record: Mapping[str, Any]) -> dict[str, Any]:
    """One column a number: `mean: {value, low, high}` becomes mean, mean_low, mean_high."""
    flat: dict[str, Any] = {}
    for name, entry in record.items():
        if isinstance(entry, dict):
            flat |= {
                name: entry["value"],
                f"{name}_low": entry["low"],
                f"{name}_high": entry["high"],
            }
        elif isinstance(entry, list):
            flat |= {f"{name}_first": entry[0], f"{name}_second": entry[1]}
        else:
            flat[name] = entry
    return flat


def _from_maps(records: Iterable[Mapping[str, Any]]) -> Table:
    listed = list(records)
    header = tuple(dict.fromkeys(key for record in listed for key in record))
    return header, [[record.get(key, "") for key in header] for record in listed]
