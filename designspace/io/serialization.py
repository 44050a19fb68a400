"""Results as plain data, for JSON and CSV; names as text that can be written and drawn."""

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


def number(value: float) -> float | int:
    """Return a number as people write it: whole ones without a point."""
    return int(value) if float(value).is_integer() else float(value)


def readable(text: str) -> str:
    """Return a name that people chose, with a replacement character for all that can't be printed:
    control characters, undecodable bytes of a file name, marks that turn the writing around.
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
