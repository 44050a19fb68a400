"""Sample models at the target cost and choose the one with the lowest predicted error.

The prediction is a ridge regression of error on log d, log w_m, log b, log(w_a / w_0) and
log(g / w_0), which do not change with scale, and their squares. It is fitted to all models of a
study; its rank correlation with the errors of models held out, in folds that choose the penalty
anew, shows how far to rely on it.
"""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from designspace.analysis.read_findings import NAMES, StudyPopulation
from designspace.arch import Model, RegNetParamsBatch, require_bottleneck
from designspace.arch.body import FloatArray
from designspace.derivation.cost_target import NOUNS, Target
from designspace.errors import InputError, counted
from designspace.io.text_files import read_text
from designspace.space import Budget, Space, load_space, sample

# Share of the target by which a sampled model's cost may differ, as in the paper's regimes.
TOLERANCE = 0.02
MIN_SEARCHED = 12
_CANDIDATES = 1_000_000
# Models in a held-out fold.
_FOLD = 8
_PENALTIES = np.geomspace(1e-2, 1e4, 25)


@dataclass(frozen=True, eq=False)
class Predictor:
    """Error predicted from scale-free parameters.

    Attributes:
        regression: Standardization and ridge regression, a fitted scikit-learn pipeline.
        skill: Rank correlation of predicted and observed error of held-out models, the mean of the
            folds of a nested cross-validation.
        n: Number of models it was fitted to.
    """

    regression: Any
    skill: float
    n: int

    def __call__(self, regnets: RegNetParamsBatch) -> FloatArray:
        """Predict errors in percent, (n,), at the study's own scale."""
        return np.asarray(self.regression.predict(_features(regnets)), dtype=np.float64)


def fit_predictor(regnets: RegNetParamsBatch, errors: FloatArray) -> Predictor:
    """Fit the ridge regression; leave-one-out squared error chooses the penalty.

    Raises:
        InputError: There are fewer than 12 models.
    """
    n = len(errors)
    if n < MIN_SEARCHED:
        raise InputError(
            f"search needs the errors of at least {MIN_SEARCHED} RegNets; there are {n}", "search"
        )
    features = _features(regnets)
    return Predictor(_ridge().fit(features, errors), _skill(features, errors), n)


def _ridge() -> Any:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))


def _skill(features: FloatArray, errors: FloatArray) -> float:
    """Mean rank correlation within held-out folds; across folds, means would anticorrelate."""
    from scipy.stats import spearmanr

    order = np.random.default_rng(0).permutation(len(errors))
    skills = []
    for held_out in np.array_split(order, max(2, len(errors) // _FOLD)):
        kept = np.setdiff1d(order, held_out)
        predicted = _ridge().fit(features[kept], errors[kept]).predict(features[held_out])
        varied = np.ptp(predicted) > 0 and np.ptp(errors[held_out]) > 0
        skills.append(float(spearmanr(predicted, errors[held_out]).statistic) if varied else 0.0)
    return float(np.mean(skills))


def search_model(
    findings: StudyPopulation,
    se_ratio: float | None,
    target: Target,
    n: int,
    seed: int,
    space: str | None = None,
) -> tuple[Model, list[str], list[str]]:
    """Sample n RegNets within 2 % of the target and return the one with the best prediction.

    Args:
        findings: The study that the predictor is fitted to.
        se_ratio: Squeeze-and-excitation ratio, 0 for none; None for the space's own.
        target: The target cost.
        n: Number of models to sample.
        seed: Seed of the sampler.
        space: Space to sample; None for the study's own.

    Returns:
        The model, the steps, and warnings.

    Raises:
        InputError: The study has no RegNets, or the space has other networks or too few models at
            the target.
    """
    predictor = fit_predictor(*_read_models(findings))
    searched = _space(findings, space)
    if se_ratio is not None:
        searched = replace(searched, se_ratio=se_ratio)
    if searched.family != "regnet":
        raise InputError(
            f"space is {searched.name}, an {searched.family} space; search samples RegNets", "space"
        )
    require_bottleneck(searched.block, f"search in space={searched.name!r}")
    low, high = target.value * (1 - TOLERANCE), target.value * (1 + TOLERANCE)
    try:
        drawn = sample(searched, n, (Budget(target.measure, low, high),), seed, _CANDIDATES)
    except InputError as error:
        raise InputError(
            f"search: {error}; without search, the study's medians are scaled to the target; "
            "space= searches another space"
        ) from None
    population = drawn.population
    assert population.regnets is not None
    predicted = predictor(population.regnets)
    row = int(np.argmin(predicted))
    origin = (
        *findings.origin(),
        ("searched", searched.name),
        ("search", f"best predicted of {n}, seed {seed}"),
        ("target", str(target)),
    )
    model = replace(population.model(row, f"searched-{population.ids[row]}"), provenance=origin)
    steps = [
        f"Fitted error to {predictor.n} models of {findings.population}: ridge regression on d, "
        f"w_m, b, w_a / w_0 and g / w_0; rank correlation {predictor.skill:.2f} where held out.",
        f"Sampled {counted(n, 'model')} of {searched.name} within 2 % of {target}, seed {seed}.",
        f"Predicted errors are {predicted.min():.2f} to {predicted.max():.2f} (at the study's "
        f"scale); model {row} has the lowest.",
        f"It has {target.of(model):,} {NOUNS[target.measure]}.",
    ]
    warnings = []
    if predictor.skill < 0.3:
        warnings.append(
            f"the prediction is weak (rank correlation {predictor.skill:.2f}): the model is hardly "
            "better than a random one"
        )
    return model, steps, warnings


def _space(findings: StudyPopulation, name: str | None) -> Space:
    if name is not None:
        return load_space(name)
    if findings.run is not None:
        return load_space(str(findings.run / "space.yaml"))
    return load_space(findings.space)


def _read_models(findings: StudyPopulation) -> tuple[RegNetParamsBatch, FloatArray]:
    """Return parameters and errors of a study's counted models, as in tables/models.csv."""
    from designspace.analysis.csv_tables import escape_formula, to_csv

    if isinstance(findings.findings, Path):
        path = findings.findings / "tables" / "models.csv"
        place, table = str(path), read_text(path, "findings")
    else:
        place, table = findings.place, to_csv(findings.findings.models_frame())
    name = escape_formula(findings.population)
    rows = [
        row
        for row in csv.DictReader(io.StringIO(table))
        if row.get("population") == name and row.get("counted") == "True" and row.get("error")
    ]
    try:
        columns = {k: np.array([float(row[k]) for row in rows]) for k in (*NAMES, "error")}
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{place}: {findings.population} has no numeric columns {', '.join(NAMES)}; search "
            "needs a population of RegNets"
        ) from None
    d, w_0, g = (columns[k].astype(np.int64) for k in ("d", "w_0", "g"))
    regnets = RegNetParamsBatch(d, w_0, columns["w_a"], columns["w_m"], columns["b"], g)
    return regnets, columns["error"]


def _features(regnets: RegNetParamsBatch) -> FloatArray:
    slope, group = (regnets.w_a + 1) / regnets.w_0, regnets.g / regnets.w_0
    linear = np.log(np.stack([regnets.d, regnets.w_m, regnets.b, slope, group], axis=1))
    return np.concatenate([linear, linear**2], axis=1)
