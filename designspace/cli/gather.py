"""`designspace gather`: a run folder of networks that a person names."""

from pathlib import Path
from typing import Annotated

import typer


def gather(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Published names, model.yaml files, or models of runs."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write, such as results/mine.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a run folder of given networks, to train and compare them as a population is.

    They must have one input size, stem and number of classes. Model i is the i-th that is named.

    Examples:

      designspace gather model.yaml results/a:best results/a:7 --out results/mine

      designspace train results/mine --data digits --recipe quick
    """
    import hashlib
    import json

    from designspace.arch import Population
    from designspace.cli.models import resolve_model
    from designspace.runs import Run

    found = [resolve_model(model) for model in models]
    population = Population.of(found)
    names = [model.name for model in found]
    content = ":".join([*population.ids, json.dumps(population.skeleton.to_dict())])
    space = {
        "name": "given",
        "reason": f"Networks that were named: {', '.join(names)}.",
        "family": "anynet" if population.regnets is None else "regnet",
        "input": population.skeleton.to_dict(),
        "sample": {
            "n": len(found),
            "budget": [],
            "seed": 0,
            "hash": hashlib.sha256(content.encode()).hexdigest()[:16],
        },
    }
    folder = Run.create(out, space, population)
    if json_:
        print(json.dumps({"out": str(out), "models": names, "ids": population.ids}))
        return
    for name, body in zip(names, population.iter_bodies(), strict=True):
        print(f"{body.id}  {name}")
    print(f"{len(found)} models in {folder.population_file}")
