"""Sampling: a population in memory, or as a run folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from designspace import arch
from designspace.api.model import Model
from designspace.api.run import Run
from designspace.arch import BOTTLENECK
from designspace.arch.parameter_columns import parameters
from designspace.errors import InputError
from designspace.space import (
    Budget,
    Sample,
    SamplingStats,
    Space,
    load_space,
    sample_record,
)
from designspace.space import sample as sample_space
from designspace.space.recipe_axis import draw_recipes
from designspace.space.sampler import DEFAULT_MAX_CANDIDATES

if TYPE_CHECKING:
    import pandas as pd

SpaceLike = Space | str | Path | dict[str, Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Population(arch.Population):
    """n distinct models of a space within a budget, in sampled order.

    `population[i]` is model i, `len(population)` is n, and iteration yields the models.

    Attributes:
        space: The space they were sampled from.
        budgets: The ranges of cost that they lie in.
        seed: Seed of the sample.
        stats: How many candidates were tried, and why the others were rejected.
        skeleton: Input, stem, strides and classes of all models.
        bodies: Depths, widths, bottleneck ratios and group widths, arrays (n, stages).
        cost: flops, params and acts, arrays (n,).
        regnets: The RegNet parameters, arrays (n,), or None for an AnyNet space.

    Example:
        >>> import designspace as ds
        >>> population = ds.sample("RegNetY@32", n=4, flops="10M±10%")
        >>> len(population), population[0].params
        (4, 300614)
        >>> sum(p.numel() for p in population[0].build().parameters())
        300614
    """

    space: Space
    budgets: tuple[Budget, ...] = ()
    seed: int = 0
    stats: SamplingStats

    @overload
    def __getitem__(self, index: int) -> Model: ...

    @overload
    def __getitem__(self, index: slice) -> list[Model]: ...

    def __getitem__(self, index: int | slice) -> Model | list[Model]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"model {index} of a population of {len(self)}")
        i = index % len(self)
        return Model.of(self.model(i, f"{self.space.name.replace('@', '-')}-{i}"))

    def __iter__(self) -> Iterator[Model]:
        return (self[i] for i in range(len(self)))

    def to_frame(self) -> "pd.DataFrame":
        """Return a DataFrame with one row per model, indexed by its number.

        Columns: `id`; the parameters (`d1`, `w1`, … for an AnyNet, `d`, `w_0`, `w_a`, `w_m`, `b`,
        `g` for a RegNet); `flops` (multiply-adds), `params`, `acts`; and settings of the training
        that the space draws for each model, such as `lr`.
        """
        import pandas as pd

        columns = parameters(self.bodies, self.regnets)
        costs = {name: getattr(self.cost, name) for name in ("flops", "params", "acts")}
        index = pd.RangeIndex(len(self), name="index")
        draws = draw_recipes({**self.space.source, "sample": self.record()}, len(self))
        return pd.DataFrame({"id": list(self.ids), **columns, **costs, **draws}, index=index)

    def save(self, path: str | Path) -> Run:
        """Write the population to a new run folder, or extend the same population there.

        Raises:
            InputError: The folder holds another population, or more models of this one.
        """
        return Run.create(path, {**self.space.source, "sample": self.record()}, self)

    def record(self) -> dict[str, Any]:
        """Return how it was sampled as plain data, as in a run folder's space.yaml."""
        result = Sample(self, self.stats)
        record: dict[str, Any] = sample_record(self.space, result, self.budgets, self.seed)
        return record

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>" + self.to_frame().head(10).to_html(border=0)

    def __repr__(self) -> str:
        budgets = " and ".join(map(str, self.budgets)) or "no budget"
        return f"Population of {len(self)} models of {self.space.name}, {budgets}, seed {self.seed}"


@overload
def sample(
    space: SpaceLike,
    n: int = ...,
    *,
    flops: str | tuple[float, float] | None = ...,
    params: str | tuple[float, float] | None = ...,
    acts: str | tuple[float, float] | None = ...,
    seed: int = ...,
    max_candidates: int = ...,
    out: None = ...,
) -> Population: ...


@overload
def sample(
    space: SpaceLike,
    n: int = ...,
    *,
    flops: str | tuple[float, float] | None = ...,
    params: str | tuple[float, float] | None = ...,
    acts: str | tuple[float, float] | None = ...,
    seed: int = ...,
    max_candidates: int = ...,
    out: str | Path,
) -> Run: ...


def sample(
    space: SpaceLike,
    n: int = 500,
    *,
    flops: str | tuple[float, float] | None = None,
    params: str | tuple[float, float] | None = None,
    acts: str | tuple[float, float] | None = None,
    seed: int = 0,
    max_candidates: int = DEFAULT_MAX_CANDIDATES,
    out: str | Path | None = None,
) -> "Population | Run":
    """Sample n distinct models of a space within a budget.

    Model i depends on the space, the budget and the seed alone: the first 100 of n=500 are those of
    n=100, and a folder that already holds 100 is extended.

    Args:
        space: A space, the name of one (`"AnyNetXA@32"`), a YAML file, or a dict.
        n: Number of models.
        flops: Range of multiply-adds: `"360M:400M"`, `"400M±1%"`, or a pair of numbers.
        params: Range of parameters, likewise.
        acts: Range of activations, likewise.
        seed: Seed of the sample.
        max_candidates: Stop after so many candidates.
        out: Run folder to write; without it the population stays in memory.

    Returns:
        A `Population`, or the `Run` in `out`.

    Raises:
        InputError: The space or a budget is wrong, or too few candidates fit; the message has the
            nearest cost that was seen.

    Example:
        >>> import designspace as ds
        >>> population = ds.sample("AnyNetXA@8", n=3, flops="180K:220K", seed=1)
        >>> population.to_frame()["flops"].between(180_000, 220_000).all().item()
        True
    """
    resolved = space if isinstance(space, Space) else load_space(space)
    ranges: dict[str, str | tuple[float, float] | None] = {
        "flops": flops,
        "params": params,
        "acts": acts,
    }
    budgets = tuple(_budget(key, value) for key, value in ranges.items() if value is not None)
    result = sample_space(resolved, n, budgets, seed, max_candidates)
    models = result.population
    if resolved.block != BOTTLENECK:
        from designspace.networks.measure import check_cost

        check_cost(models)
    population = Population(
        skeleton=models.skeleton,
        bodies=models.bodies,
        cost=models.cost,
        regnets=models.regnets,
        space=resolved,
        budgets=budgets,
        seed=seed,
        stats=result.stats,
    )
    return population if out is None else population.save(out)


def _budget(measure: str, value: str | tuple[float, float]) -> Budget:
    if isinstance(value, str):
        return Budget.parse(measure, value)
    try:
        low, high = map(float, value)
    except (TypeError, ValueError):
        raise InputError(
            f"{measure} is {value!r}; give a range such as '360M:400M', or a pair of numbers",
            measure,
        ) from None
    return Budget.parse(measure, f"{low!r}:{high!r}")
