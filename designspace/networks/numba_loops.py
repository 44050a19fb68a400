"""Optional compiled loops for CPUs: numba (the extra `cpu`), its machine code cached if possible.

Callers ask `available()` and fall back to torch, which gives the same results up to rounding.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

_Compiled = TypeVar("_Compiled")
# Sums stay in the order of the loops and NaN is honoured; only a product and its sum may become
# one instruction.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
# Float32 values of a vector: one register of AVX-512, two of AVX, four of NEON.
LANES = 16


@cache
def available() -> bool:
    """Return whether numba can be imported; the modules of kernels may only be imported if so."""
    try:
        import numba  # noqa: F401
    except ImportError:  # not installed, or too old for the installed NumPy
        return False
    return True


def loops(function: Any) -> Any:
    """Compile a function at its first call, for each kind of arguments, releasing the GIL."""
    from numba import njit

    return with_cache(lambda cache: njit(cache=cache, nogil=True, **OPTIONS)(function))


def with_cache(compile_one: Callable[[bool], _Compiled]) -> _Compiled:
    """Compile with numba's cache on disk, or without where no folder can be written.

    Args:
        compile_one: Compiles; its argument is numba's `cache`.
    """
    try:
        return compile_one(True)
    except RuntimeError:  # numba found no folder that it may write to
        return compile_one(False)
