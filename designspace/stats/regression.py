"""A difference of means with a covariate held fixed, by least squares."""

import math

import numpy as np

from designspace.stats.arrays import FloatArray
from designspace.stats.intervals import Estimate


def adjusted_difference(
    a: FloatArray, b: FloatArray, x: FloatArray, y: FloatArray, level: float = 0.95
) -> Estimate:
    """Return the difference of the means of b and a at equal values of a covariate.

    One line and one square for both, with heteroscedasticity-consistent errors (HC3, MacKinnon and
    White 1985).

    Args:
        a: Errors of the first population, (n,).
        b: Errors of the second, (m,).
        x: The covariate of the first, (n,).
        y: The covariate of the second, (m,).
        level: Level of the interval.
    """
    from scipy.stats import t

    errors, covariate = np.concatenate([a, b]), np.concatenate([x, y])
    centered = covariate - covariate.mean()
    columns = np.column_stack([np.ones(len(errors)), centered, centered**2])
    group = np.repeat([0.0, 1.0], [len(a), len(b)])
    basis, triangle = np.linalg.qr(columns)
    basis = basis[:, np.abs(np.diag(triangle)) > 1e-9 * np.abs(triangle).max()]
    group, residual = (v - basis @ (basis.T @ v) for v in (group, errors))
    square = float(group @ group)
    df = len(errors) - basis.shape[1] - 1
    if square < 1e-9 or df < 1:
        return Estimate(math.nan, -math.inf, math.inf)
    value = float(group @ residual) / square
    leverage = (basis**2).sum(axis=1) + group**2 / square
    left_out = (residual - value * group) / np.maximum(1 - leverage, 1e-9)
    half = math.sqrt(float(group**2 @ left_out**2)) / square * float(t.ppf((1 + level) / 2, df))
    return Estimate(value, value - half, value + half)
