"""Derivation by search: sample networks at the target's cost, keep the one predicted best.

The prediction is a ridge regression of error on what does not change with scale: log d, log w_m,
log b, log(w_a / w_0) and log(g / w_0), with their squares, learnt from all models of a study. Its
leave-one-out rank correlation says what it is worth.
"""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from designspace.analysis.study_findings import NAMES, StudyPopulation
from designspace.arch import Model, RegNetParamsBatch
from designspace.arch.body import FloatArray
from designspace.derive.derivation import SE_RATIOS, Family
from designspace.derive.target import NOUNS, Target
from designspace.errors import InputError
from designspace.io.files import read_text
from designspace.space import Budget, Space, load_space, sample

# Share of the target that a sampled model's cost may differ by, as the paper's single regimes.
TOLERANCE = 0.02
_LEAST = 12
_CANDIDATES = 1_000_000
_PENALTIES = np.geomspace(1e-2, 1e4, 25)


@dataclass(frozen=True, eq=False)
class Predictor:
    """Error from scale-free parameters.

    Attributes:
        center: Mean of each feature, (k,).
        spread: Its standard deviation, (k,).
        weights: Change of error (percent) by a spread of each feature, (k,).
        mean: Mean error.
        skill: Leave-one-out rank correlation of predicted and observed error.
        n: Models it was learnt from.
    """

    center: FloatArray
    spread: FloatArray
    weights: FloatArray
    mean: float
    skill: float
    n: int

    def __call__(self, regnets: RegNetParamsBatch) -> FloatArray:
        """Predict the error of each, (n,), in percent at the study's own scale."""
        z = (_features(regnets) - self.center) / self.spread
        return np.asarray(self.mean + z @ self.weights, dtype=np.float64)


def learn(regnets: RegNetParamsBatch, errors: FloatArray) -> Predictor:
    """Fit the ridge regression; the penalty has the least leave-one-out squared error.

    Raises:
        InputError: There are fewer than 12 models.
    """
    n = len(errors)
    if n < _LEAST:
        raise InputError(f"--search needs errors of at least {_LEAST} RegNets; there are {n}")
    features = _features(regnets)
    center, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-12, spread, 1.0)
    z, y = (features - center) / spread, errors - errors.mean()
    u, s, vt = np.linalg.svd(z, full_matrices=False)
    best: tuple[float, float, FloatArray] | None = None
    for penalty in _PENALTIES:
        shrink = s**2 / (s**2 + penalty)
        leverage = (u**2) @ shrink + 1 / n
        left_out = (y - u @ (shrink * (u.T @ y))) / np.maximum(1 - leverage, 1e-9)
        score = float((left_out**2).mean())
        if best is None or score < best[0]:
            best = (score, float(penalty), left_out)
    assert best is not None
    _, penalty, left_out = best
    weights = vt.T @ ((s / (s**2 + penalty)) * (u.T @ y))
    skill = _rank_correlation(y - left_out, y)
    return Predictor(center, spread, weights, float(errors.mean()), skill, n)


def search(
    found: StudyPopulation,
    family: Family,
    target: Target,
    n: int,
    seed: int,
    space: str | None = None,
) -> tuple[Model, list[str], list[str]]:
    """Sample n RegNets within 2 % of the target and return the one predicted best.

    Args:
        found: The study to learn from.
        family: With or without squeeze-and-excitation.
        target: The wished cost.
        n: Models to sample.
        seed: Seed of the sampler.
        space: Where to sample; None takes the study's own space.

    Returns:
        The network, what was done, and what to be warned of.

    Raises:
        InputError: The study has no RegNets, or the space no models at the target.
    """
    predictor = learn(*_study(found))
    searched = replace(_space(found, space), se_ratio=SE_RATIOS[family])
    if searched.family != "regnet":
        raise InputError(f"--search samples RegNets; {searched.name} is an {searched.family} space")
    low, high = target.value * (1 - TOLERANCE), target.value * (1 + TOLERANCE)
    try:
        drawn = sample(searched, n, (Budget(target.measure, low, high),), seed, _CANDIDATES)
    except InputError as error:
        told = str(error).partition(". Widen")[0]
        raise InputError(
            f"--search: {told}. Without --search the study's medians are scaled to the target; "
            "--space searches another space"
        ) from None
    population = drawn.population
    assert population.regnets is not None
    predicted = predictor(population.regnets)
    row = int(np.argmin(predicted))
    steps = [
        f"Learnt error from {predictor.n} models of {found.population}: ridge regression on d, "
        f"w_m, b, w_a / w_0 and g / w_0; leave-one-out rank correlation {predictor.skill:.2f}.",
        f"Sampled {n} networks of {searched.name} within 2 % of {target}, seed {seed}.",
        f"Predicted errors {predicted.min():.2f} to {predicted.max():.2f} (at the study's scale); "
        f"number {row} is least.",
    ]
    warnings = []
    if predictor.skill < 0.3:
        warnings.append(
            f"the prediction is weak (rank correlation {predictor.skill:.2f}): the choice is "
            "little better than any sampled network"
        )
    origin = (
        *found.origin(),
        ("searched", searched.name),
        ("search", f"best predicted of {n}, seed {seed}"),
        ("target", str(target)),
    )
    model = replace(population.model(row, f"searched-{population.ids[row]}"), provenance=origin)
    steps.append(f"It has {target.of(model):,} {NOUNS[target.measure]}.")
    return model, steps, warnings


def _space(found: StudyPopulation, wished: str | None) -> Space:
    if wished is not None:
        return load_space(wished)
    if found.run is not None:
        return load_space(str(found.run / "space.yaml"))
    return load_space(found.space)


def _study(found: StudyPopulation) -> tuple[RegNetParamsBatch, FloatArray]:
    """Read parameters and errors of a study's counted models from tables/models.csv."""
    path = found.folder / "tables" / "models.csv"
    rows = _rows(path, found.population)
    try:
        columns = {k: np.array([float(row[k]) for row in rows]) for k in (*NAMES, "error")}
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: {found.population} has no columns {', '.join(NAMES)} of numbers; --search "
            "learns from a population of RegNets"
        ) from None
    d, w_0, g = (columns[k].astype(np.int64) for k in ("d", "w_0", "g"))
    regnets = RegNetParamsBatch(d, w_0, columns["w_a"], columns["w_m"], columns["b"], g)
    return regnets, columns["error"]


def _rows(path: Path, population: str) -> list[dict[str, str]]:
    table = csv.DictReader(io.StringIO(read_text(path, "findings")))
    return [
        row
        for row in table
        if row.get("population") == population and row.get("counted") == "True" and row.get("error")
    ]


def _features(regnets: RegNetParamsBatch) -> FloatArray:
    linear = np.log(
        np.stack(
            [
                regnets.d,
                regnets.w_m,
                regnets.b,
                (regnets.w_a + 1) / regnets.w_0,
                regnets.g / regnets.w_0,
            ],
            axis=1,
        )
    )
    return np.concatenate([linear, linear**2], axis=1)


def _rank_correlation(a: FloatArray, b: FloatArray) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    first, second = (np.argsort(np.argsort(x, kind="stable"), kind="stable") for x in (a, b))
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))
