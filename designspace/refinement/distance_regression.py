"""Estimate the effect of a constraint that hardly any model satisfies, from the nearly satisfying.

Among n models with a separate b for each stage, hardly one has equal b. But some are nearer to it
than others, and a linear regression of error on the distance extrapolates to distance 0.
"""

import math
from dataclasses import dataclass

import numpy as np

from designspace.stats.arrays import FloatArray
from designspace.stats.intervals import Estimate

# Share of a distance's variation that rounding leaves, where covariates explain all of it.
_COLLINEAR = 1e-9


@dataclass(frozen=True)
class DistanceRegression:
    """The error predicted at distance 0, compared with that at a typical distance.

    Attributes:
        difference: Predicted error at distance 0 minus that at the mean distance of the models
            with a positive distance; percent, with its 95 % interval.
        p: Two-sided p-value of zero slope.
        p_upper: p-value against "the error at distance 0 is higher by the margin or more".
    """

    difference: Estimate
    p: float
    p_upper: float


def regress_on_distance(
    distance: FloatArray, errors: FloatArray, margin: float, covariates: FloatArray | None = None
) -> DistanceRegression | None:
    """Fit by least squares and test by t with heteroscedasticity-consistent errors (HC3).

    None where the covariates explain the whole distance, up to rounding.

    Args:
        distance: Distance of each model from the constraint, (n,), at least 0, not all equal.
        errors: Their errors in percent, (n,).
        margin: Percent of error.
        covariates: Other regressors, (n,) or (n, k), or None.
    """
    from scipy.stats import t

    ones = np.ones(len(errors))
    others = np.column_stack([ones] if covariates is None else [ones, covariates])
    basis = np.linalg.qr(others)[0]
    x, y = (values - basis @ (basis.T @ values) for values in (distance, errors))
    square, deviations = float(x @ x), distance - distance.mean()
    if square <= _COLLINEAR * float(deviations @ deviations):
        return None
    tiny = float(np.finfo(np.float64).tiny)
    slope = float(x @ y) / square
    leverage = (basis**2).sum(axis=1) + x**2 / square
    # HC3 (MacKinnon and White 1985) approximates leave-one-out residuals.
    residuals = (y - slope * x) / np.maximum(1 - leverage, 1e-9)
    reach = float(distance[distance > 0].mean())
    value = -slope * reach
    error = max(reach * math.sqrt(float(x**2 @ residuals**2)) / square, tiny)
    freedom = len(errors) - others.shape[1] - 1
    half = error * float(t.ppf(0.975, freedom))
    return DistanceRegression(
        difference=Estimate(value, value - half, value + half),
        p=float(2 * t.sf(abs(value) / error, freedom)),
        p_upper=float(t.cdf((value - margin) / error, freedom)),
    )
