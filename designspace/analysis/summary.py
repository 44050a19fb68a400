"""`summary.json`: its schema, for the writer and the readers.

Errors and differences are in percent of top-1 error, differences second minus first; intervals are
95 %. A number that does not exist (such as the end of an interval of too few models) is null.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from designspace.analysis.findings import Findings, PopulationFindings, WidthFits
from designspace.analysis.narrative import narrate
from designspace.analysis.normalized_edf import NormalizedEdfs
from designspace.analysis.pairwise import ClaimVerdict, PairComparison, Verdict
from designspace.errors import InputError
from designspace.io.serialization import number
from designspace.io.text_files import read_text
from designspace.io.validation import validate
from designspace.stats.sequential import ConfidenceSequence, SequentialComparison

SUMMARY_FILE = "summary.json"
SCHEMA_VERSION = 1
_NUM_CORRELATIONS = 20
_NUM_FITS = 20


def _null_if_infinite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Finite = Annotated[float | None, BeforeValidator(_null_if_infinite)]


class _Record(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Interval(_Record):
    """An estimate with its interval."""

    value: Finite
    low: Finite
    high: Finite


class Quantile(_Record):
    """A quantile of the error with its exact order-statistic interval."""

    probability: float
    value: float
    low: Finite
    high: Finite
    coverage: float


class Population(_Record):
    """One population: its models, how their trials ended, and its errors."""

    name: str
    space: str
    family: str
    resolution: int | None = None
    n: int = Field(description="models sampled")
    trained: int = Field(description="models with a finished trial, in any state")
    complete: int
    diverged: int = Field(description="counted with chance error")
    failed: int = Field(description="not counted; see mean_best_case and mean_worst_case")
    missing: int = Field(description="models without a trial yet")
    set_aside: int = Field(description="trials after the first model without one, not counted")
    counted: int = Field(description="models that enter the statistics")
    min: float
    mean: float
    median: float
    sd: float
    mean_best_case: float = Field(description="mean if every failed model equalled the best")
    mean_worst_case: float = Field(description="mean if every failed model had chance error")
    chance: float
    quantiles: list[Quantile]
    area: float = Field(description="mean height of the EDF over `area_range`")
    band_half_width: float = Field(description="largest, of the band around the EDF")
    flops: tuple[int, int] | None = Field(default=None, description="fewest and most multiply-adds")
    path: str | None = Field(default=None, description="run folder, as it was named")


class Bootstrap(_Record):
    """The range of the best (empirical bootstrap): no confidence interval."""

    low: float
    median: float
    high: float
    best: float = Field(description="value of the single best model")
    carriers: int = Field(description="models that carry 95 % of the weight")
    few: bool = Field(description="too few models for the range to say anything")


class ModelRecord(_Record):
    """One of the best models."""

    id: str
    index: int
    error: float
    flops: int | None = None
    params: int | None = None
    acts: int | None = None
    arch: dict[str, Any] | None = None
    regnet: dict[str, Any] | None = None
    parameters: dict[str, float] | None = None


class Sequential(_Record):
    """The comparison that stays valid under optional stopping, after all pairs."""

    pairs: int
    mean: Interval
    superiority: Interval
    decided_at: int | None
    better: bool | None = Field(description="whether the second has the lower mean")
    wins_at: int | None = None
    wins: bool | None = Field(default=None, description="whether the second wins more pairs")


class Dominance(_Record):
    """A range of errors in which one EDF is shown to lie above the other."""

    low: float
    high: float
    better: Literal["first", "second"]


class Pair(_Record):
    """Two populations compared."""

    first: str
    second: str
    verdict: Verdict
    better: ClaimVerdict = Field(description='of the claim "the second is better"')
    equal: ClaimVerdict = Field(description='of the claim "they differ by less than the margin"')
    n: tuple[int, int]
    mean: Interval
    median: Interval
    minimum: float
    superiority: Interval = Field(
        description="probability that a model of the second beats one of the first"
    )
    hedges_g: Interval
    ks: float
    p_ks: float
    p_mean: float
    p_median: float
    p_minimum: float
    p_mean_holm: float
    margin: float
    p_equivalent: float
    p_equivalent_holm: float
    p_different_holm: float = Field(description='against "they differ by less than the margin"')
    difference_seen: float = Field(description="difference detected with 80 % power at this n")
    models_needed: int | None = Field(description="of each, to detect the margin with 80 % power")
    sequential: Sequential
    dominance: list[Dominance] = Field(
        default=[], description="where the simultaneous band of the EDFs' difference excludes zero"
    )


class Trend(_Record):
    """How the error depends on one parameter."""

    name: str
    rank_correlation: Interval
    p: float = Field(description="of no monotone trend, Holm over the parameters")
    centers: list[float] = Field(description="median parameter value in each bin")
    medians: list[float] = Field(description="median error in each bin")
    counts: list[int]


class Correlation(_Record):
    """Two parameters that are correlated among the best quarter."""

    first: str
    second: str
    best: Finite
    all: Finite
    p: Finite


class Constraint(_Record):
    """A constraint, and which fraction of the best quarter and of the others satisfy it."""

    name: str
    best: Interval
    others: Interval
    n: tuple[int, int]
    p: float
    shared: bool


class ClaimRecord(_Record):
    """A claim made beforehand, with its verdict."""

    claim: str
    test: str
    verdict: ClaimVerdict
    estimate: Finite = Field(description="difference of means, or a trend's rank correlation")
    low: Finite
    high: Finite
    p: float | None = Field(description="Holm over all claims; null where it can't be tested")
    p_against: float | None
    n: tuple[int, ...]
    p_bootstrap: float | None = Field(default=None, description="by the bootstrap-t")
    borderline: bool = Field(default=False, description="the bootstrap-t gives another verdict")


class FittedModel(_Record):
    """The quantized-linear widths nearest to a model's."""

    index: int
    w_0: int
    w_a: float
    w_m: float
    error: float


class WidthLine(_Record):
    """The line through the origin that the best models' block widths follow."""

    slope: float
    error: float
    models: int


class Fits(_Record):
    """Quantized-linear fits of one population."""

    fitted: int
    median_error: float
    median_error_best: float
    trend: WidthLine
    best: list[FittedModel]


class NormalizedPopulation(_Record):
    """A population at equal complexity."""

    min: float
    mean: float
    median: float
    band_half_width: float
    left_out: int


class Normalized(_Record):
    """All populations at equal complexity."""

    complexity: str
    low: float
    high: float
    bins: int
    populations: dict[str, NormalizedPopulation]


class Summary(_Record):
    """All numbers of a report."""

    version: int = Field(alias="schema")
    warnings: list[str]
    verdict: str
    populations: list[Population] = Field(min_length=1)
    bootstrap: dict[str, dict[str, Bootstrap]]
    best: dict[str, list[ModelRecord]]
    comparisons: list[Pair]
    claims: list[ClaimRecord] | None
    fits: dict[str, Fits]
    trends: dict[str, list[Trend]]
    importance: dict[str, dict[str, Interval]] = Field(
        description="fraction of the variance of the error's rank that a parameter alone explains"
    )
    together: dict[str, list[Correlation]]
    shared_constraints: dict[str, list[Constraint]]
    normalized: Normalized | None
    area_range: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in summary.json."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


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


def damaged(path: Path, problem: str) -> InputError:
    """Return the error for a damaged summary.json."""
    return InputError(f"findings: {path}: {problem}; {_REMEDY}")


def summarize(findings: Findings) -> Summary:
    """Return all numbers of a report."""
    populations = findings.populations
    narrative = narrate(findings)
    claims, normalized = findings.claims, findings.normalized
    return Summary(
        schema=SCHEMA_VERSION,
        warnings=list(narrative.warnings),
        verdict=narrative.paragraph,
        populations=[_population(p) for p in populations],
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
        normalized=None if normalized is None else _normalized(findings, normalized),
        area_range=findings.area_range,
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
            "sd": p.std,
            "chance": results.chance,
            "quantiles": p.quantiles,
            "area": p.area,
            "band_half_width": p.band.half_width,
            "flops": p.flops_range,
            "path": results.provenance.path,
        }
    )


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
            "dominance": pair.edf_difference.regions,
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


def _normalized(findings: Findings, result: NormalizedEdfs) -> Normalized:
    rows = zip(findings.populations, result.edfs, result.bands, result.left_out, strict=True)
    return Normalized(
        complexity=result.complexity,
        low=result.low,
        high=result.high,
        bins=result.bins,
        populations={
            p.name: NormalizedPopulation(
                min=function.minimum,
                mean=function.mean,
                median=function.median,
                band_half_width=band.half_width,
                left_out=left_out,
            )
            for p, function, band, left_out in rows
        },
    )
