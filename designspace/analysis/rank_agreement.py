"""How far errors can be trusted: do two trainings of the same models rank them alike, and how much
of the spread between models is chance of the seed?
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from designspace.analysis.population_results import PopulationResults
from designspace.errors import InputError
from designspace.stats.arrays import Numbers, as_float_array, check_probability

# Nearest to 1 that a correlation is taken for, so that it has an interval.
_ALMOST = 1 - 1e-12


@dataclass(frozen=True)
class Agreement:
    """How two trainings of the same models agree.

    Attributes:
        n: Models that both have an error for.
        spearman: Rank correlation of the errors.
        low: Lower end of its interval.
        high: Upper end.
        kendall: Share of pairs of models that both order alike, minus the share that they don't.
        shift: Mean error of the second minus that of the first, percent.
        level: Of the interval.
    """

    n: int
    spearman: float
    low: float
    high: float
    kendall: float
    shift: float
    level: float


@dataclass(frozen=True)
class Repeatability:
    """How much of the spread of errors lies between models, and how much between seeds of one.

    Attributes:
        models: Number of models.
        seeds: Trainings of each.
        model_sd: Standard deviation between models with the seeds' part taken off, percent.
        seed_sd: Standard deviation between seeds of one model, percent.
        share: Share of the variance of a single error that lies between models (the intraclass
            correlation): 1 where seeds don't matter, 0 where nothing else does.
        low: Lower end of its interval.
        high: Upper end.
        level: Of the interval.
    """

    models: int
    seeds: int
    model_sd: float
    seed_sd: float
    share: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class RankAgreement:
    """What trainings of the same models say of each other.

    Attributes:
        first: Name of the run that the others are held against.
        schedules: Of each run with another recipe: its name, and how it agrees with the first.
        repeated: Names of the runs that share the first one's recipe, itself included.
        seeds: What those say of chance, or None where there is but one.
    """

    first: str
    schedules: tuple[tuple[str, Agreement], ...]
    repeated: tuple[str, ...]
    seeds: Repeatability | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as `agree --json` prints it."""
        return {
            "first": self.first,
            "schedules": [{"run": name, **asdict(found)} for name, found in self.schedules],
            "repeated": list(self.repeated),
            "seeds": asdict(self.seeds) if self.seeds else None,
        }


def rank_agreement(runs: Sequence[PopulationResults], level: float = 0.95) -> RankAgreement:
    """Hold runs of the same models against the first: schedules by rank, seeds by spread.

    Models are known by their content hash, and compared where both runs, or all repeated ones, have
    an error for them.

    Raises:
        InputError: Too few models are common, or two runs of one recipe have the same seeds.
    """
    first, *others = runs
    same = [run for run in others if run.provenance.recipe == first.provenance.recipe]
    schedules = []
    for run in others:
        if all(run is not other for other in same):
            a, b = _common(first, run)
            schedules.append((run.name, agreement(a, b, level)))
    repeated = (first, *same)
    seeds_of = [run.provenance.seeds for run in repeated]
    for i, run in enumerate(repeated):
        if seeds_of[i] and seeds_of[i] in seeds_of[:i]:
            before = repeated[seeds_of.index(seeds_of[i])].name
            raise InputError(f"{before} and {run.name} have the same seeds: they show no chance")
    seeds = repeatability(_common(*repeated).T, level) if same else None
    return RankAgreement(first.name, tuple(schedules), tuple(run.name for run in repeated), seeds)


def _common(*runs: PopulationResults) -> NDArray[np.float64]:
    """Errors of the models that all runs have one for, (runs, models), in the first one's order."""
    known = [{run.ids[row]: run.errors[row] for row in run.rows} for run in runs]
    ids = [name for name in known[0] if all(name in errors for errors in known)]
    if len(ids) < 2:
        names = ", ".join(run.name for run in runs)
        raise InputError(
            f"{names}: {len(ids)} models are common to all; are they of one population?"
        )
    return np.array([[errors[name] for name in ids] for errors in known])


def agreement(first: Numbers, second: Numbers, level: float = 0.95) -> Agreement:
    """Compare the errors of the same models under two schedules, or two seeds.

    The interval of Spearman's coefficient r is that of Bonett and Wright (2000, "Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations", eq. 4):
    tanh(atanh(r) -+ z * sqrt((1 + r^2 / 2) / (n - 3))).

    Args:
        first: Errors, percent, (n,).
        second: Errors of the same models in the same order, percent, (n,).
        level: Of the interval.

    Raises:
        InputError: The lengths differ, fewer than five models are there, or all errors are equal.
    """
    a, b = as_float_array(first, "first", 5), as_float_array(second, "second", 5)
    if len(a) != len(b):
        raise InputError(f"first has {len(a)} errors, second {len(b)}: give both for each model")
    if a.min() == a.max() or b.min() == b.max():
        raise InputError("all errors of one training are equal: they rank nothing")
    r = float(stats.spearmanr(a, b).statistic)
    z = float(stats.norm.ppf(0.5 + check_probability(level) / 2))
    half = z * math.sqrt((1 + r**2 / 2) / (len(a) - 3))
    centre = math.atanh(min(max(r, -_ALMOST), _ALMOST))
    return Agreement(
        n=len(a),
        spearman=r,
        low=math.tanh(centre - half),
        high=math.tanh(centre + half),
        kendall=float(stats.kendalltau(a, b).statistic),
        shift=float(b.mean() - a.mean()),
        level=level,
    )


def repeatability(errors: NDArray[np.float64], level: float = 0.95) -> Repeatability:
    """Part the spread of errors into models and seeds: one-way random effects.

    With M the mean square between models and S that between seeds of one model, k seeds each, the
    share between models is (M - S) / (M + (k - 1) S); its interval follows from that of F = M / S
    (Shrout and Fleiss 1979, "Intraclass correlations", ICC(1, 1)). What is below 0 is
    given as 0.

    Args:
        errors: Percent, (models, seeds).
        level: Of the interval.

    Raises:
        InputError: It has fewer than two models or seeds, or holds a value that is not finite.
    """
    if errors.ndim != 2 or min(errors.shape) < 2:
        raise InputError(f"errors: shape {errors.shape}; two models and two seeds are the least")
    as_float_array(errors.ravel(), "errors")
    models, seeds = errors.shape
    means = errors.mean(axis=1)
    freedoms = models - 1, models * (seeds - 1)
    between = seeds * float(means.var(ddof=1))
    within = float(((errors - means[:, None]) ** 2).sum()) / freedoms[1]
    tail = (1 - check_probability(level)) / 2
    if within == 0:
        share = low = high = 1.0 if between > 0 else 0.0
    else:
        f = between / within
        lower = f / float(stats.f.ppf(1 - tail, *freedoms))
        upper = f / float(stats.f.ppf(tail, *freedoms))
        share, low, high = (max(0.0, (x - 1) / (x + seeds - 1)) for x in (f, lower, upper))
    return Repeatability(
        models=models,
        seeds=seeds,
        model_sd=math.sqrt(max(0.0, (between - within) / seeds)),
        seed_sd=math.sqrt(within),
        share=share,
        low=low,
        high=high,
        level=level,
    )
