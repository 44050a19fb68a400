"""Time of a step as a linear function of costs, for models that aren't measured yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from designspace.errors import InputError
from designspace.runs.measurements import Measurement
from designspace.stats.arrays import FloatArray

COSTS = ("flops", "acts", "params", "depth")
LEAST_MODELS = 10
_FOLDS = 10


@dataclass(frozen=True)
class LatencyModel:
    """Seconds (or bytes) = overhead + sum of rate * cost, with no negative rate.

    Attributes:
        overhead: Of a step, whatever its costs.
        rates: Per multiply-add, activation, parameter and block.
        n: Models that it was fitted to.
        error: Cross-validated error: the root mean square of the relative error.
        single_errors: That error where one cost alone explains time, beside the overhead.
    """

    overhead: float
    rates: Mapping[str, float]
    n: int
    error: float
    single_errors: Mapping[str, float]

    def predict(self, costs: Mapping[str, FloatArray]) -> FloatArray:
        """Return the prediction for models with costs (n,) under the names of `rates`."""
        parts = [rate * np.asarray(costs[name], np.float64) for name, rate in self.rates.items()]
        return np.asarray(self.overhead + np.sum(parts, axis=0))

    def __str__(self) -> str:
        singles = ", ".join(
            f"{name} alone {100 * error:.3g} %"
            for name, error in sorted(self.single_errors.items(), key=lambda item: item[1])
        )
        return (
            f"{', '.join(self.rates)} ({self.n} models): cross-validated error "
            f"{100 * self.error:.3g} %; {singles}"
        )


def fit_latency(measurements: Sequence[Measurement]) -> LatencyModel:
    """Fit the latency of measured models of one setting to their costs.

    Raises:
        InputError: There are fewer than 10 models.
    """
    costs = {name: np.array([getattr(m, name) for m in measurements], float) for name in COSTS}
    return fit_costs(costs, np.array([m.latency for m in measurements], np.float64))


def fit_costs(costs: Mapping[str, FloatArray], values: FloatArray, seed: int = 0) -> LatencyModel:
    """Fit values (n,) to costs (n,) by non-negative least squares of the relative error.

    The error is that of ten-fold cross-validation, or leave-one-out below 20 models.

    Raises:
        InputError: There are fewer than 10 models.
    """
    if len(values) < LEAST_MODELS:
        raise InputError(
            f"a latency model needs at least {LEAST_MODELS} measured models; there are "
            f"{len(values)}"
        )
    names = list(costs)
    table = np.stack([np.asarray(costs[name], np.float64) for name in names], axis=1)
    fitted = _fit(table, values)
    return LatencyModel(
        overhead=float(fitted[0]),
        rates=dict(zip(names, map(float, fitted[1:]), strict=True)),
        n=len(values),
        error=_cross_validated(table, values, seed),
        single_errors={
            name: _cross_validated(table[:, [i]], values, seed) for i, name in enumerate(names)
        },
    )


def _fit(table: FloatArray, values: FloatArray) -> FloatArray:
    """Return overhead and rates that minimize the sum of squared relative errors."""
    design = np.column_stack([np.ones(len(values)), table])
    scale = np.maximum(np.abs(design).max(axis=0), 1e-300)
    rates, _ = nnls(design / scale / values[:, None], np.ones(len(values)))
    return np.asarray(rates / scale)


def _cross_validated(table: FloatArray, values: FloatArray, seed: int) -> float:
    n = len(values)
    folds = n if n < 2 * _FOLDS else _FOLDS
    order = np.random.default_rng(seed).permutation(n)
    errors = np.empty(n)
    for fold in range(folds):
        held_out = order[fold::folds]
        rest = np.setdiff1d(order, held_out)
        fitted = _fit(table[rest], values[rest])
        predicted = fitted[0] + table[held_out] @ fitted[1:]
        errors[held_out] = predicted / values[held_out] - 1
    return float(np.sqrt(np.mean(errors**2)))
