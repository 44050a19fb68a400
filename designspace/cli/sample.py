"""`designspace sample`: a population of distinct models within a budget."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import Json, Plugin, load_plugins

_BUDGET = "Range low:high or middle±percent, such as 360M:400M or 400M±1%."


def sample(
    space: Annotated[
        str, typer.Argument(help="A name, a .yaml file, or either with a setting: @16.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write, such as results/a.")],
    n: Annotated[int, typer.Option("-n", help="Number of distinct models.")] = 500,
    flops: Annotated[str | None, typer.Option(help=f"Multiply-adds. {_BUDGET}")] = None,
    params: Annotated[str | None, typer.Option(help=f"Parameters. {_BUDGET}")] = None,
    acts: Annotated[str | None, typer.Option(help=f"Activations. {_BUDGET}")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    max_candidates: Annotated[int, typer.Option(help="Stop after so many candidates.")] = 2_000_000,
    plugin: Plugin = None,
    json_: Json = False,
) -> None:
    """Sample n distinct models of a space within a budget.

    Model i depends on space, budget and seed alone: the first 100 of -n 500 are those of -n 100, so
    the same command with a larger n extends a folder.

    Examples:

      designspace sample AnyNetXA -n 500 --flops 360M:400M --seed 0 --out results/a

      designspace sample RegNetY@16 -n 100 --flops 1M±10% --out results/y16
    """
    import json

    import designspace as ds

    load_plugins(plugin)
    population = ds.sample(
        space,
        n,
        flops=flops,
        params=params,
        acts=acts,
        seed=seed,
        max_candidates=max_candidates,
    )
    run = population.save(out)
    if json_:
        print(
            json.dumps({"space": population.space.name, "out": str(out), **run.space()["sample"]})
        )
        return
    print(f"{population.space.name}: {population.stats}")
    print(f"{n} models in {run.population_file}")
