"""Populations trained with several seeds: one population, whose errors are means over seeds.

Seeds are nested in models. Two trainings of a model are no two models, so the model is the unit of
every interval and test; further seeds only make its error more certain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from designspace.analysis.population_results import MISSING, PopulationResults, same_seed
from designspace.analysis.rank_agreement import Repeatability, repeatability
from designspace.analysis.trial_accounting import counted_models
from designspace.stats.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Seeds:
    """The runs behind a population that was trained with several seeds.

    Attributes:
        names: Names of the runs, the first of which names the population.
        errors: Error of each model in each run, NaN where there is none, (n, runs).
        repeatability: Variance between models and between seeds, over the models that have an error
            in every run, or None where fewer than two have.
        seeds: Seed of each run's training, or none where one of them is unknown.
    """

    names: tuple[str, ...]
    errors: FloatArray
    repeatability: Repeatability | None
    seeds: tuple[int, ...] = ()

    @property
    def sentence(self) -> str:
        """Which runs the population is the mean over."""
        seeds = f" (seeds {', '.join(map(str, self.seeds))})" if self.seeds else ""
        runs = f"{', '.join(self.names[:-1])} and {self.names[-1]}"
        return f"{self.names[0]} is the mean over {runs}{seeds}"


def pool_seeds(
    populations: Sequence[PopulationResults],
) -> tuple[tuple[PopulationResults, Seeds | None], ...]:
    """Merge runs of the same networks, settings, images and split that differ in their seeds.

    The merged population keeps the name and the place of the first. Failed and missing models count
    as such only where no seed has an error.
    """
    groups: list[list[PopulationResults]] = []
    for results in populations:
        for group in groups:
            if all(_same_but_for_seeds(results, other) for other in group):
                group.append(results)
                break
        else:
            groups.append([results])
    return tuple(_merge(group) for group in groups)


def _same_but_for_seeds(first: PopulationResults, second: PopulationResults) -> bool:
    one, two = first.provenance, second.provenance
    return bool(
        first.ids == second.ids
        and one.recipe
        and first.trained_like(second)
        and one.splits == two.splits
        and one.seeds
        and two.seeds
        and not same_seed(first, second)
    )


def _merge(group: Sequence[PopulationResults]) -> tuple[PopulationResults, Seeds | None]:
    first, *others = group
    if not others:
        return first, None
    errors = np.stack([results.errors for results in group], axis=1)
    finite = np.isfinite(errors)
    count = finite.sum(axis=1)
    with np.errstate(invalid="ignore"):
        means = np.where(finite, errors, 0.0).sum(axis=1) / count
    states = first.states.copy()
    for results in others:
        better = (states == MISSING) | (~np.isfinite(first.errors) & np.isfinite(results.errors))
        states[better] = results.states[better]
    set_aside = any((np.isfinite(r.errors) & ~r.counted).any() for r in group)
    complete = errors[finite.all(axis=1)]
    variances = repeatability(complete) if len(complete) > 1 else None
    recorded = tuple(r.provenance.seed for r in group if r.provenance.seed is not None)
    seeds = recorded if len(recorded) == len(group) else ()
    merged = Seeds(tuple(results.name for results in group), errors, variances, seeds)
    every = [seed for results in group for seed in results.provenance.seeds]
    provenance = replace(
        first.provenance,
        seeds=(min(every), max(every)),
        seconds=sum(results.provenance.seconds for results in group),
        notes=(*first.provenance.notes, f"{merged.sentence}."),
    )
    pooled = replace(
        first,
        errors=means,
        states=states,
        counted=counted_models(states, means, all_finished=not set_aside),
        correct={},
        provenance=provenance,
    )
    return pooled, merged
