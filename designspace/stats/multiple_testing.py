"""Correction of p-values for multiple testing."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's adjusted p-values (1979), in the order of `p_values`.

    Comparing each with alpha keeps the probability of any false rejection among all at alpha.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(order) - np.arange(len(order))
    sorted_p = np.asarray(p_values, dtype=np.float64)[order]
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * sorted_p))
    return tuple(adjusted.tolist())
