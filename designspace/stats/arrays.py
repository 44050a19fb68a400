"""Checks on the arrays that people hand to this room, and the types that it speaks in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Numbers = Sequence[float] | NDArray[Any]


def as_float_array(values: Numbers, what: str, least: int = 1) -> FloatArray:
    """Return values as a float array (n,).

    Args:
        values: A sequence of finite numbers.
        what: Its name in messages.
        least: The fewest values that will do.

    Raises:
        InputError: It is not one-dimensional, is too short, or holds a value that is not finite.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what}: must be a list of numbers") from None
    if array.ndim != 1:
        raise InputError(f"{what}: must be one-dimensional; its shape is {array.shape}")
    if len(array) < least:
        raise InputError(f"{what}: has {len(array)} values; at least {least} are needed")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InputError(
            f"{what}: value {int(bad[0])} is {array[bad[0]]}; all must be finite (leave failed "
            "models out, give diverged ones chance error)"
        )
    return array


def check_probability(level: float, what: str = "level") -> float:
    """Check that a confidence level, share or probability lies strictly between 0 and 1.

    Raises:
        InputError: It does not.
    """
    if not 0 < level < 1:
        raise InputError(f"{what} is {level}; it must lie strictly between 0 and 1")
    return level
