"""`summary.json`: its schema, for the writer and the readers.

Errors and differences are in percent of top-1 error, differences second minus first; intervals are
95 %. A number that does not exist (such as the end of an interval of too few models) is null.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from designspace.analysis.compare_pairs import PairComparison
from designspace.analysis.findings import Findings, PopulationFindings, WidthFits
from designspace.analysis.headline import narrate
from designspace.analysis.image_noise import ImageNoise
from designspace.analysis.normalized_edf import NormalizedEdfs
from designspace.analysis.summary_schema import (
    Bootstrap,
    ClaimRecord,
    Constraint,
    Correlation,
    Fits,
    FittedModel,
    Interval,
    ModelRecord,
    Normalized,
    NormalizedPopulation,
    Pair,
    Population,
    Sequential,
    Summary,
    TradeOffRecord,
    Trend,
    WidthLine,
)
from designspace.analysis.trade_off import TradeOff
from designspace.errors import InputError
from designspace.io.serialization import number
from designspace.io.text_files import read_text
from designspace.io.validation import validate
from designspace.stats.sequential import ConfidenceSequence, SequentialComparison

SUMMARY_FILE = "summary.json"
SCHEMA_VERSION = 1
_NUM_CORRELATIONS = 20
_NUM_FITS = 20


def summary_schema() -> dict[str, Any]:
    """Return the JSON schema of summary.json."""
    return Summary.model_json_schema(by_alias=True)


def read_summary(path: Path) -> Summary:
    """Read a summary.json.

    Raises:
        InputError: It is damaged.
    """
    text = read_text(path, "findings")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise damaged(path, "must be a map")
    try:
        return validate(Summary, data, path, "findings")
    except InputError as error:
        raise InputError(f"{error}; {_REMEDY}") from None


_REMEDY = "it was damaged or edited: run `designspace analyze` again"


def damaged(path: str | Path, problem: str) -> InputError:
    """Return the error for a damaged summary.json."""
    return InputError(f"findings: {path}: {problem}; {_REMEDY}")


def summarize(findings: Findings) -> Summary:
    """Return all numbers of a report."""
    populations = findings.populations
    narrative = narrate(findings)
    claims, normalized = findings.claims, findings.normalized
    names = [p.name for p in findings.populations]
    return Summary(
        schema=SCHEMA_VERSION,
        warnings=list(narrative.warnings),
        verdict=narrative.paragraph,
        populations=[_population(p) for p in populations],
        without_errors=[results.name for results in findings.without_errors],
        bootstrap={
            p.name: {name: Bootstrap.model_validate(b) for name, b in p.bootstrap.items()}
            for p in populations
        },
        best={p.name: [_model(p, int(row)) for row in p.best_rows] for p in populations},
        comparisons=[_pair(pair) for pair in findings.comparisons],
        claims=(
            None
            if claims is None
            else [ClaimRecord.model_validate(claim) for claim in claims.claims]
        ),
        fits={p.name: _fits(p.widths) for p in populations if p.widths is not None},
        trends={p.name: [Trend.model_validate(t) for t in p.trends] for p in populations},
        importance={
            p.name: {t.name: Interval.model_validate(t.importance) for t in p.trends}
            for p in populations
        },
        together={
            p.name: [Correlation.model_validate(c) for c in p.correlated[:_NUM_CORRELATIONS]]
            for p in populations
        },
        shared_constraints={
            p.name: [Constraint.model_validate(c) for c in p.constraints] for p in populations
        },
        normalized=None if normalized is None else _normalized(names, normalized),
        area_range=findings.area_range,
        # Absent, not empty, where none was to be analyzed.
        **(
            {"trade_offs": list(map(_trade_off, findings.trade_offs))}
            if findings.trade_offs
            else {}
        ),
    )


def _trade_off(trade_off: TradeOff) -> TradeOffRecord:
    setting = trade_off.setting
    names = [part.name for part in trade_off.populations]
    populations = [
        {
            **vars(part),
            "hypervolume": part.hypervolume.estimate(),
            "front": [
                {"index": index, "cost": cost, "error": error, "frequency": frequency}
                for index, cost, error, frequency in zip(
                    part.rows.tolist(),
                    part.costs.tolist(),
                    part.errors.tolist(),
                    part.frequency.tolist(),
                    strict=True,
                )
            ],
            "best": {
                name: getattr(part.best, name).tolist()
                for name in ("costs", "errors", "low", "high")
            },
        }
        for part in trade_off.populations
    ]
    return TradeOffRecord.model_validate(
        {
            **vars(trade_off),
            "setting": None if setting is None else asdict(setting),
            "edfs": None if trade_off.edfs is None else _normalized(names, trade_off.edfs),
            "populations": populations,
            "pairs": [{**vars(pair), "better": pair.better} for pair in trade_off.pairs],
            "notes": list(trade_off.notes),
        }
    )


def _population(p: PopulationFindings) -> Population:
    results = p.results
    return Population.model_validate(
        {
            "name": p.name,
            "space": results.space,
            "family": results.family,
            "resolution": results.resolution,
            **vars(p.accounting),
            "min": p.edf.minimum,
            "mean": p.edf.mean,
            "median": p.edf.median,
            "sd": 0.0 if math.isnan(p.std) else p.std,
            "chance": results.chance,
            "quantiles": p.quantiles,
            "area": p.area,
            "band_half_width": p.band.half_width,
            "flops": p.flops_range,
            "path": results.provenance.path,
            "noise": None if p.noise is None else _noise(p.noise),
            "controls": p.controls,
            "at_equal_cost": p.at_equal_cost,
            "seeds": p.seeds,
        }
    )


def _noise(noise: ImageNoise) -> dict[str, Any]:
    """The numbers of an `ImageNoise`; those of single images only where there are some."""
    return {key: value for key, value in vars(noise).items() if value is not None}


def _pair(pair: PairComparison) -> Pair:
    return Pair.model_validate(
        {
            **vars(pair.comparison),
            "first": pair.first,
            "second": pair.second,
            "verdict": pair.verdict,
            "better": pair.better,
            "equal": pair.equal,
            "p_mean_holm": pair.p,
            "margin": pair.equivalence.margin,
            "p_equivalent": pair.equivalence.p,
            "p_equivalent_holm": pair.p_equivalent,
            "p_different_holm": pair.p_different,
            "difference_seen": pair.detectable_difference,
            "models_needed": pair.models_needed,
            "sequential": _sequential(pair.sequential),
            "unequal": pair.unequal,
            "controls": pair.controls,
            "dominance": pair.edf_difference.regions,
            **({"on_images": pair.on_images} if pair.on_images else {}),
        }
    )


def _sequential(result: SequentialComparison) -> Sequential:
    return Sequential(
        pairs=result.pairs,
        mean=_last_interval(result.mean),
        superiority=_last_interval(result.superiority),
        decided_at=result.decided_at,
        better=result.better,
        wins_at=result.wins_at,
        wins=result.wins,
    )


def _last_interval(sequence: ConfidenceSequence) -> Interval:
    return Interval(value=None, low=float(sequence.low[-1]), high=float(sequence.high[-1]))


def _model(p: PopulationFindings, row: int) -> ModelRecord:
    results = p.results
    costs = {k: int(v[row]) for k, v in results.costs.items() if np.isfinite(v[row])}
    record: dict[str, Any] = {
        "id": results.ids[row],
        "index": row,
        "error": float(results.errors[row]),
        **costs,
    }
    described = bool(results.has_body[row])
    if results.bodies is not None and described:
        record["arch"] = results.bodies.body(row).to_dict()
    else:
        known = {k: v[row] for k, v in results.parameters.items() if np.isfinite(v[row])}
        record["parameters"] = {k: number(value) for k, value in known.items()}
    if results.regnets is not None and described:
        record["regnet"] = results.regnets.regnet(row).to_dict()
    return ModelRecord(**record)


def _fits(widths: WidthFits) -> Fits:
    fits, few = widths.fits, min(len(widths.fits), _NUM_FITS)
    return Fits(
        fitted=len(fits),
        median_error=float(np.median(fits.error)),
        median_error_best=float(np.median(fits.error[:few])),
        trend=WidthLine.model_validate(widths.trend),
        best=[
            FittedModel(
                index=int(widths.rows[i]),
                w_0=int(fits.w_0[i]),
                w_a=round(float(fits.w_a[i]), 2),
                w_m=round(float(fits.w_m[i]), 3),
                error=float(fits.error[i]),
            )
            for i in range(few)
        ],
    )


def _normalized(names: Sequence[str], result: NormalizedEdfs) -> Normalized:
    rows = zip(names, result.edfs, result.bands, result.left_out, strict=True)
    return Normalized(
        complexity=result.complexity,
        low=result.low,
        high=result.high,
        bins=result.bins,
        populations={
            name: NormalizedPopulation(
                min=function.minimum,
                mean=function.mean,
                median=function.median,
                band_half_width=band.half_width,
                left_out=left_out,
            )
            for name, function, band, left_out in rows
        },
    )
