"""Findings as plain data: summary.json, whose schema is in `analysis.summary_schema`."""

from typing import Any

import numpy as np

from designspace.analysis.findings import Findings, PopulationFindings, WidthFits
from designspace.analysis.importance import ParameterTrend
from designspace.analysis.narrative import verdicts
from designspace.analysis.normalized_edf import NormalizedEdfs
from designspace.analysis.pairwise import PairComparison
from designspace.io.serialization import number, plain
from designspace.stats.bootstrap import BootstrapInterval
from designspace.stats.sequential import SequentialComparison

SCHEMA = 1


def summary(findings: Findings) -> dict[str, Any]:
    """Return all numbers of the report as plain data, as they stand in summary.json."""
    populations = findings.populations
    words = verdicts(findings)
    return {
        "schema": SCHEMA,
        "warnings": list(words.warnings),
        "verdict": words.paragraph,
        "populations": [population_record(p) for p in populations],
        "bootstrap": {
            p.name: {name: interval_record(found) for name, found in p.bootstrap.items()}
            for p in populations
        },
        "best": {p.name: [_model(p, int(row)) for row in p.best_rows] for p in populations},
        "comparisons": [pair_record(pair) for pair in findings.comparisons],
        "claims": None if findings.claims is None else plain(findings.claims.claims),
        "fits": {p.name: _fits(p.widths) for p in populations if p.widths is not None},
        "trends": {p.name: [_trend(trend) for trend in p.trends] for p in populations},
        "importance": {
            p.name: {trend.name: plain(trend.importance) for trend in p.trends} for p in populations
        },
        "together": {p.name: plain(p.correlated[:20]) for p in populations},
        "shared_constraints": {
            p.name: [{**plain(one), "shared": one.shared} for one in p.constraints]
            for p in populations
        },
        "normalized": _normalized(findings, findings.normalized),
        "area_range": list(findings.area_range),
    }


def population_record(p: PopulationFindings) -> dict[str, Any]:
    """Return what is known of a population on its own."""
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
        "set_aside": count.set_aside,
        "counted": count.counted,
        "min": p.edf.minimum,
        "mean": p.edf.mean,
        "median": p.edf.median,
        "sd": float(results.counted_errors.std(ddof=1)) if count.counted > 1 else 0.0,
        "mean_best_case": count.mean_best_case,
        "mean_worst_case": count.mean_worst_case,
        "chance": results.chance,
        "quantiles": plain(p.quantiles),
        "area": p.area,
        "band_half_width": p.band.half_width,
        "flops": None if flops is None else [int(flops.min()), int(flops.max())],
        "path": results.provenance.path,
    }


def pair_record(pair: PairComparison) -> dict[str, Any]:
    """Return the comparison of two populations."""
    found, equal = pair.comparison, pair.equivalence
    return {
        "first": pair.first,
        "second": pair.second,
        "verdict": pair.verdict,
        "better": pair.better,
        "equal": pair.equal,
        "n": list(found.n),
        "mean": plain(found.mean),
        "median": plain(found.median),
        "minimum": found.minimum,
        "superiority": plain(found.superiority),
        "hedges_g": plain(found.hedges_g),
        "ks": found.ks,
        "p_ks": found.p_ks,
        "p_mean": found.p_mean,
        "p_median": found.p_median,
        "p_minimum": found.p_minimum,
        "p_mean_holm": pair.p,
        "margin": equal.margin,
        "p_equivalent": equal.p,
        "p_equivalent_holm": pair.p_equivalent,
        "p_different_holm": pair.p_different,
        "difference_seen": pair.detectable_difference,
        "models_needed": pair.models_needed,
        "sequential": _sequential(pair.sequential),
    }


def interval_record(found: BootstrapInterval) -> dict[str, Any]:
    """Return where the best models have one parameter."""
    return {
        "low": number(found.low),
        "median": number(found.median),
        "high": number(found.high),
        "best": number(found.best),
        "carriers": found.carriers,
        "few": found.few,
    }


def _trend(found: ParameterTrend) -> dict[str, Any]:
    record = plain(found)
    del record["importance"]  # has its own key
    return dict(record)


def _sequential(found: SequentialComparison) -> dict[str, Any]:
    ends = {
        name: {
            "value": None,
            "low": plain(sequence.low[-1]),
            "high": plain(sequence.high[-1]),
        }
        for name, sequence in (("mean", found.mean), ("superiority", found.superiority))
    }
    return {
        "pairs": found.pairs,
        **ends,
        "decided_at": found.decided_at,
        "better": found.better,
    }


def _model(p: PopulationFindings, row: int) -> dict[str, Any]:
    results = p.results
    record: dict[str, Any] = {
        "id": results.ids[row],
        "index": row,
        "error": float(results.errors[row]),
        **{name: int(values[row]) for name, values in results.costs.items()},
    }
    if results.bodies is not None:
        record["arch"] = results.bodies.body(row).to_dict()
    if results.regnets is not None:
        record["regnet"] = results.regnets.regnet(row).to_dict()
    if results.bodies is None:
        record["parameters"] = {k: number(v[row]) for k, v in results.parameters.items()}
    return record


def _fits(widths: WidthFits) -> dict[str, Any]:
    errors, few = widths.fits.error, min(len(widths.fits), 20)
    return {
        "fitted": len(errors),
        "median_error": float(np.median(errors)),
        "median_error_best": float(np.median(errors[:few])),
        "trend": plain(widths.trend),
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


def _normalized(findings: Findings, found: NormalizedEdfs | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "complexity": found.complexity,
        "low": found.low,
        "high": found.high,
        "bins": found.bins,
        "populations": {
            p.name: {
                "min": function.minimum,
                "mean": function.mean,
                "median": function.median,
                "band_half_width": band.half_width,
                "left_out": left_out,
            }
            for p, function, band, left_out in zip(
                findings.populations, found.edfs, found.bands, found.left_out, strict=True
            )
        },
    }
