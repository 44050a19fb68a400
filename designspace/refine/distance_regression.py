"""What a constraint that hardly any model keeps would cost, by the models that nearly keep it.

Among n models with a b of their own in every stage, hardly one has one b. But some are nearer to it
than others, and a straight line of error against the distance says what distance 0 would bring.
"""

import math
from dataclasses import dataclass

import numpy as np

from designspace.stats.arrays import FloatArray
from designspace.stats.comparison import Estimate


@dataclass(frozen=True)
class AtZero:
    """The error at distance 0, against that of the models at a distance.

    Attributes:
        difference: Error that the line predicts at distance 0, minus the error that it predicts at
            the mean distance of the models that are not there; percent, with its 95 % interval.
        p: p-value of no slope, two-sided.
        p_upper: p-value against "distance 0 is worse by the margin or more".
    """

    difference: Estimate
    p: float
    p_upper: float


def at_zero(
    distance: FloatArray, errors: FloatArray, margin: float, given: FloatArray | None = None
) -> AtZero:
    """Draw the line (least squares) and test it, by t with errors of unequal variance (HC3).

    Args:
        distance: How far each model is from the constraint, (n,), at least 0 and not all equal.
        errors: Their errors, (n,).
        margin: Percent of error.
        given: What else the error may go with, (n,): models are compared at equal values of it.
    """
    from scipy.stats import t

    others = np.ones((len(errors), 1)) if given is None else np.stack([given**0, given], axis=1)
    basis = np.linalg.qr(others)[0]
    x, y = (values - basis @ (basis.T @ values) for values in (distance, errors))
    square = max(float(x @ x), float(np.finfo(np.float64).tiny))
    slope = float(x @ y) / square
    leverage = (basis**2).sum(axis=1) + x**2 / square
    # MacKinnon and White 1985: each residual is as if the model had been left out.
    residuals = (y - slope * x) / np.maximum(1 - leverage, 1e-9)
    reach = float(distance[distance > 0].mean())
    value = -slope * reach
    error = reach * math.sqrt(float(x**2 @ residuals**2)) / square
    error = max(error, float(np.finfo(np.float64).tiny))
    freedom = len(errors) - others.shape[1] - 1
    half = error * float(t.ppf(0.975, freedom))
    return AtZero(
        difference=Estimate(value, value - half, value + half),
        p=float(2 * t.sf(abs(value) / error, freedom)),
        p_upper=float(t.cdf((value - margin) / error, freedom)),
    )
