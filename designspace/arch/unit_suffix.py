"""Numbers with a unit suffix, as in 360M, 1.6G or 256GF."""

import math
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


def format_bytes(size: float) -> str:
    """Write a number of bytes with three significant digits and a unit: 2130 gives 2.13 kB."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    # What rounds to 1000 of a unit is 1 of the next.
    power = next((i for i in range(5) if size < 999.5 * 1000**i), 5)
    value = size / 1000**power
    return f"{f'{value:,.0f}' if value >= 100 else f'{value:.3g}'} {units[power]}"


def missing_unit(value: float, low: float, high: float) -> float | None:
    """Return the unit (1, K, M or G) that a number lacks to lie in a range, or None.

    Of several it is the one that brings the number nearest to the middle of the range, by ratio.
    """
    units = [_SUFFIXES[suffix] for suffix in ("", "K", "M", "G")]
    fitting = [unit for unit in units if low <= value * unit <= high and value > 0]
    middle = math.sqrt(max(low, 1.0) * max(high, 1.0))
    return min(fitting, key=lambda unit: abs(math.log(value * unit / middle)), default=None)


# Units of what is measured on a machine: latency in seconds, memory in bytes.
_UNITS = {
    "latency": {"us": 1e-6, "ms": 1e-3, "s": 1.0},
    "memory": {"KB": 1e3, "MB": 1e6, "GB": 1e9},
}
_EXAMPLES = {"latency": "3ms or 0.5s", "memory": "200MB or 1.5GB"}


def parse_measured(text: str, measure: str, what: str) -> float:
    """Read a latency with its unit (us, ms, s) in seconds, or a memory (KB, MB, GB) in bytes.

    Args:
        text: The number and the unit, such as `3ms`.
        measure: latency or memory.
        what: What it is, for the message.

    Raises:
        InputError: It is no positive number with one of the units.
    """
    units = {unit.lower(): scale for unit, scale in _UNITS[measure].items()}
    match = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zµ]+)", text.strip().lower())
    scale = units.get(match[2].replace("µ", "u")) if match else None
    if match is None or scale is None or not 0 < float(match[1]) < 1e15:
        raise InputError(
            f"{what}: {text.strip()!r} is not a positive number with a unit "
            f"({', '.join(_UNITS[measure])}), such as {_EXAMPLES[measure]}"
        )
    return float(match[1]) * scale


def format_measured(value: float, measure: str) -> str:
    """Write seconds or bytes in the largest unit that leaves at least 1: 0.003 gives 3ms."""
    units = _UNITS[measure]
    unit = max(
        (u for u in units if value >= units[u]), key=units.__getitem__, default=next(iter(units))
    )
    return f"{value / units[unit]:.4g}{unit}"
