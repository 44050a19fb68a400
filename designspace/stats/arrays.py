"""Array types, and the checks at the public boundary."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Numbers = Sequence[float] | NDArray[Any]


def as_float_array(values: Numbers, name: str, min_length: int = 1) -> FloatArray:
    """Return values as a float array (n,).

    Args:
        values: A sequence of finite numbers.
        name: Name of the argument, for messages.
        min_length: Minimum number of values.

    Raises:
        InputError: `values` is not one-dimensional, too short, or not finite.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a list of numbers", name) from None
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional; its shape is {array.shape}", name)
    if len(array) < min_length:
        raise InputError(f"{name} has {len(array)} values; at least {min_length} are needed", name)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InputError(
            f"{name}[{bad[0]}] is {array[bad[0]]}; all values must be finite (leave failed models "
            "out, give diverged ones chance error)",
            name,
        )
    return array


def check_probability(value: float, name: str = "level") -> float:
    """Return `value`, a confidence level, fraction or probability.

    Raises:
        InputError: It does not lie strictly between 0 and 1.
    """
    if not 0 < value < 1:
        raise InputError(f"{name} is {value}; it must lie strictly between 0 and 1", name)
    return value
