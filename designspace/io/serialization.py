"""Results as plain data for JSON and CSV, and names as printable text."""

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Return a result as plain data: dataclasses as maps, arrays as lists, no NaN or infinity."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(entry) for entry in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return number(float(value)) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def significant(value: Any) -> Any:
    """Return plain data with 12 significant digits, which no CPU's rounding changes."""
    if isinstance(value, dict):
        return {key: significant(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [significant(entry) for entry in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def number(value: float) -> float | int:
    """Return a whole number as an int, so that it is written without a point."""
    return int(value) if float(value).is_integer() else float(value)


def readable(text: str) -> str:
    """Return a name with a replacement character for each character that can't be printed, such as
    control characters, undecodable bytes and marks that change the writing direction.
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
