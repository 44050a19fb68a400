"""Budgets: closed ranges of flops, params or acts that a population must lie in."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from designspace.arch import Cost, format_quantity, parse_quantity
from designspace.errors import InputError

Measure = Literal["flops", "params", "acts"]
MEASURES: tuple[Measure, ...] = ("flops", "params", "acts")


@dataclass(frozen=True)
class Budget:
    """A closed range [low, high] of one measure of cost."""

    measure: Measure
    low: float
    high: float

    @staticmethod
    def parse(measure: Measure, text: str) -> "Budget":
        """Read `360M:400M`, or `400M±1%` (also `400M+-1%`).

        Raises:
            InputError: The text is neither, or the range is empty.
        """
        what = f"--{measure} {text!r}"
        tolerance = re.fullmatch(r"(.+?)(?:±|\+-|\+/-)\s*([0-9.]+)\s*%", text.strip())
        if tolerance:
            middle = parse_quantity(tolerance[1], what)
            try:
                share = float(tolerance[2]) / 100
            except ValueError:
                raise InputError(f"{what}: {tolerance[2]!r} is not a percentage") from None
            low, high = middle * (1 - share), middle * (1 + share)
        else:
            ends = text.split(":")
            if len(ends) != 2:
                raise InputError(
                    f"{what} is not a range; write low:high such as 360M:400M, or 400M±1%"
                )
            low, high = (parse_quantity(end, what) for end in ends)
        if not 0 <= low <= high:
            raise InputError(f"{what}: the low end must not be above the high end, nor below 0")
        return Budget(measure, low, high)

    def holds(self, cost: Cost) -> NDArray[np.bool_]:
        """Return which models are in the range, (n,)."""
        value = getattr(cost, self.measure)
        return np.asarray((value >= self.low) & (value <= self.high))

    def nearest(self, cost: Cost) -> int | None:
        """Return the value that lies nearest to the range, or None for no models."""
        values = getattr(cost, self.measure)
        if len(values) == 0:
            return None
        away = np.maximum(self.low - values, values - self.high)
        return int(values[np.argmin(away)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as it stands in files."""
        return {"measure": self.measure, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.measure} {format_quantity(self.low)}:{format_quantity(self.high)}"
