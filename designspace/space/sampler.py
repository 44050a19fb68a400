"""Sampling: n distinct models of a space within a budget, by vectorised rejection.

Candidate j is row j of one endless matrix of uniform numbers from a Philox stream keyed by
(seed, space). Model i is the i-th candidate that passes every rule, so a population depends on
space, budget and seed alone: not on n, block size, core count or interruption.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.arch import (
    BOTTLENECK,
    MEASURES,
    BodyBatch,
    Cost,
    Population,
    cost,
    find_block,
    format_quantity,
)
from designspace.arch.regnet import RegNetParamsBatch
from designspace.arch.unit_suffix import missing_unit
from designspace.errors import InputError, counted
from designspace.space.budget import Budget
from designspace.space.space import Space

MAX_MODELS = 10_000_000
DEFAULT_MAX_CANDIDATES = 2_000_000
_BLOCK = 8192
# Networks without a cost in closed form are built and counted one by one: no more than needed.
_BUILT = 32

# Receives the models accepted so far, those wanted, and the candidates tried.
SearchObserver = Callable[[int, int, int], None]


class TooFewModels(InputError):
    """The candidates of a search contain fewer models than it should return."""


@dataclass(frozen=True)
class SamplingStats:
    """Counts of candidates, up to the one that completed the population.

    Attributes:
        tried: Candidates drawn.
        accepted: Models in the population.
        refused: Candidates refused by each rule; a candidate counts for the first that does.
    """

    tried: int
    accepted: int
    refused: dict[str, int]

    def __str__(self) -> str:
        refused = ", ".join(f"{count:,} by {rule}" for rule, count in self.refused.items() if count)
        share = 100 * self.accepted / max(1, self.tried)
        return (
            f"{counted(self.tried, 'candidate')} tried, {self.accepted:,} accepted ({share:.3g}%); "
            f"refused: {refused or 'none'}"
        )


@dataclass(frozen=True, eq=False)
class Sample:
    """A population and the statistics of its sampling."""

    population: Population
    stats: SamplingStats


def sample(
    space: Space,
    n: int,
    budgets: tuple[Budget, ...] = (),
    seed: int = 0,
    max_candidates: int = DEFAULT_MAX_CANDIDATES,
    observer: SearchObserver | None = None,
) -> Sample:
    """Draw the first n distinct models of a space within its caps and all budgets.

    Raises:
        InputError: n, seed or `max_candidates` is out of range.
        TooFewModels: `max_candidates` do not suffice; the message has the number of models, the
            nearest costs, and the range of the candidates' costs.
    """
    search = _search(space, n, budgets, seed, max_candidates, observer)
    if search.accepted < n:
        raise TooFewModels(search.failure(n, max_candidates))
    return search.result()


def sample_prefix(
    space: Space,
    most: int,
    budgets: tuple[Budget, ...] = (),
    seed: int = 0,
    max_candidates: int = DEFAULT_MAX_CANDIDATES,
    observer: SearchObserver | None = None,
) -> Sample:
    """Draw the first models as `sample` does, fewer than `most` if the candidates do not suffice.

    Raises:
        InputError: An argument is out of range.
        TooFewModels: No model fits.
    """
    search = _search(space, most, budgets, seed, max_candidates, observer)
    if not search.accepted:
        raise TooFewModels(search.failure(most, max_candidates))
    return search.result()


def cost_range(space: Space, measure: str) -> tuple[int, int] | None:
    """Return the lowest and the highest cost of a few thousand models of a space, if any is valid.

    Args:
        space: The space.
        measure: flops, params or acts.
    """
    return _search(space, 1, (), 0, _block_size(space)).ranges.get(measure)


def _search(
    space: Space,
    n: int,
    budgets: tuple[Budget, ...],
    seed: int,
    max_candidates: int,
    observer: SearchObserver | None = None,
) -> "_Search":
    """Search until there are n models, or no candidates are left."""
    if not 1 <= n <= MAX_MODELS:
        raise InputError(f"n is {n}; it must be 1 to {MAX_MODELS:,}", "n")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed}; it must be a whole number from 0 to 2^63 - 1", "seed")
    if max_candidates < 1:
        raise InputError(
            f"max_candidates is {max_candidates}; it must be at least 1", "max_candidates"
        )
    search = _Search(space, budgets)
    stream = np.random.Generator(
        np.random.Philox(np.random.SeedSequence([seed, int(space.hash, 16)]))
    )
    size = _block_size(space)
    while search.accepted < n:
        left = max_candidates - search.tried
        if left <= 0:
            break
        search.add(stream.random((min(size, left), space.columns)), n)
        if observer is not None:
            observer(search.accepted, n, search.tried)
    return search


def _block_size(space: Space) -> int:
    """Return how many candidates are drawn at once."""
    built = space.block != BOTTLENECK and find_block(space.block).cost is None
    return _BUILT if built else _BLOCK


def sample_record(space: Space, result: Sample, budgets: tuple[Budget, ...], seed: int) -> Any:
    """Return the `sample` map of a run folder's space.yaml."""
    budget = [budget.to_dict() for budget in budgets]
    identity = f"{space.hash}:{budget}:{seed}"
    if space.recipe:  # the bodies stay those of the space without it
        identity += f":{json.dumps(space.recipe, sort_keys=True)}"
    return {
        "n": len(result.population),
        "budget": budget,
        "seed": seed,
        "hash": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "tried": result.stats.tried,
        "refused": dict(result.stats.refused),
    }


class _Search:
    """The state of one search: accepted models, and counts of why others were refused."""

    def __init__(self, space: Space, budgets: tuple[Budget, ...]) -> None:
        self.space = space
        self.budgets = budgets
        self.tried = 0
        self.accepted = 0
        self.body_rules = space.body_rules
        self.rules = [
            "number of stages",
            *self.body_rules,
            *(f"cap on {cap.measure}" for cap in space.caps),
            *(f"budget on {budget.measure}" for budget in budgets),
            "duplicate",
        ]
        self.refused = dict.fromkeys(self.rules, 0)
        self.seen: set[bytes] = set()
        self.bodies: list[BodyBatch] = []
        self.regnets: list[RegNetParamsBatch] = []
        self.costs: list[Cost] = []
        self.nearest: dict[str, int] = {}
        self.ranges: dict[str, tuple[int, int]] = {}

    def add(self, uniforms: NDArray[np.float64], n: int) -> None:
        """Add the candidates that pass every rule, stopping at the one that completes n."""
        candidates = self.space.draw(uniforms)
        counted = cost(candidates.bodies, self.space.skeleton)
        rows = np.nonzero(candidates.fits)[0]
        # Index of the first rule that refuses each candidate; len(rules) for none.
        verdict = np.zeros(len(uniforms), dtype=np.int64)
        passing = np.full(len(rows), len(self.rules), dtype=np.int64)
        checks = [
            keeps(candidates.bodies, candidates.regnets) for keeps in self.body_rules.values()
        ]
        checks += [cap.holds(counted) for cap in self.space.caps]
        checks += [budget.holds(counted) for budget in self.budgets]
        for number in range(len(checks), 0, -1):
            passing[~checks[number - 1]] = number
        within = np.nonzero(passing == len(self.rules))[0]
        for i, key in zip(within.tolist(), _keys(candidates.bodies, within), strict=True):
            # Equal bodies with settings of their own are different models.
            if key in self.seen and not self.space.recipe:
                passing[i] = len(self.rules) - 1
                continue
            self.seen.add(key)
            self.accepted += 1
            if self.accepted == n:
                break
        verdict[rows] = passing
        end = len(uniforms) if self.accepted < n else int(rows[i]) + 1
        counts = np.bincount(verdict[:end], minlength=len(self.rules) + 1)
        for rule, count in zip(self.rules, counts, strict=False):
            self.refused[rule] += int(count)
        self.tried += end
        self._keep(candidates.bodies, candidates.regnets, counted, rows < end, passing)

    def _keep(
        self,
        bodies: BodyBatch,
        regnets: RegNetParamsBatch | None,
        counted: Cost,
        reached: NDArray[np.bool_],
        passing: NDArray[np.int64],
    ) -> None:
        keep = np.nonzero(reached & (passing == len(self.rules)))[0]
        self.bodies.append(bodies.take(keep))
        self.costs.append(counted.take(keep))
        if regnets is not None:
            self.regnets.append(regnets.take(keep))
        own = np.nonzero(passing >= len(self.rules) - 1 - len(self.budgets))[0]
        for measure in MEASURES if len(own) else ():
            values = getattr(counted, measure)[own]
            low, high = self.ranges.get(measure, (values[0], values[0]))
            self.ranges[measure] = (min(low, int(values.min())), max(high, int(values.max())))
        for budget in self.budgets:
            value = budget.nearest(counted)
            before = self.nearest.get(budget.measure)
            if value is not None and (before is None or _nearer(budget, value, before)):
                self.nearest[budget.measure] = value

    def result(self) -> Sample:
        """Return the accepted models."""
        population = Population(
            skeleton=self.space.skeleton,
            bodies=BodyBatch.concatenate(self.bodies),
            cost=Cost.concatenate(self.costs),
            regnets=RegNetParamsBatch.concatenate(self.regnets) if self.regnets else None,
        )
        return Sample(population, SamplingStats(self.tried, self.accepted, self.refused))

    def failure(self, n: int, max_candidates: int) -> str:
        """Explain why the search gave up, with the nearest costs."""
        budgets = " and ".join(str(budget) for budget in self.budgets) or "no budget"
        near = ", ".join(f"{k} {format_quantity(v)} ({v:,})" for k, v in self.nearest.items())
        stats = SamplingStats(self.tried, self.accepted, self.refused)
        return (
            f"{self.space.name} with {budgets}: only {self.accepted:,} of {n:,} distinct models "
            f"found in {counted(max_candidates, 'candidate')}"
            + (f"; nearest seen: {near}" if near else "")
            + "".join(f"; {self._reach(b)}" for b in self.budgets if b.measure in self.ranges)
            + f"; {stats}"
        )

    def _reach(self, budget: Budget) -> str:
        """Say which costs the space has, and which budget was meant if its unit is missing."""
        low, high = self.ranges[budget.measure]
        text = f"its models have {budget.measure} {format_quantity(low)} to {format_quantity(high)}"
        unit = missing_unit((budget.low + budget.high) / 2, low, high)
        if budget.high >= low or unit is None:
            return text
        meant = ":".join(format_quantity(unit * end) for end in (budget.low, budget.high))
        return f"{text}: did you mean {budget.measure}={meant!r}?"


def _keys(bodies: BodyBatch, rows: NDArray[np.int64]) -> list[bytes]:
    """Return a key of each of these bodies, equal for equal bodies; float64 holds every width."""
    parts = (bodies.depths, bodies.widths, bodies.bottleneck_ratios, bodies.group_widths)
    columns = [array[rows] for array in (*parts, *bodies.extras.values())]
    if bodies.activations is not None:
        columns.append(bodies.activations[rows, None])
    table = np.hstack(columns)
    return [row.tobytes() for row in table]


def _nearer(budget: Budget, value: int, before: int) -> bool:
    def away(cost: int) -> float:
        return max(budget.low - cost, cost - budget.high, 0.0)

    return away(value) < away(before)
