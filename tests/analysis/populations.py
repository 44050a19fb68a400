"""Populations of made-up errors and parameters, without a run folder."""

import numpy as np

from designspace.analysis.population_results import PopulationResults, Provenance


def made_up(errors, name="a", parameters=None, costs=None, skeleton=None, **provenance):
    """A population with these errors and columns, without networks."""
    errors = np.asarray(errors, dtype=np.float64)
    n = len(errors)
    return PopulationResults(
        name=name,
        space="made-up",
        family="anynet",
        ids=tuple(map(str, range(n))),
        states=np.full(n, "complete", dtype="U8"),
        errors=errors,
        chance=90.0,
        parameters={k: np.asarray(v, float) for k, v in (parameters or {}).items()},
        costs={k: np.asarray(v, float) for k, v in (costs or {}).items()},
        bodies=None,
        regnets=None,
        counted=np.ones(n, dtype=bool),
        provenance=Provenance("", **provenance),
        skeleton=skeleton,
    )
