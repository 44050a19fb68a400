"""Pareto fronts of cost and error, lower being better in both, and how stable they are."""

import numpy as np

from designspace.stats.arrays import BoolArray, FloatArray

# About this many numbers are drawn at a time.
_CHUNK = 1 << 22


def pareto_front(costs: FloatArray, errors: FloatArray) -> BoolArray:
    """Return which models, (n,), no other model beats: lower in one of the two, no higher in both.

    Models of equal cost and equal error beat each other in nothing, so all of them may be on it.
    """
    order = np.argsort(costs, kind="stable")
    front = np.zeros(len(costs), dtype=np.bool_)
    front[order] = _on_front(costs[order], errors[order][None, :])[0]
    return front


def front_frequency(
    costs: FloatArray,
    errors: FloatArray,
    std: FloatArray | float = 0.0,
    *,
    rng: np.random.Generator,
    repeats: int = 1000,
) -> FloatArray:
    """Return how often each model, (n,), is on the front of bootstrap samples that contain it.

    n models are redrawn with replacement, and each error with its noise. Without noise a model that
    k others beat is on the front with probability ((n - k - 1) / (n - 1))^(n - 1) or nearly so:
    1 on the sample's own front, 0.37 where one model beats it.

    Args:
        costs: Cost of each model, (n,).
        errors: Error of each, (n,).
        std: Standard deviation of the noise of an error; normal, and independent between models.
        rng: Generator of the redraws.
        repeats: Number of bootstrap samples.
    """
    n = len(costs)
    order = np.argsort(costs, kind="stable")
    sorted_costs, sorted_errors = costs[order], errors[order]
    noise = np.broadcast_to(np.asarray(std, dtype=np.float64), n)[order]
    hits, drawn = np.zeros(n), np.zeros(n)
    rows = max(1, _CHUNK // n)
    for start in range(0, repeats, rows):
        size = (min(rows, repeats - start), n)
        present = rng.multinomial(n, np.full(n, 1 / n), size=size[0]) > 0
        redrawn = sorted_errors + noise * rng.standard_normal(size)
        front = _on_front(sorted_costs, np.where(present, redrawn, np.inf)) & present
        hits += front.sum(axis=0)
        drawn += present.sum(axis=0)
    frequency = np.zeros(n)
    frequency[order] = hits / np.maximum(drawn, 1)
    return frequency


def _on_front(costs: FloatArray, errors: FloatArray) -> BoolArray:
    """Return which models of each row, (rows, n), are on its front; `costs`, (n,), ascend."""
    best = np.minimum.accumulate(errors, axis=1)
    up_to = best[:, np.searchsorted(costs, costs, side="right") - 1]
    cheaper = np.searchsorted(costs, costs, side="left")
    below = np.where(cheaper > 0, best[:, np.maximum(cheaper - 1, 0)], np.inf)
    return np.asarray((errors <= up_to) & (errors < below))
