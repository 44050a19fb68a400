"""`designspace sample`: a population of distinct models within a budget."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import Json, MeasureMode, MeasurePrecision, MeasureTime, Threads
from designspace.errors import counted

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
    latency: Annotated[
        str | None, typer.Option(help="Measured latency of a step: 2ms:3ms or 3ms±10%.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Measured peak memory: 100MB:200MB or 200MB±10%.")
    ] = None,
    on: Annotated[
        str, typer.Option(help="Device to measure on: auto, cpu, cuda, cuda:N or mps.")
    ] = "auto",
    threads: Threads = None,
    batch: Annotated[int, typer.Option(help="Images per step, when measured.")] = 1,
    mode: MeasureMode = "inference",
    precision: MeasurePrecision = None,
    time_limit: MeasureTime = 2.0,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    max_candidates: Annotated[int, typer.Option(help="Stop after so many candidates.")] = 2_000_000,
    json_: Json = False,
) -> None:
    """Sample n distinct models of a space within a budget.

    Model i depends on space, budget and seed alone: the first 100 of -n 500 are those of -n 100, so
    the same command with a larger n extends a folder. With --latency or --memory it depends on the
    machine too: candidates are predicted by a model of about 30 measured ones, then measured, and
    those that miss are dropped.

    Examples:

      designspace sample AnyNetXA -n 500 --flops 360M:400M --seed 0 --out results/a

      designspace sample RegNetY@16 -n 100 --flops 1M±10% --out results/y16

      designspace sample RegNetX@32 -n 20 --latency 3ms±10% --on cpu --threads 1 --out results/fast
    """
    import json
    import sys

    import designspace as ds
    from designspace.api.measuring import predictions
    from designspace.space import SamplingStats

    run = ds.sample(
        space,
        n,
        flops=flops,
        params=params,
        acts=acts,
        latency=latency,
        memory=memory,
        on=on,
        threads=threads,
        batch=batch,
        mode=mode,
        precision=precision,
        time_limit=time_limit,
        seed=seed,
        max_candidates=max_candidates,
        out=out,
    )
    resolved = run.space()
    sampled = resolved["sample"]
    if json_:
        print(json.dumps({"space": resolved["name"], "out": str(out), **sampled}))
        return
    print(f"{resolved['name']}: {SamplingStats(sampled['tried'], n, sampled['refused'])}")
    for note in ds.load_space(space).notes:
        print(f"note: {note}")
    for text in predictions(sampled.get("measured")):
        print(text)
    print(f"{counted(n, 'model')} in {run.population_file}")
    if "measured" in sampled:
        for text in ds.Measurements(run.measurements()).warnings:
            print(f"warning: {text}", file=sys.stderr)
