"""The page's table of models, as plain values for its script."""

import math
from typing import Any

from designspace.analysis.findings import Findings, PopulationFindings
from designspace.analysis.population_results import PopulationResults
from designspace.arch import BOTTLENECK, BodyBatch, body_axes
from designspace.arch.parameter_columns import category_names
from designspace.io.serialization import number as plain

# The page has at most this many rows; the CSV file has all.
MAX_ROWS = 5000


def rows_shown(findings: Findings) -> int | None:
    """Return the number of best models of each population in the table, or None if it has all."""
    populations = findings.populations
    if sum(len(p.results) for p in populations) <= MAX_ROWS:
        return None
    return max(1, MAX_ROWS // len(populations))


def model_table(findings: Findings) -> dict[str, Any]:
    """Return the names of populations, and a row and the stages of each model.

    A row is [population index, model index, id, state, rank or null, error or null, flops, params,
    acts, parameters as text]; its stages are [depths, widths, other settings as text] or null.
    """
    rows: list[list[Any]] = []
    stages: list[list[Any] | None] = []
    for number, p in enumerate(findings.populations):
        for index, rank in _order(p)[: rows_shown(findings)]:
            rows.append(_row(p.results, number, index, rank))
            stages.append(_stages(p.results, index))
    names = [p.name for p in findings.populations]
    return {"names": names, "rows": rows, "stages": stages}


def _order(p: PopulationFindings) -> list[tuple[int, int | None]]:
    """Return counted models by error with their ranks, then the others in sampled order."""
    ranked = p.results.ranked().tolist()
    rest = [i for i in range(len(p.results)) if not p.results.counted[i]]
    return [(i, rank) for rank, i in enumerate(ranked, start=1)] + [(i, None) for i in rest]


def _row(results: PopulationResults, number: int, index: int, rank: int | None) -> list[Any]:
    error = float(results.errors[index])
    costs = [
        int(value) if math.isfinite(value) else None
        for value in (
            results.costs[name][index] if name in results.costs else math.nan
            for name in ("flops", "params", "acts")
        )
    ]
    shown = None if error != error else round(error, 3)
    described = _describe(results, index)
    return [
        number,
        index,
        results.ids[index],
        str(results.states[index]),
        rank,
        shown,
        *costs,
        described,
    ]


def _describe(results: PopulationResults, index: int) -> str:
    columns, names = results.parameters, category_names(results.bodies)
    named = {k: names[k][int(v[index])] for k, v in columns.items() if k in names}
    if results.bodies is not None and results.regnets is None and results.has_body[index]:
        s = results.bodies
        depths, widths, settings = _shapes(s, index)
        kinds = [f" ({words})" if s.block != BOTTLENECK else "" for words in settings]
        shapes = zip(depths, widths, kinds, strict=True)
        return " ".join([*(f"{d}×{w}{kind}" for d, w, kind in shapes), *named.values()])
    return " ".join(
        f"{name}={named.get(name) or _shown(float(values[index]))}"
        for name, values in columns.items()
        if math.isfinite(values[index])
    )


def _shown(value: float) -> str:
    """Return a parameter in four digits, or a number of 10,000 or more in all before the point."""
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _stages(results: PopulationResults, index: int) -> list[Any] | None:
    if results.bodies is None or not results.has_body[index]:
        return None
    return _shapes(results.bodies, index)


def _shapes(s: BodyBatch, index: int) -> list[Any]:
    """Return the depth, width and other settings, such as `b4 g16`, of each stage's blocks."""
    values_of = {"b": s.bottleneck_ratios, "g": s.group_widths}
    axes = {name: values_of[name] for name in body_axes(s.block)} | {**s.extras}
    stages = int(s.stage_counts[index])
    kinds = [
        " ".join(f"{name}{plain(float(values[index, i]))}" for name, values in axes.items())
        for i in range(stages)
    ]
    return [s.depths[index, :stages].tolist(), s.widths[index, :stages].tolist(), kinds]
