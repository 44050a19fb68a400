"""Numbers with a unit suffix, as in 360M, 1.6G or 256GF."""

import re

from designspace.errors import InputError

_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([KMGBT]?)F?", re.IGNORECASE)


def parse_quantity(text: str | int | float, what: str = "quantity", zero: bool = False) -> float:
    """Read a number with an optional suffix K, M, G (or B) or T.

    Args:
        text: The number, such as `360M`.
        what: What it is, for the message.
        zero: Whether 0 is accepted.

    Raises:
        InputError: `text` is not such a number, not positive or not finite.
    """
    match = _QUANTITY.fullmatch(str(text).strip().replace("_", ""))
    value = float(match[1]) * _SUFFIXES[match[2].upper()] if match else -1.0
    if not (value >= 0 if zero else value > 0) or not value < 1e30:
        raise InputError(
            f"{what}: {str(text)!r} is not a positive number with an optional suffix K, M, G or T, "
            "such as 360M or 1.6G"
        )
    return value


def format_quantity(value: float) -> str:
    """Write a count with three or more significant digits and a suffix: 399700712 gives 399.7M."""
    for suffix in ("T", "G", "M", "K"):
        unit = _SUFFIXES[suffix]
        if abs(value) >= unit:
            return f"{value / unit:.4g}{suffix}"
    return f"{value:.4g}"
