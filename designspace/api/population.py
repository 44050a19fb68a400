"""Sampling: a population in memory, or as a run folder."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from designspace import arch
from designspace.api.idle_options import refuse_idle
from designspace.api.model import Model
from designspace.api.run import Run
from designspace.arch import BOTTLENECK, format_quantity, parse_quantity
from designspace.arch.unit_suffix import missing_unit
from designspace.errors import InputError, check_index, check_types, counted
from designspace.runs.dataframe import models_frame
from designspace.runs.measurements import Measurement
from designspace.space import (
    Budget,
    Sample,
    SamplingStats,
    Space,
    load_space,
    sample_record,
)
from designspace.space import sample as sample_space
from designspace.space.budget import MEASURED
from designspace.space.recipe_axis import draw_recipes
from designspace.space.sampler import DEFAULT_MAX_CANDIDATES, TooFewModels, cost_range

if TYPE_CHECKING:
    import pandas as pd

# Examples of a range, for messages.
_RANGES = {"latency": "2ms:3ms", "memory": "100MB:200MB"}

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
        measured: Budgets of latency and memory, the setting, and the models that predict them.
        measurements: What was measured to sample within such a budget.
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
    measured: Mapping[str, Any] | None = None
    measurements: tuple[Measurement, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Model: ...

    @overload
    def __getitem__(self, index: slice) -> list[Model]: ...

    def __getitem__(self, index: int | slice) -> Model | list[Model]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = check_index(index, len(self), "a population")
        return Model.of(self.model(i, f"{self.space.name.replace('@', '-')}-{i}"))

    def __iter__(self) -> Iterator[Model]:
        return (self[i] for i in range(len(self)))

    def to_frame(self) -> "pd.DataFrame":
        """Return a DataFrame with one row per model, indexed by its number.

        Columns: `id`; the parameters (`d1`, `w1`, … for an AnyNet, `d`, `w_0`, `w_a`, `w_m`, `b`,
        `g` for a RegNet); `flops` (multiply-adds), `params`, `acts`; and settings of the training
        that the space draws for each model, such as `lr`.
        """
        draws = draw_recipes({**self.space.source, "sample": self.record()}, len(self))
        return models_frame(self, draws)

    def save(self, path: str | Path) -> Run:
        """Write the population to a new run folder, or extend the same population there.

        Returns:
            The run in that folder.

        Raises:
            InputError: The folder holds another population, or more models of this one.
        """
        run = Run.create(path, {**self.space.source, "sample": self.record()}, self)
        if self.measurements:
            with run.lock():
                run.append_measurements(self.measurements)
        return run

    def record(self) -> dict[str, Any]:
        """Return how it was sampled as plain data, as in a run folder's space.yaml."""
        result = Sample(self, self.stats)
        record: dict[str, Any] = sample_record(self.space, result, self.budgets, self.seed)
        if self.measured is None:
            return record
        return {**record, "hash": _hash(record["hash"], self.measured), "measured": self.measured}

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>" + self.to_frame().head(10).to_html(border=0)

    def __repr__(self) -> str:
        budgets = " and ".join(map(str, self.budgets)) or "no budget"
        return (
            f"Population of {counted(len(self), 'model')} of {self.space.name}, "
            f"{budgets}, seed {self.seed}"
        )


@overload
def sample(
    space: SpaceLike,
    n: int = ...,
    *,
    flops: str | tuple[float, float] | None = ...,
    params: str | tuple[float, float] | None = ...,
    acts: str | tuple[float, float] | None = ...,
    latency: str | tuple[float, float] | None = ...,
    memory: str | tuple[float, float] | None = ...,
    on: str = ...,
    threads: int | None = ...,
    batch: int = ...,
    mode: str = ...,
    precision: str | None = ...,
    time_limit: float = ...,
    seed: int = ...,
    max_candidates: int = ...,
    progress: bool = ...,
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
    latency: str | tuple[float, float] | None = ...,
    memory: str | tuple[float, float] | None = ...,
    on: str = ...,
    threads: int | None = ...,
    batch: int = ...,
    mode: str = ...,
    precision: str | None = ...,
    time_limit: float = ...,
    seed: int = ...,
    max_candidates: int = ...,
    progress: bool = ...,
    out: str | Path,
) -> Run: ...


@check_types
def sample(
    space: SpaceLike,
    n: int = 500,
    *,
    flops: str | tuple[float, float] | None = None,
    params: str | tuple[float, float] | None = None,
    acts: str | tuple[float, float] | None = None,
    latency: str | tuple[float, float] | None = None,
    memory: str | tuple[float, float] | None = None,
    on: str = "auto",
    threads: int | None = None,
    batch: int = 1,
    mode: str = "inference",
    precision: str | None = None,
    time_limit: float = 2.0,
    seed: int = 0,
    max_candidates: int = DEFAULT_MAX_CANDIDATES,
    progress: bool = True,
    out: str | Path | None = None,
) -> "Population | Run":
    """Sample n distinct models of a space within a budget.

    Model i depends on the space, the budget and the seed alone: the first 100 of n=500 are those of
    n=100, and a folder that already holds 100 is extended. Where the space draws settings of the
    training too, a network may come up again, with settings of its own.

    With a budget of latency or memory it depends on the machine as well. A model of costs, fitted
    to about 30 measured models, predicts which others fit; these are measured, and those that miss
    are dropped, so that every model was measured. The run folder has the measurements.

    Args:
        space: A space, the name of one (`"AnyNetXA@32"`), a YAML file, or a dict.
        n: Number of models.
        flops: Range of multiply-adds: `"360M:400M"`, `"400M±1%"`, or a pair of numbers.
        params: Range of parameters, likewise.
        acts: Range of activations, likewise.
        latency: Range of the latency of a step, such as `"3ms±10%"`, or a pair of seconds.
        memory: Range of peak memory, such as `"100MB:200MB"`, or a pair of bytes.
        on: Device that latency and memory are measured on: auto, cpu, cuda, cuda:N or mps. This and
            the other options of the measurement are refused without such a budget.
        threads: CPU threads of the measurement; by default one per core.
        batch: Images per step of the measurement.
        mode: inference or training, of the measurement.
        precision: Of the measurement, as of `measure`.
        time_limit: Seconds of timing per measured model.
        seed: Seed of the sample.
        max_candidates: Stop after so many candidates.
        progress: Show progress on a terminal or in a notebook: of a search that takes longer than
            a second, and, anywhere, of measuring.
        out: Run folder to write; without it the population stays in memory.

    Returns:
        A `Population`, or the `Run` in `out`.

    Raises:
        InputError: The space, a budget or an option is wrong, or too few candidates fit; the
            message has the nearest cost that was seen, and the range of the space's.

    Example:
        >>> import designspace as ds
        >>> population = ds.sample("AnyNetXA@8", n=3, flops="180K:220K", seed=1)
        >>> population.to_frame()["flops"].between(180_000, 220_000).all().item()
        True
    """
    resolved = space if isinstance(space, Space) else load_space(space)
    ranges = {"flops": flops, "params": params, "acts": acts}
    limits = {"latency": latency, "memory": memory}
    budgets, measured = (
        tuple(_budget(key, value, resolved) for key, value in wanted.items() if value is not None)
        for wanted in (ranges, limits)
    )
    measurements: tuple[Measurement, ...] = ()
    record = None
    if measured:
        from designspace.api.measuring import sample_within
        from designspace.measurement.measure_options import MeasureOptions

        options = MeasureOptions(on, threads, batch, precision, mode, False, time_limit)  # type: ignore[arg-type]
        options = replace(options, memory=memory is not None)
        within = sample_within(
            resolved, n, budgets, measured, options, seed, max_candidates, out, progress
        )
        result, measurements, record = within.sample, within.measurements, within.record
    else:
        refuse_idle(
            sample,
            "latency or memory",
            on=on,
            threads=threads,
            batch=batch,
            mode=mode,
            precision=precision,
            time_limit=time_limit,
        )
        from designspace.api.progress import search_progress

        try:
            with search_progress(progress) as show:
                result = sample_space(resolved, n, budgets, seed, max_candidates, show)
        except TooFewModels as error:
            widen = "Widen the budget, ask" if budgets else "Ask"
            raise InputError(
                f"{error}. {widen} for fewer models, or search longer with "
                f"max_candidates={10 * max_candidates}"
            ) from None
    models = result.population
    if resolved.block != BOTTLENECK:
        from designspace.networks.count_cost import check_cost

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
        measured=record,
        measurements=measurements,
    )
    return population if out is None else population.save(out)


def _budget(measure: str, value: str | tuple[float, float], space: Space) -> Budget:
    if isinstance(value, str | float | int) and measure not in MEASURED:
        _refuse_single_number(measure, value, space)
    if isinstance(value, str):
        return Budget.parse(measure, value)
    try:
        low, high = map(float, value)
    except (TypeError, ValueError):
        raise InputError(
            f"{measure} is {value!r}; give a range such as {_RANGES.get(measure, '360M:400M')!r}, "
            "or a pair of numbers",
            measure,
        ) from None
    if measure in MEASURED:
        if not 0 <= low <= high < math.inf:
            raise InputError(
                f"{measure} is {value!r}; of a pair, the first number must not be above the "
                "second, nor below 0, and both must be finite",
                measure,
            )
        return Budget(measure, low, high)
    return Budget.parse(measure, f"{low!r}:{high!r}")


def _refuse_single_number(measure: str, value: str | float, space: Space) -> None:
    """Raise if a budget is a number, not a range; the message guesses what was meant."""
    try:
        number = parse_quantity(value)
    except InputError:
        return
    message = f"{measure} is {value!r}; it must be a range, such as '360M:400M' or '400M±1%'"
    if reach := cost_range(space, measure):
        low, high = map(format_quantity, reach)
        message += f"; models of {space.name} have {low} to {high}"
        if unit := missing_unit(number, *reach):
            message += f": did you mean '{format_quantity(unit * number)}±1%'?"
    raise InputError(message, measure)


def _hash(without: str, measured: Mapping[str, Any]) -> str:
    """Return the hash of a population that depends on a measured budget and the setting."""
    identity = {key: measured[key] for key in ("budget", "setting")}
    text = f"{without}:{json.dumps(identity, sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
