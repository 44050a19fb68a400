"""`designspace sample`: a population of distinct models within a budget."""

from pathlib import Path
from typing import Annotated

import typer

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
    seed: Annotated[int, typer.Option(help="Seed; with space and budget it decides all.")] = 0,
    max_candidates: Annotated[
        int, typer.Option(help="Give up after so many candidates.")
    ] = 2_000_000,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Sample n distinct models of a space within a budget, by rejection.

    Model i depends on space, budget and seed alone: the first 100 of -n 500 are those of -n 100, so
    the same command with a larger n extends a folder.

    Examples:

      designspace sample AnyNetXA -n 500 --flops 360M:400M --seed 0 --out results/a

      designspace sample RegNetY@16 -n 100 --flops 1M±10% --out results/y16
    """
    import json

    from designspace.runs import Run
    from designspace.space import MEASURES, Budget, load_space, sample_record
    from designspace.space import sample as draw

    texts = dict(zip(MEASURES, (flops, params, acts), strict=True))
    budgets = tuple(Budget.parse(key, text) for key, text in texts.items() if text is not None)
    found = load_space(space)
    result = draw(found, n, budgets, seed, max_candidates)
    record = sample_record(found, result, budgets, seed)
    folder = Run.create(out, {**found.source, "sample": record}, result.population)
    if json_:
        print(json.dumps({"space": found.name, "out": str(out), **record}))
        return
    print(f"{found.name}: {result.stats}")
    print(f"{n} models in {folder.population_file}")
