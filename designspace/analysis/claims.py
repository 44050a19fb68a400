"""Claims written down before the errors were seen, and the verdict of a study on each.

A claims file is YAML:

    alpha: 0.05
    claims:
      - claim: Sharing b costs nothing
        kind: equivalent          # or better, not_worse, best_in
        first: anynetxa           # names of runs; differences are second minus first
        second: anynetxb
        margin: 1.0               # percent of error
        paired: true              # the same bodies with one switch changed, model by model
      - claim: RegNets with b = 1 are better than the others
        kind: best_in             # lower mean error than outside, by a margin if any
        population: regnetx
        parameter: b
        low: 1
        high: 1
      - claim: Deeper RegNets are better
        kind: trend
        population: regnetx
        parameter: d
        error: falls              # or rises, as the parameter grows

`better` with a margin claims that the second is better by at least the margin. All claims of a file
share one correction (Holm). A verdict needs two tests, the one that it names and the bootstrap-t;
where one of them alone would give another, the claim is borderline.
`n` states how many models of each population are judged, in sampled order: with fewer the claim is
undecided, and later ones don't count. `power` is the probability, computed beforehand, of
supporting the claim where it is true.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from designspace.analysis.claim_tests import (
    ClaimTest,
    paired,
    parameter_group,
    parameter_trend,
    unpaired,
)
from designspace.analysis.compare_pairs import ClaimVerdict
from designspace.analysis.population_results import MISSING, PopulationResults
from designspace.errors import InputError, nearest
from designspace.io.validation import validate
from designspace.io.yaml_files import read_yaml
from designspace.stats.multiple_testing import holm

# YAML reads a folder named 2024 as a number.
_Name = Annotated[str, Field(coerce_numbers_to_str=True)]
# Strict: neither yes nor "1".
_Number = Annotated[float, Field(strict=True)]
# p-values of a claim and of its opposite.
_P = tuple[float, float]


class _Claim(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    claim: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
    n: Annotated[int, Field(strict=True, ge=2, le=10**7)] | None = None
    power: _Number | None = Field(default=None, gt=0, le=1)

    # The fields that name populations.
    _about: ClassVar[tuple[str, ...]] = ("population",)

    @property
    def populations(self) -> tuple[str, ...]:
        """The populations that it is about."""
        return tuple(getattr(self, field) for field in self._about)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the claim about the same populations under other names."""
        old = dict(zip(self._about, self.populations, strict=True))
        return self.model_copy(update={field: names[name] for field, name in old.items()})


class ComparisonClaim(_Claim):
    """A claim about the difference of the mean errors of two populations."""

    _about: ClassVar[tuple[str, ...]] = ("first", "second")

    kind: str
    first: _Name
    second: _Name
    margin: _Number = 0.0
    paired: bool = False

    @model_validator(mode="after")
    def _check(self) -> "ComparisonClaim":
        if self.first == self.second:
            raise ValueError(f"first and second are both {self.first}; they must differ")
        return self


class _Better(ComparisonClaim):
    kind: Literal["better"]
    margin: _Number = Field(default=0.0, ge=0, le=100)


class _WithinMargin(ComparisonClaim):
    kind: Literal["equivalent", "not_worse"]
    margin: _Number = Field(gt=0, le=100)


class _OfParameter(_Claim):
    population: _Name
    parameter: _Name


class _BestIn(_OfParameter):
    kind: Literal["best_in"]
    low: _Number
    high: _Number
    margin: _Number = Field(default=0.0, ge=0, le=100)

    @model_validator(mode="after")
    def _check(self) -> "_BestIn":
        if self.high < self.low:
            raise ValueError(f"low is {self.low:g}, above high, {self.high:g}")
        return self


class _Trend(_OfParameter):
    kind: Literal["trend"]
    error: Literal["falls", "rises"]


_AnyClaim = Annotated[_Better | _WithinMargin | _BestIn | _Trend, Field(discriminator="kind")]


class ClaimsFile(BaseModel):
    """The claims of a file, judged together.

    Attributes:
        alpha: Probability of any false support among them, and of any false contradiction.
        claims: The claims.
        untested: Further claims that were declared with them and can't be tested yet; the
            correction counts them too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: _Number = Field(default=0.05, gt=0, lt=1)
    claims: list[_AnyClaim] = Field(min_length=1)
    untested: Annotated[int, Field(strict=True, ge=0, le=10**6)] = 0


@dataclass(frozen=True)
class Claim:
    """One claim and its verdict.

    Attributes:
        claim: The claim in its author's words.
        test: The test in words.
        verdict: supported, contradicted or undecided.
        estimate: Difference of mean errors; of a trend the rank correlation; NaN where nothing
            could be tested.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: p-value of the claim, the larger of its two tests', with Holm's correction over all
            claims; None where it can't be tested.
        p_against: p-value of the opposite, corrected likewise.
        n: Models behind it: of the first and the second, or the number of pairs or models.
        p_bootstrap: As `p`, by the bootstrap-t alone.
        borderline: Whether the two tests alone would give different verdicts.
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
    p_bootstrap: float | None = None
    borderline: bool = False


@dataclass(frozen=True)
class Claims:
    """All claims of a file.

    Attributes:
        alpha: Probability of any false support among them, and of any false contradiction.
        claims: The claims with their verdicts.
        untested: Further claims that the correction counts.
    """

    alpha: float
    claims: tuple[Claim, ...]
    untested: int = 0


def read_claims(path: Path) -> ClaimsFile:
    """Read a claims file.

    Raises:
        InputError: The file is invalid.
    """
    return validate(ClaimsFile, read_yaml(path, "claims"), path, "claims")


def judge_claims(
    file: ClaimsFile, populations: Sequence[PopulationResults], path: Path | str
) -> Claims:
    """Judge each claim by the populations that it names.

    Args:
        file: The claims.
        populations: All populations of the report.
        path: What messages call the file.

    Raises:
        InputError: A claim names an unknown population or parameter.
    """
    by_name = {results.name: results for results in populations}
    tests = [
        _test(entry, by_name, f"claims: {path}: claims.{i}") for i, entry in enumerate(file.claims)
    ]
    tested = [test for test in tests if test.p is not None]
    named = [(test.p or 0.0, test.p_against) for test in tested]
    bootstrap = [(test.p_bootstrap, test.p_against_bootstrap) for test in tested]
    both = [
        (max(one[0], two[0]), max(one[1], two[1]))
        for one, two in zip(named, bootstrap, strict=True)
    ]
    more: list[_P] = [(1.0, 1.0)] * file.untested
    adjusted = iter(
        [*zip(*(_corrected(one + more) for one in (both, named, bootstrap)), strict=True)]
    )
    claims = [
        _judge(entry.claim, test, None if test.p is None else next(adjusted), file.alpha)
        for entry, test in zip(file.claims, tests, strict=True)
    ]
    claims = [
        replace(claim, verdict="undecided")
        if entry.n and _judged(entry, by_name) < entry.n
        else claim
        for claim, entry in zip(claims, file.claims, strict=True)
    ]
    return Claims(file.alpha, tuple(claims), file.untested)


def _test(entry: _AnyClaim, by_name: dict[str, PopulationResults], where: str) -> ClaimTest:
    if isinstance(entry, _BestIn | _Trend):
        results = _population(by_name, entry.population, f"{where}.population", entry.n)
        columns = results.counted_parameters()
        if entry.parameter not in columns:
            raise InputError(
                f"{where}.parameter: {results.name} has no parameter {entry.parameter!r}; "
                f"{nearest(entry.parameter, list(columns))}"
            )
        values, name = columns[entry.parameter], entry.parameter
        if isinstance(entry, _Trend):
            return parameter_trend(results, values, name, entry.error == "falls")
        return parameter_group(results, values, name, (entry.low, entry.high), entry.margin)
    first = _population(by_name, entry.first, f"{where}.first", entry.n)
    second = _population(by_name, entry.second, f"{where}.second", entry.n)
    compare = paired if entry.paired else unpaired
    test = compare(first, second, entry.margin, entry.kind, where)
    return replace(test, test=f"{second.name} against {first.name}: {test.test}")


def _corrected(tests: Sequence[_P]) -> list[_P]:
    """Correct p-values of claims, and those of their opposites, for their number."""
    of, against = zip(*tests, strict=True) if tests else ((), ())
    return list(zip(holm(of), holm(against), strict=True))


def _judge(claim: str, test: ClaimTest, p: tuple[_P, _P, _P] | None, alpha: float) -> Claim:
    """Judge a claim by its corrected p-values: of both tests, and of each alone."""
    verdicts: list[ClaimVerdict] = ["undecided"] * 3
    if p is not None:
        verdicts = [_verdict(*one, alpha) for one in p]
    return Claim(
        claim=claim,
        test=test.test,
        verdict=verdicts[0],
        estimate=test.estimate.value,
        low=test.estimate.low,
        high=test.estimate.high,
        p=p and p[0][0],
        p_against=p and p[0][1],
        n=test.n,
        p_bootstrap=p and p[2][0],
        borderline=verdicts[1] != verdicts[2],
    )


def _verdict(p: float, p_against: float, alpha: float) -> ClaimVerdict:
    if p < alpha:
        return "supported"
    return "contradicted" if p_against < alpha else "undecided"


def _judged(entry: _AnyClaim, by_name: dict[str, PopulationResults]) -> int:
    """Return how many models of each population have a trial so far."""
    return min(int((by_name[name].states != MISSING).sum()) for name in entry.populations)


def _population(
    by_name: dict[str, PopulationResults], name: str, where: str, first: int | None
) -> PopulationResults:
    if name not in by_name:
        raise InputError(f"{where}: no population {name!r}; {nearest(name, list(by_name))}")
    return by_name[name] if first is None else by_name[name].first(first)
