"""The cost that a derived model should have."""

from dataclasses import dataclass
from typing import Literal

from designspace.arch import Model, format_quantity, parse_quantity
from designspace.errors import InputError

Measure = Literal["flops", "params", "acts"]
NOUNS: dict[Measure, str] = {
    "flops": "multiply-adds",
    "params": "parameters",
    "acts": "activations",
}


@dataclass(frozen=True)
class Target:
    """A target cost.

    Attributes:
        measure: `flops` (multiply-adds), `params` or `acts`.
        value: The cost.
    """

    measure: Measure
    value: float

    def of(self, model: Model) -> int:
        """Return the cost of a model in this measure."""
        return int(getattr(model, self.measure))

    def suffix(self, value: float | None = None) -> str:
        """Return the target, or another cost, as part of a name: 256GF, 20M-params, 10M-acts."""
        unit = {"flops": "F", "params": "-params", "acts": "-acts"}[self.measure]
        return format_quantity(self.value if value is None else value) + unit

    def __str__(self) -> str:
        return f"{format_quantity(self.value)} {NOUNS[self.measure]}"


def parse_target(
    flops: str | float | None = None,
    params: str | float | None = None,
    acts: str | float | None = None,
) -> Target | None:
    """Return the one target cost, or None if there is none.

    Args:
        flops: Multiply-adds, such as 256e9 or "256G".
        params: Parameters.
        acts: Activations.

    Raises:
        InputError: There are several, or the quantity is not a positive number.
    """
    costs: dict[Measure, str | float | None] = {"flops": flops, "params": params, "acts": acts}
    targets = [
        Target(measure, parse_quantity(value, measure))
        for measure, value in costs.items()
        if value is not None
    ]
    if len(targets) > 1:
        raise InputError("give one target: flops, params or acts")
    return targets[0] if targets else None
