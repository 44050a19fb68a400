"""The records of `summary.json`."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from designspace.analysis.compare_pairs import ClaimVerdict, Verdict
from designspace.analysis.rank_agreement import Repeatability
from designspace.io.serialization import significant


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


class ControlShare(_Record):
    """Fraction of the variance of the error's rank that one control alone explains."""

    control: str
    importance: Interval


class PairedNoise(_Record):
    """The noise of errors as estimated from single images, which all models share."""

    models: int
    difference_std: float = Field(description="of the difference of two models, over draws")
    mean_std: float = Field(description="of the mean of all models, over draws of images")
    like_best: int = Field(description="models that McNemar's test does not separate from the best")


class Noise(_Record):
    """Noise of errors that are measured on a number of images."""

    images: int
    std: float = Field(description="of one model's error over draws of images, percent")
    share: float = Field(description="of the variance between the models that can be noise")
    paired: PairedNoise | None = Field(default=None, description="from single images")


class Seeds(_Record):
    """The runs that a population trained with several seeds is merged of."""

    names: tuple[str, ...]
    repeatability: Repeatability | None


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
    sd: float = Field(description="standard deviation between models, percent; 0 of a single model")
    mean_best_case: float = Field(description="mean if every failed model equalled the best")
    mean_worst_case: float = Field(description="mean if every failed model had chance error")
    with_gaps: bool = Field(
        default=False, description="trials after the first model without one are counted too"
    )
    chance: float
    quantiles: list[Quantile]
    area: float = Field(description="mean height of the EDF over `area_range`")
    band_half_width: float = Field(description="largest, of the band around the EDF")
    flops: tuple[int, int] | None = Field(default=None, description="fewest and most multiply-adds")
    path: str | None = Field(default=None, description="run folder, as it was named")
    noise: Noise | None = None
    controls: list[ControlShare] = []
    at_equal_cost: dict[str, Interval] = Field(
        default={}, description="importance with multiply-adds and parameters held fixed"
    )
    seeds: Seeds | None = None


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


class Controlled(_Record):
    """A difference of mean errors with one control held fixed."""

    control: str
    ratio: Finite = Field(description="median of the second over that of the first")
    method: Literal["matching", "regression"] | None
    difference: Interval | None
    n: tuple[int, ...]
    explains: bool = Field(description="held fixed, the difference is not shown")


class BestModels(_Record):
    """The best model of each of two populations on the same images (McNemar's test)."""

    only_first: int
    only_second: int
    difference: float
    p: float


class OnImages(_Record):
    """A difference of mean errors over draws of both models and images."""

    difference: Interval
    model_std: float
    image_std: float = Field(description="from the draw of the images alone")
    images: int
    n: tuple[int, int]
    best: BestModels


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
    p_mean_holm: float = Field(description="larger of permutations and bootstrap-t, Holm over all")
    margin: float
    p_equivalent: float = Field(description="by t, of this pair alone")
    p_equivalent_holm: float = Field(description="larger of t and bootstrap-t, Holm over all pairs")
    p_different_holm: float = Field(description='against "they differ by less than the margin"')
    difference_seen: float = Field(description="difference detected with 80 % power at this n")
    models_needed: int | None = Field(
        description="of each, to detect the margin with 80 % power, uncorrected"
    )
    sequential: Sequential
    unequal: tuple[str, ...] = Field(
        default=(), description="costs whose medians differ by more than a quarter"
    )
    controls: list[Controlled] = Field(
        default=[], description="the difference with size, depth or last width held fixed"
    )
    dominance: list[Dominance] = Field(
        default=[], description="where the simultaneous band of the EDFs' difference excludes zero"
    )
    on_images: OnImages | None = Field(
        default=None, description="with the images redrawn, too; where their results are kept"
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
    p: float | None = Field(
        description="larger of its two tests', Holm over all claims; null where it can't be tested"
    )
    p_against: float | None
    n: tuple[int, ...]
    p_bootstrap: float | None = Field(default=None, description="by the bootstrap-t alone")
    borderline: bool = Field(default=False, description="its two tests alone would differ")
    stated: dict[str, bool | int | float | str] = Field(
        default={}, description="kind, populations, margin, n and the like, as it states them"
    )


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


class FrontModel(_Record):
    """A model on the Pareto front of a population's sample."""

    index: int
    cost: float
    error: float
    frequency: float = Field(description="of bootstrap samples that contain it, on how many fronts")


class BestCurve(_Record):
    """The error that half of the searches over k random models reach within each cost."""

    costs: list[float]
    errors: list[Finite] = Field(description="null where too few models lie within the cost")
    low: list[Finite] = Field(description="lower edge of a band that holds the whole curve")
    high: list[Finite]


class TradeOffPopulation(_Record):
    """The trade-off of one population."""

    name: str
    n: int = Field(description="counted models whose cost is known")
    unknown: int = Field(description="counted models whose cost is unknown")
    hypervolume: Interval = Field(description="expected of k random models, points of error")
    front: list[FrontModel]
    best: BestCurve


class TradeOffPairRecord(_Record):
    """Two populations' trade-offs compared."""

    first: str
    second: str
    hypervolume: Interval = Field(description="second minus first: above 0 the second is better")
    p: float = Field(description="of no difference, Holm over the pairs")
    better: str | None
    regions: list[Dominance] = Field(description="ranges of cost; simultaneous")


class Reference(_Record):
    """The range of cost, and the reference point of hypervolumes: highest cost and error."""

    low: float
    high: float
    error: float


class TradeOffRecord(_Record):
    """Error against one cost: flops, params, acts, latency (seconds) or memory (bytes)."""

    measure: str
    setting: dict[str, Any] | None = Field(description="what a measured cost was measured on")
    box: Reference
    k: int = Field(description="models of a random search, the same for all populations")
    populations: list[TradeOffPopulation]
    pairs: list[TradeOffPairRecord]
    edfs: Normalized | None = Field(default=None, description="error distributions at equal cost")
    notes: list[str]


class Summary(_Record):
    """All numbers of a report."""

    version: int = Field(alias="schema")
    warnings: list[str]
    verdict: str
    populations: list[Population]
    without_errors: list[str] = Field(default=[], description="populations whose models all failed")
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
    trade_offs: list[TradeOffRecord] = []

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in summary.json."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {key: significant(value) for key, value in plain.items()}
