"""Budgets: closed ranges of a cost, or of latency or memory, that a population must lie in."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.arch import (
    Cost,
    format_measured,
    format_quantity,
    parse_measured,
    parse_quantity,
)
from designspace.errors import InputError

# What is measured on a machine, in seconds and bytes.
MEASURED = ("latency", "memory")
_EXAMPLES = {
    "latency": "2ms:3ms, or 3ms±10%",
    "memory": "100MB:200MB, or 200MB±10%",
}


@dataclass(frozen=True)
class Budget:
    """A closed range [low, high] of flops, params or acts, of latency (s) or memory (bytes)."""

    measure: str
    low: float
    high: float

    @staticmethod
    def parse(measure: str, text: str) -> "Budget":
        """Read `360M:400M` or `400M±1%` (also `400M+-1%`); latency and memory have units: `3ms±5%`.

        Raises:
            InputError: The text is neither, or the range is empty.
        """
        what = f"{measure} is {text!r}"
        tolerance = re.fullmatch(r"(.+?)(?:±|\+-|\+/-)\s*([0-9.]+)\s*%", text.strip())
        try:
            if tolerance:
                middle, share = _parse(tolerance[1], measure, what), float(tolerance[2]) / 100
                low, high = middle * (1 - share), middle * (1 + share)
            else:
                first, last = text.split(":")
                low = _parse(first, measure, what, zero=True)
                high = _parse(last, measure, what)
        except ValueError as error:
            if isinstance(error, InputError):
                raise InputError(str(error), measure) from None
            example = _EXAMPLES.get(measure, "360M:400M, or 400M±1%")
            raise InputError(
                f"{what}; it must be a range, low:high such as {example}", measure
            ) from None
        if not 0 <= low <= high:
            raise InputError(
                f"{what}; the low end must not be above the high end, nor below 0", measure
            )
        return Budget(measure, low, high)

    def holds(self, cost: Cost) -> NDArray[np.bool_]:
        """Return which models are in the range, (n,)."""
        value = getattr(cost, self.measure)
        return np.asarray((value >= self.low) & (value <= self.high))

    def nearest(self, cost: Cost) -> int | None:
        """Return the cost nearest to the range, or None without models."""
        values = getattr(cost, self.measure)
        if len(values) == 0:
            return None
        away = np.maximum(self.low - values, values - self.high)
        return int(values[np.argmin(away)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in files."""
        return {"measure": self.measure, "low": self.low, "high": self.high}

    def format(self, value: float) -> str:
        """Write a value of the measure with its unit."""
        if self.measure in MEASURED:
            return format_measured(value, self.measure)
        return format_quantity(value)

    def __str__(self) -> str:
        return f"{self.measure} {self.format(self.low)}:{self.format(self.high)}"


def _parse(text: str, measure: str, what: str, zero: bool = False) -> float:
    if measure not in MEASURED:
        return parse_quantity(text, what, zero=zero)
    return 0.0 if zero and text.strip() == "0" else parse_measured(text, measure, what)
