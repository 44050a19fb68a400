"""Claims written down before the errors were seen, and the verdict of a study on each.

A claims file is YAML:

    alpha: 0.05
    claims:
      - claim: Sharing b costs nothing
        kind: equivalent          # or better, not_worse, best_in
        first: anynetxa           # names of runs; differences are second minus first
        second: anynetxb
        margin: 1.0               # percent of error
      - claim: The best RegNets have b = 1
        kind: best_in
        population: regnetx
        parameter: b
        low: 1
        high: 1

`better` with a margin claims that the second is better by at least the margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from designspace.analysis.pairwise import ClaimVerdict
from designspace.analysis.population_results import PopulationResults
from designspace.errors import InputError, nearest
from designspace.io.validation import validate
from designspace.io.yaml_files import read_yaml
from designspace.stats.bootstrap import bootstrap_intervals
from designspace.stats.comparison import compare_arrays
from designspace.stats.equivalence import equivalent
from designspace.stats.multiple_testing import holm

# YAML reads a folder named 2024 as a number.
_Name = Annotated[str, Field(coerce_numbers_to_str=True)]
# Strict: neither yes nor "1".
_Number = Annotated[float, Field(strict=True)]


class _Claim(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    claim: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


class _Comparison(_Claim):
    first: _Name
    second: _Name

    @model_validator(mode="after")
    def _check(self) -> "_Comparison":
        if self.first == self.second:
            raise ValueError(f"first and second are both {self.first}; they must differ")
        return self


class _Better(_Comparison):
    kind: Literal["better"]
    margin: _Number = Field(default=0.0, ge=0, le=100)


class _WithinMargin(_Comparison):
    kind: Literal["equivalent", "not_worse"]
    margin: _Number = Field(gt=0, le=100)


class _BestIn(_Claim):
    kind: Literal["best_in"]
    population: _Name
    parameter: _Name
    low: _Number
    high: _Number


_AnyClaim = Annotated[_Better | _WithinMargin | _BestIn, Field(discriminator="kind")]


class _ClaimsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    alpha: _Number = Field(default=0.05, gt=0, lt=1)
    claims: list[_AnyClaim] = Field(min_length=1)


@dataclass(frozen=True)
class Claim:
    """One claim and its verdict.

    Attributes:
        claim: The claim in its author's words.
        test: The test in words.
        verdict: supported, contradicted or undecided.
        estimate: Difference of means, or the likely best value of a parameter.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: p-value of the claim, with Holm's correction over all claims; None for `best_in`.
        p_against: p-value of the opposite, corrected likewise; None for `best_in`.
        n: Models behind it: of the first and the second, or of the population.
    """

    claim: str
    test: str
    verdict: ClaimVerdict
    estimate: float
    low: float
    high: float
    p: float | None
    p_against: float | None
    n: tuple[int, ...]


@dataclass(frozen=True)
class Claims:
    """All claims of a file.

    Attributes:
        alpha: Probability of any false support among them, and of any false contradiction.
        claims: The claims with their verdicts.
    """

    alpha: float
    claims: tuple[Claim, ...]


def judge_claims(path: Path, populations: Sequence[PopulationResults]) -> Claims:
    """Read a claims file and judge each claim by the populations that it names.

    Raises:
        InputError: The file is invalid, or a claim names an unknown population or parameter.
    """
    file = validate(_ClaimsFile, read_yaml(path, "claims"), path, "claims")
    by_name = {results.name: results for results in populations}
    drafts = [
        _best_in(entry, by_name, f"claims: {path}: claims.{i}")
        if isinstance(entry, _BestIn)
        else _difference(entry, by_name, f"claims: {path}: claims.{i}")
        for i, entry in enumerate(file.claims)
    ]
    tested = [draft for draft in drafts if draft.p is not None and draft.p_against is not None]
    support = iter(holm([draft.p or 0.0 for draft in tested]))
    against = iter(holm([draft.p_against or 0.0 for draft in tested]))
    judged = [
        draft if draft.p is None else _with_verdict(draft, next(support), next(against), file.alpha)
        for draft in drafts
    ]
    return Claims(file.alpha, tuple(judged))


def _difference(
    entry: _Better | _WithinMargin, by_name: dict[str, PopulationResults], where: str
) -> Claim:
    first = _population(by_name, entry.first, f"{where}.first")
    second = _population(by_name, entry.second, f"{where}.second")
    a, b = first.counted_errors, second.counted_errors
    if min(len(a), len(b)) < 2:
        raise InputError(f"{where}: needs two or more counted models of each population")
    result = compare_arrays(a, b)
    if isinstance(entry, _Better):
        # With a margin, the second must beat the first after subtracting it from the first.
        shifted = compare_arrays(a - entry.margin, b) if entry.margin else result
        half = shifted.p_mean / 2
        p, p_against = (half, 1 - half) if shifted.mean.value < 0 else (1 - half, half)
        test = "permutation test of means, one-sided" + (
            f", by {entry.margin:g} % or more" if entry.margin else ""
        )
    else:
        within = equivalent(a, b, entry.margin)
        if entry.kind == "equivalent":
            p, p_against = within.p, within.p_different
            test = f"two one-sided tests against ±{entry.margin:g} %"
        else:
            p, p_against = within.p_upper, 1 - within.p_upper
            test = f"one-sided test against +{entry.margin:g} %"
    return Claim(
        claim=entry.claim,
        test=f"{second.name} against {first.name}: {test}",
        verdict="undecided",
        estimate=result.mean.value,
        low=result.mean.low,
        high=result.mean.high,
        p=p,
        p_against=p_against,
        n=result.n,
    )


def _best_in(entry: _BestIn, by_name: dict[str, PopulationResults], where: str) -> Claim:
    if entry.high < entry.low:
        raise InputError(f"{where}: low is {entry.low:g}, above high, {entry.high:g}")
    results = _population(by_name, entry.population, f"{where}.population")
    columns = results.counted_parameters()
    if entry.parameter not in columns:
        raise InputError(
            f"{where}.parameter: {results.name} has no parameter {entry.parameter!r}; "
            f"{nearest(entry.parameter, list(columns))}"
        )
    interval = bootstrap_intervals(
        {entry.parameter: columns[entry.parameter]}, results.counted_errors
    )[entry.parameter]
    verdict: ClaimVerdict = "undecided"
    if entry.low <= interval.low and interval.high <= entry.high and not interval.few:
        verdict = "supported"
    elif interval.high < entry.low or interval.low > entry.high:
        verdict = "contradicted"
    return Claim(
        claim=entry.claim,
        test=f"{results.name}: interval of the best {entry.parameter} within {entry.low:g} to "
        f"{entry.high:g}",
        verdict=verdict,
        estimate=interval.median,
        low=interval.low,
        high=interval.high,
        p=None,
        p_against=None,
        n=(interval.n,),
    )


def _with_verdict(draft: Claim, p: float, p_against: float, alpha: float) -> Claim:
    verdict: ClaimVerdict = "undecided"
    if p < alpha:
        verdict = "supported"
    elif p_against < alpha:
        verdict = "contradicted"
    return replace(draft, verdict=verdict, p=p, p_against=p_against)


def _population(by_name: dict[str, PopulationResults], name: str, where: str) -> PopulationResults:
    if name not in by_name:
        raise InputError(f"{where}: no population {name!r}; {nearest(name, list(by_name))}")
    return by_name[name]
