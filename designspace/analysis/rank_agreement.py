"""Rank agreement: how far the errors of a short schedule can be trusted.

Do two trainings of the same models rank them alike, and how much of the variance between models is
due to the seed?
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from designspace.analysis.population_results import PopulationResults, numbered, same_seed
from designspace.errors import InputError, counted
from designspace.io.serialization import significant
from designspace.stats.arrays import FloatArray, check_probability
from designspace.stats.intervals import spearman_interval

# With fewer models common to two trainings, ranks are not compared.
MIN_RANKED = 5


@dataclass(frozen=True)
class Agreement:
    """How two trainings of the same models agree.

    Attributes:
        n: Models that have an error in both.
        spearman: Rank correlation of the errors.
        low: Lower end of its interval.
        high: Upper end.
        kendall: Kendall's tau-b of the errors.
        shift: Mean error of the second minus that of the first, percent.
        level: Level of the interval.
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
    """How much of the variance of errors lies between models, and how much between seeds.

    Attributes:
        models: Number of models.
        seeds: Trainings of each.
        model_sd: Standard deviation between models without the seeds' part, percent.
        seed_sd: Standard deviation between seeds of one model, percent.
        share: Fraction of the variance of a single error that lies between models (the intraclass
            correlation): 1 where seeds don't matter, 0 where nothing else does.
        low: Lower end of its interval.
        high: Upper end.
        level: Level of the interval.
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
    """Agreement of several trainings of the same models.

    Attributes:
        first: Name of the reference run.
        schedules: Name of each run with another recipe, other drawn settings or another skeleton,
            and how it agrees with the first.
        repeated: Names of the runs that differ from the first in their seed alone, and the first.
        seeds: Repeatability over those, or None where there is only one.
    """

    first: str
    schedules: tuple[tuple[str, Agreement], ...]
    repeated: tuple[str, ...]
    seeds: Repeatability | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        schedules = [{"run": name, **asdict(result)} for name, result in self.schedules]
        return {
            "first": self.first,
            "schedules": significant(schedules),
            "repeated": list(self.repeated),
            "seeds": significant(asdict(self.seeds)) if self.seeds else None,
        }


def rank_agreement(runs: Sequence[PopulationResults], level: float = 0.95) -> RankAgreement:
    """Compare runs of the same models with the first: schedules by rank, seeds by variance.

    Models are matched by content hash, and compared where both runs (or all repeated ones) have an
    error for them.

    Raises:
        InputError: Fewer than two runs are passed, they share too few models, or two runs of one
            recipe have the same seeds.
    """
    if len(runs) < 2:
        raise InputError("runs: rank agreement needs two or more runs of the same models", "runs")
    check_probability(level)
    first, *others = runs
    # On other images the errors differ by more than the seed.
    splits = first.provenance.splits
    same = [r for r in others if r.provenance.splits == splits and first.trained_like(r)]
    schedules = tuple(
        (run.name, agreement(_common_errors(first, run), level))
        for run in others
        if run not in same
    )
    repeated = (first, *same)
    # First: runs of other models may have equal seeds.
    errors = _common_errors(*repeated) if same else None
    for i, run in enumerate(repeated):
        for before in repeated[:i]:
            if run.provenance.seeds and same_seed(before, run):
                raise InputError(
                    f"{before.name} and {run.name} have the same seeds: they show no variance"
                )
    seeds = None
    if errors is not None:
        _check_differ(repeated, errors)
        seeds = repeatability(errors.T, level)
    return RankAgreement(first.name, schedules, tuple(run.name for run in repeated), seeds)


def _check_differ(runs: Sequence[PopulationResults], errors: FloatArray) -> None:
    """Raise InputError if two runs have the same errors, (runs, models), throughout."""
    for i, run in enumerate(runs):
        for before, values in zip(runs[:i], errors[:i], strict=True):
            if np.array_equal(values, errors[i]):
                raise InputError(
                    f"{before.name} and {run.name} have the same error for each model, as "
                    "trainings with the same seeds do: they show no variance"
                )


def _common_errors(*runs: PopulationResults) -> FloatArray:
    """Errors of the models that all runs have one for, (runs, models), in the first one's order."""
    keys = [numbered(run.ids) for run in runs]
    errors = [
        {ids[row]: run.errors[row] for row in run.rows} for run, ids in zip(runs, keys, strict=True)
    ]
    common = [key for key in errors[0] if all(key in other for other in errors)]
    if len(common) < 2:
        names = ", ".join(run.name for run in runs)
        models = counted(len(common), "model")
        raise InputError(f"{names} share {models}; are they of one population?")
    return np.array([[run[key] for key in common] for run in errors])


def agreement(errors: FloatArray, level: float = 0.95) -> Agreement:
    """Compare the errors of the same models under two schedules, or two seeds.

    Args:
        errors: Percent, (2, models).
        level: Level of the interval of Spearman's correlation.

    Raises:
        InputError: There are fewer than five models, or all errors are equal.
    """
    from scipy.stats import kendalltau, spearmanr

    a, b = errors
    if len(a) < MIN_RANKED:
        raise InputError(
            f"{counted(len(a), 'model is', 'models are')} common; a rank correlation "
            f"needs at least {MIN_RANKED}"
        )
    if a.min() == a.max() or b.min() == b.max():
        raise InputError("all errors of one training are equal: they rank nothing")
    spearman = spearman_interval(float(spearmanr(a, b).statistic), len(a), level)
    return Agreement(
        n=len(a),
        spearman=spearman.value,
        low=spearman.low,
        high=spearman.high,
        kendall=float(kendalltau(a, b).statistic),
        shift=float(b.mean() - a.mean()),
        level=level,
    )


def repeatability(errors: FloatArray, level: float = 0.95) -> Repeatability:
    """Divide the variance of errors between models and seeds: one-way random effects.

    With M the mean square between models and S that between seeds of one model, k seeds each, the
    share between models is (M - S) / (M + (k - 1) S); its interval follows from that of F = M / S
    (Shrout and Fleiss 1979, "Intraclass correlations", ICC(1, 1)). Negative values become 0.

    Args:
        errors: Percent, (models, seeds).
        level: Level of the interval.

    Raises:
        InputError: There are fewer than two models or seeds.
    """
    from scipy.stats import f as f_distribution

    if errors.ndim != 2 or min(errors.shape) < 2:
        raise InputError(f"errors: shape {errors.shape}; needs at least two models and two seeds")
    models, seeds = errors.shape
    means = errors.mean(axis=1)
    df = models - 1, models * (seeds - 1)
    between = seeds * float(means.var(ddof=1))
    within = float(((errors - means[:, None]) ** 2).sum()) / df[1]
    tail = (1 - level) / 2
    if within == 0:
        share = low = high = 1.0 if between > 0 else 0.0
    else:
        f = between / within
        lower = f / float(f_distribution.ppf(1 - tail, *df))
        upper = f / float(f_distribution.ppf(tail, *df))
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
