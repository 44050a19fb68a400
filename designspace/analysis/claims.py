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
        low: 1                    # of the activation a name, the same for both, such as silu
        high: 1
      - claim: Deeper RegNets are better
        kind: trend
        population: regnetx
        parameter: d
        error: falls              # or rises, as the parameter grows

`better` with a margin claims that the second is better by at least the margin. All claims of a file
share one correction (Holm). A verdict needs two tests, the one that it names and the bootstrap-t;
where one of them alone would give another, the claim is borderline.
`n` states how many models of each population are judged, in sampled order up to the first without a
trial (or the first that have one, where all finished trials count): with fewer the claim is
undecided, and later ones don't count. `power` is the probability, computed beforehand, of
supporting the claim where it is true.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from designspace.analysis.claim_tests import (
    ClaimTest,
    Unit,
    not_judged,
    paired,
    parameter_group,
    parameter_trend,
    unpaired,
    untestable,
)
from designspace.analysis.compare_pairs import ClaimVerdict, signed
from designspace.analysis.population_results import MISSING, PopulationResults
from designspace.arch.parameter_columns import category_names
from designspace.errors import InputError, nearest
from designspace.io.validation import validate
from designspace.io.yaml_files import read_yaml
from designspace.stats.arrays import BoolArray
from designspace.stats.multiple_testing import holm

# YAML reads a folder named 2024 as a number.
_Name = Annotated[str, Field(coerce_numbers_to_str=True)]
# Strict: neither yes nor "1".
_Number = Annotated[float, Field(strict=True)]
# Of a parameter whose values are names, such as the activation.
_LevelName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
# p-values of a claim and of its opposite.
_P = tuple[float, float]


class _Claim(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    claim: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
    n: Annotated[int, Field(strict=True, ge=2, le=10**7)] | None = None
    power: _Number | None = Field(default=None, gt=0, le=1)

    # The fields that name populations.
    about: ClassVar[tuple[str, ...]] = ("population",)

    @property
    def populations(self) -> tuple[str, ...]:
        """The populations that it is about."""
        return tuple(getattr(self, field) for field in self.about)

    def stated(self) -> dict[str, Any]:
        """Return what it states besides its words: kind, populations, margin, n and the like."""
        return self.model_dump(exclude={"claim", "power"}, exclude_none=True)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the claim about the same populations under other names."""
        old = dict(zip(self.about, self.populations, strict=True))
        return self.model_copy(update={field: names[name] for field, name in old.items()})


class ComparisonClaim(_Claim):
    """A claim about the difference of the mean errors of two populations."""

    about: ClassVar[tuple[str, ...]] = ("first", "second")

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


class ParameterClaim(_Claim):
    """A claim about a parameter of one population."""

    kind: str
    population: _Name
    parameter: _Name


class _BestIn(ParameterClaim):
    kind: Literal["best_in"]
    low: _Number | _LevelName
    high: _Number | _LevelName
    margin: _Number = Field(default=0.0, ge=0, le=100)

    @model_validator(mode="after")
    def _check(self) -> "_BestIn":
        if isinstance(self.low, str) or isinstance(self.high, str):
            if self.low != self.high:
                raise ValueError(
                    f"low is {self.low} and high {self.high}; names have no order, so that both "
                    "must be the same name"
                )
        elif self.high < self.low:
            raise ValueError(f"low is {self.low:g}, above high, {self.high:g}")
        return self


class _Trend(ParameterClaim):
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
            claims; None where it can't be tested, or not yet.
        p_against: p-value of the opposite, corrected likewise.
        n: Models behind it: of the first and the second, or the number of pairs or models.
        p_bootstrap: As `p`, by the bootstrap-t alone.
        borderline: Whether the two tests alone would give different verdicts.
        unit: Of the estimate.
        stated: Kind, populations, margin, n and the like, as the claims file has them.
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
    unit: Unit = "points"
    stated: Mapping[str, Any] = field(default_factory=dict)

    @property
    def estimate_text(self) -> str:
        """The estimate with its interval and unit, or a dash where nothing could be tested."""
        if math.isnan(self.estimate):
            return "–"
        text = f"{signed(self.estimate)} ({signed(self.low)} to {signed(self.high)})"
        return f"{text} {self.unit}" if self.unit == "points" else f"{self.unit} {text}"


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
    file: ClaimsFile,
    populations: Sequence[PopulationResults],
    path: Path | str,
    pooled: Mapping[str, str] | None = None,
) -> Claims:
    """Judge each claim by the populations that it names.

    Args:
        file: The claims.
        populations: All populations of the report, those of which every trial failed included.
        path: What messages call the file.
        pooled: Name of the population that a run counts as, by the run's, where runs of several
            seeds are one population.

    Raises:
        InputError: A claim names an unknown population or parameter.
    """
    by_name = {results.name: results for results in populations}
    by_name |= {run: by_name[name] for run, name in (pooled or {}).items()}
    tests = [
        _test(entry, by_name, f"claims: {path}: claims[{i}]") for i, entry in enumerate(file.claims)
    ]
    # Claims that can't be tested, or not yet, count in the correction like those of `untested`.
    named = [(1.0 if test.p is None else test.p, test.p_against) for test in tests]
    bootstrap = [(test.p_bootstrap, test.p_against_bootstrap) for test in tests]
    both = [
        (max(one[0], two[0]), max(one[1], two[1]))
        for one, two in zip(named, bootstrap, strict=True)
    ]
    more: list[_P] = [(1.0, 1.0)] * file.untested
    adjusted = zip(*(_corrected(one + more) for one in (both, named, bootstrap)), strict=True)
    claims = [
        _judge(entry, test, p, file.alpha)
        for entry, test, p in zip(file.claims, tests, adjusted, strict=False)
    ]
    return Claims(file.alpha, tuple(claims), file.untested)


def _test(entry: _AnyClaim, by_name: dict[str, PopulationResults], where: str) -> ClaimTest:
    chosen = [
        _population(by_name, name, f"{where}.{field}")
        for field, name in zip(entry.about, entry.populations, strict=True)
    ]
    tried = [_tried(results) for results in chosen]
    if isinstance(entry, ComparisonClaim) and entry.paired:
        size = min(map(len, tried))
        both = np.logical_and(*(rows[:size] for rows in tried))
        tried = [np.pad(both, (0, len(rows) - size)) for rows in tried]
    judged = [np.isin(np.arange(len(rows)), np.flatnonzero(rows)[: entry.n]) for rows in tried]
    masked = [
        replace(results, counted=results.counted & rows)
        for results, rows in zip(chosen, judged, strict=True)
    ]
    test = _run_test(entry, masked, where)
    fewest = min(int(rows.sum()) for rows in judged)
    if entry.n is not None and fewest < entry.n:
        return not_judged(test, fewest, entry.n)
    return test


def _run_test(entry: _AnyClaim, chosen: Sequence[PopulationResults], where: str) -> ClaimTest:
    """Test a claim about the counted models of the populations that it names."""
    if isinstance(entry, _BestIn | _Trend):
        (results,) = chosen
        # Without a counted model, names of parameters are checked all the same.
        columns = results.counted_parameters() or results.parameters
        if entry.parameter not in columns:
            raise InputError(
                f"{where}.parameter: {results.name} has no parameter {entry.parameter!r}; "
                f"{nearest(entry.parameter, list(columns))}"
            )
        values, name = results.parameters[entry.parameter][results.counted], entry.parameter
        names = category_names(results.bodies).get(name, ())
        if isinstance(entry, _BestIn):
            codes = np.unique(results.parameters[name]) if names else ()
            bounds = _bounds(entry, {names[int(code)]: float(code) for code in codes}, where)
            level = entry.low if isinstance(entry.low, str) else ""
            return parameter_group(results, values, name, bounds, entry.margin, level)
        if names:
            raise InputError(
                f"{where}.kind: the values of {name} are names, which have no order, so that the "
                "error has no trend; claim that it is best_in one of them"
            )
        return parameter_trend(results, values, name, entry.error == "falls")
    first, second = chosen
    if first.name == second.name:
        seeds = f"{entry.first} and {entry.second} are seeds of the same models"
        return untestable("means", seeds, int(first.counted.sum()))
    compare = paired if entry.paired else unpaired
    test = compare(first, second, entry.margin, entry.kind, where)
    return replace(test, test=f"{second.name} against {first.name}: {test.test}")


def _bounds(entry: _BestIn, names: Mapping[str, float], where: str) -> tuple[float, float]:
    """Return the range that a claim is about.

    Args:
        entry: The claim.
        names: The numbers of its parameter by the name that each stands for, if they do.
        where: Its place, for messages.
    """
    low, high = entry.low, entry.high
    if not names and not isinstance(low, str) and not isinstance(high, str):
        return low, high
    about = f"{where}.low: {entry.population}'s {entry.parameter} is"
    if not names:
        raise InputError(f"{about} a number; found {low!r}")
    if low not in names:
        raise InputError(f"{about} {' or '.join(names)}; found {low!r}")
    return names[str(low)], names[str(low)]


def _corrected(tests: Sequence[_P]) -> list[_P]:
    """Correct p-values of claims, and those of their opposites, for their number."""
    of, against = zip(*tests, strict=True) if tests else ((), ())
    return list(zip(holm(of), holm(against), strict=True))


def _judge(entry: _AnyClaim, test: ClaimTest, p: tuple[_P, ...], alpha: float) -> Claim:
    """Judge a claim by its corrected p-values: of both tests, and of each alone."""
    verdicts = [_verdict(*one, alpha) for one in p]
    tested = test.p is not None
    return Claim(
        claim=entry.claim,
        test=test.test,
        verdict=verdicts[0],
        estimate=test.estimate.value,
        low=test.estimate.low,
        high=test.estimate.high,
        p=p[0][0] if tested else None,
        p_against=p[0][1] if tested else None,
        n=test.n,
        p_bootstrap=p[2][0] if tested else None,
        borderline=verdicts[1] != verdicts[2],
        unit=test.unit,
        stated=entry.stated(),
    )


def _verdict(p: float, p_against: float, alpha: float) -> ClaimVerdict:
    if p < alpha:
        return "supported"
    return "contradicted" if p_against < alpha else "undecided"


def _tried(results: PopulationResults) -> BoolArray:
    """Return which models have a trial, (n,), up to the first without unless all trials count."""
    tried = np.asarray(results.states != MISSING)
    end = len(tried) if tried.all() else int(tried.argmin())
    if not results.counted[end:].any():
        tried[end:] = False
    return tried


def _population(by_name: dict[str, PopulationResults], name: str, where: str) -> PopulationResults:
    if name not in by_name:
        raise InputError(f"{where}: no population {name!r}; {nearest(name, list(by_name))}")
    return by_name[name]
