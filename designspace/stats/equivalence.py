"""Equivalence and non-inferiority of two means: two one-sided tests (Schuirmann 1987)."""

from dataclasses import dataclass

import numpy as np

from designspace.errors import InputError
from designspace.stats.arrays import FloatArray
from designspace.stats.two_sample import welch


@dataclass(frozen=True)
class Equivalence:
    """Whether two means lie within a margin of each other.

    Attributes:
        margin: The largest difference that counts as none, percent of error, stated beforehand.
        p_lower: p-value against "the second is better by the margin or more".
        p_upper: p-value against "the second is worse by the margin or more": alone, it is the test
            of non-inferiority.
    """

    margin: float
    p_lower: float
    p_upper: float

    @property
    def p(self) -> float:
        """p-value of equivalence: the larger of the two."""
        return max(self.p_lower, self.p_upper)


def check_margin(margin: float) -> float:
    """Return `margin`, in percent of error.

    Raises:
        InputError: It is not above 0, or above 100.
    """
    if not 0 < margin <= 100:
        raise InputError(
            f"margin is {margin}; it must be above 0 percent of error, up to 100", "margin"
        )
    return margin


def equivalent(a: FloatArray, b: FloatArray, margin: float) -> Equivalence:
    """Test whether two means lie within a margin of each other, by Welch's t.

    Args:
        a: Errors of the first population, (n,), at least 2.
        b: Errors of the second, (m,), at least 2.
        margin: Largest difference that counts as none, percent of error.
    """
    from scipy.stats import t

    difference, error, df = welch(a, b)
    scale = max(error, np.finfo(np.float64).tiny)
    return Equivalence(
        margin=margin,
        p_lower=float(t.sf((difference + margin) / scale, df)),
        p_upper=float(t.cdf((difference - margin) / scale, df)),
    )
