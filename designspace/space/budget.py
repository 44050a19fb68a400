"""Budgets: closed ranges of flops, params or acts that a population must lie in."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.arch import Cost, format_quantity, parse_quantity
from designspace.errors import InputError


@dataclass(frozen=True)
class Budget:
    """A closed range [low, high] of flops, params or acts."""

    measure: str
    low: float
    high: float

    @staticmethod
    def parse(measure: str, text: str) -> "Budget":
        """Read `360M:400M` or `400M±1%` (also `400M+-1%`) for flops, params or acts.

        Raises:
            InputError: The text is neither, or the range is empty.
        """
        what = f"{measure} is {text!r}"
        tolerance = re.fullmatch(r"(.+?)(?:±|\+-|\+/-)\s*([0-9.]+)\s*%", text.strip())
        try:
            if tolerance:
                middle, share = parse_quantity(tolerance[1], what), float(tolerance[2]) / 100
                low, high = middle * (1 - share), middle * (1 + share)
            else:
                first, last = text.split(":")
                low, high = parse_quantity(first, what, zero=True), parse_quantity(last, what)
        except ValueError as error:
            if isinstance(error, InputError):
                raise InputError(str(error), measure) from None
            raise InputError(
                f"{what}; it must be a range, low:high such as 360M:400M, or 400M±1%", measure
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

    def __str__(self) -> str:
        return f"{self.measure} {format_quantity(self.low)}:{format_quantity(self.high)}"
