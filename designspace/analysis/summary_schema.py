"""The written schema of summary.json: what each key holds, checked by the tests, beside the report.

Errors and differences are in percent of top-1 error, differences second minus first; intervals are
95 %. A number that does not exist (an interval of too few models) is null.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from designspace.analysis.claims import Claim
from designspace.analysis.pairwise import ClaimVerdict


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Interval(_Part):
    """An estimate with its interval."""

    value: float | None
    low: float | None
    high: float | None


class Quantile(_Part):
    """A quantile of the error with its exact order-statistic interval."""

    probability: float
    value: float
    low: float | None
    high: float | None
    coverage: float


class Population(_Part):
    """One population: its models, how their trials ended, and its errors."""

    name: str
    space: str
    family: str
    resolution: int | None
    n: int = Field(description="models sampled")
    trained: int = Field(description="models with a finished trial, whatever its state")
    complete: int
    diverged: int = Field(description="counted with chance error")
    failed: int = Field(description="not counted; see mean_best_case and mean_worst_case")
    missing: int = Field(description="models without a trial yet")
    set_aside: int = Field(description="trials after the first model without one, not counted")
    counted: int = Field(description="models that all statistics speak of")
    min: float
    mean: float
    median: float
    sd: float
    mean_best_case: float = Field(description="mean if every failed model equalled the best")
    mean_worst_case: float = Field(description="mean if every failed model had chance error")
    chance: float
    quantiles: list[Quantile]
    area: float = Field(description="mean height of the EDF over `area_range`")
    band_half_width: float = Field(description="of the DKW-Massart band around the EDF")
    flops: tuple[int, int] | None = Field(description="least and most multiply-adds")
    path: str = Field(description="run folder, as it was named")


class Best(_Part):
    """Where the best models have a parameter: the empirical bootstrap."""

    low: float
    median: float
    high: float
    best: float = Field(description="value of the single best model")
    carriers: int = Field(description="models that carry 95 % of the weight")
    few: bool = Field(description="too few carriers for the interval to be trusted")


class Model(_Part):
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


class Sequential(_Part):
    """The comparison that may be looked at after every pair of trials."""

    pairs: int
    mean: Interval
    superiority: Interval
    decided_at: int | None
    better: bool | None


class PairComparison(_Part):
    """Two populations compared."""

    first: str
    second: str
    verdict: Literal["better", "worse", "equivalent", "undecided"]
    better: ClaimVerdict = Field(description='of the claim "the second is better"')
    equal: ClaimVerdict = Field(description='of the claim "they differ by less than the margin"')
    n: tuple[int, int]
    mean: Interval
    median: Interval
    minimum: float
    superiority: Interval = Field(
        description="chance that a model of the second beats one of the first"
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
    difference_seen: float = Field(description="least difference seen with 80 % power at this n")
    models_needed: int | None = Field(description="of each, to see the margin with 80 % power")
    sequential: Sequential


class Trend(_Part):
    """How the error goes with one parameter."""

    name: str
    rank_correlation: Interval
    p: float = Field(description="of no monotone trend, Holm over the parameters")
    centers: list[float] = Field(description="median parameter value in each bin")
    medians: list[float] = Field(description="median error in each bin")
    counts: list[int]


class Together(_Part):
    """Two parameters that go together among the best quarter."""

    first: str
    second: str
    best: float
    all: float
    p: float


class Constraint(_Part):
    """A constraint, and which share of the best quarter and of the others keep it."""

    name: str
    best: Interval
    others: Interval
    n: tuple[int, int]
    p: float
    shared: bool


class FittedModel(_Part):
    """The quantized-linear widths nearest to a model's."""

    index: int
    w_0: int
    w_a: float
    w_m: float
    error: float


class Line(_Part):
    """The line through the origin that the best models' block widths follow."""

    slope: float
    error: float
    models: int


class Fits(_Part):
    """Quantized-linear fits of one population."""

    fitted: int
    median_error: float
    median_error_best: float
    trend: Line
    best: list[FittedModel]


class NormalizedPopulation(_Part):
    """A population at equal complexity."""

    min: float
    mean: float
    median: float
    band_half_width: float
    left_out: int


class Normalized(_Part):
    """All populations at equal complexity."""

    complexity: str
    low: float
    high: float
    bins: int
    populations: dict[str, NormalizedPopulation]


class Summary(_Part):
    """All numbers of a report."""

    schema_: int = Field(alias="schema")
    warnings: list[str]
    verdict: str
    populations: list[Population]
    bootstrap: dict[str, dict[str, Best]]
    best: dict[str, list[Model]]
    comparisons: list[PairComparison]
    claims: list[Claim] | None
    fits: dict[str, Fits]
    trends: dict[str, list[Trend]]
    importance: dict[str, dict[str, Interval]] = Field(
        description="share of the variance of the error's rank that a parameter alone explains"
    )
    together: dict[str, list[Together]]
    shared_constraints: dict[str, list[Constraint]]
    normalized: Normalized | None
    area_range: tuple[float, float]


def summary_schema() -> dict[str, Any]:
    """Return the JSON schema of summary.json."""
    return Summary.model_json_schema(by_alias=True)
