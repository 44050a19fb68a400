"""`designspace gather`: a run folder of models given by name."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import Json
from designspace.errors import counted


def gather(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Published names, model.yaml files, or models of runs."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write, such as results/mine.")],
    json_: Json = False,
) -> None:
    """Write a run folder of given models, to train and compare them as a population.

    They must agree in block, input size, stem, head, classes, and strides as far as their stages
    go. Model i is the i-th that you name.

    Examples:

      designspace gather model.yaml results/a:best results/a:7 --out results/mine

      designspace train results/mine --data digits --recipe quick
    """
    import json

    import designspace as ds

    loaded = [ds.load_model(model) for model in models]
    run = ds.gather(loaded, out)
    names, ids = [model.name for model in loaded], [model.body.id for model in loaded]
    if json_:
        print(json.dumps({"out": str(out), "models": names, "ids": ids}))
        return
    for name, id_ in zip(names, ids, strict=True):
        print(f"{id_}  {name}")
    print(f"{counted(len(loaded), 'model')} in {run.population_file}")
