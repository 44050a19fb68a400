"""Loops compiled by numba for this CPU, their machine code kept beside the module if possible."""

from collections.abc import Callable
from typing import Any, TypeVar

_Made = TypeVar("_Made")
# Sums stay in the order of the loops and NaN is honoured; only a product and its sum may become
# one instruction.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}


def loops(function: Any) -> Any:
    """Compile a function at its first call, for each kind of arguments; the GIL is let go."""
    from numba import njit

    return kept(lambda cache: njit(cache=cache, nogil=True, **OPTIONS)(function))


def kept(compile_one: Callable[[bool], _Made]) -> _Made:
    """Compile with numba's cache, or, where there is nowhere to keep machine code, without.

    Args:
        compile_one: Compiles; the flag is numba's `cache`.
    """
    try:
        return compile_one(True)
    except RuntimeError:  # numba found no folder that it may write to
        return compile_one(False)
