"""Gather models that a person names into one run folder."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from designspace import arch
from designspace.api.model import load_model
from designspace.api.run import Run
from designspace.errors import InputError, check_types
from designspace.runs.merge import copy_measurements


@check_types
def gather(models: "Sequence[arch.Model | str | Path]", out: str | Path) -> Run:
    """Write a run folder of models that you name, to train and compare them as a population.

    They must agree in block, input size, stem, head, classes, and strides as far as their stages
    go. Model i of the run is `models[i]`.

    Args:
        models: Models, or anything that `load_model` accepts.
        out: Run folder to write.

    Raises:
        InputError: A model can't be loaded, two are equal, or they do not go together.

    Example:
        >>> import designspace as ds
        >>> population = ds.sample("RegNetX@8", n=5, flops="180K:220K")
        >>> len(ds.gather([population[4], population[0]], out="results/gathered"))
        2
    """
    if isinstance(models, str | Path):
        raise InputError(f"models is {str(models)!r}; pass a list of models", "models")
    if not models:
        raise InputError("models is empty; name at least one", "models")
    loaded = [m if isinstance(m, arch.Model) else load_model(m) for m in models]
    population = arch.Population.of(loaded)
    content = ":".join([*population.ids, json.dumps(population.skeleton.to_dict())])
    space = {
        "name": "given",
        "reason": f"Models given by name: {', '.join(model.name for model in loaded)}.",
        "family": "anynet" if population.regnets is None else "regnet",
        "input": population.skeleton.to_dict(),
        "stages": sorted(set(population.bodies.stage_counts.tolist())),
        "sample": {
            "n": len(loaded),
            "budget": [],
            "seed": 0,
            "hash": hashlib.sha256(content.encode()).hexdigest()[:16],
        },
    }
    run = Run.create(out, space, population)
    copy_measurements(loaded, run)
    return run
