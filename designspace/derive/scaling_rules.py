"""Scaling rules by name (arXiv 2103.06877, *Fast and Accurate Model Scaling*, §3 and §5).

A network whose multiply-adds grow by s takes a depth factor s^a, a width factor s^(b/2) and a
resolution factor s^(c/2) with a + b + c = 1, since flops grow with depth * width^2 * resolution^2.
Group width goes with width. Width scaling makes activations grow by sqrt(s), depth and resolution
scaling by s, and activations set the run time: hence the fast rule, which puts 4/5 on width.
"""

from dataclasses import dataclass

from designspace.errors import InputError, nearest


@dataclass(frozen=True)
class Rule:
    """How a factor of flops is shared out: shares that sum to 1."""

    name: str
    depth: float
    width: float
    resolution: float
    about: str

    def factors(self, s: float) -> tuple[float, float, float]:
        """Return the factors of depth, width and resolution for s times the flops."""
        return s**self.depth, s ** (self.width / 2), s ** (self.resolution / 2)


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("width", 0, 1, 0, "all on width: activations grow by the root of flops"),
        Rule("depth", 1, 0, 0, "all on depth"),
        Rule("resolution", 0, 0, 1, "all on resolution: parameters stay"),
        Rule("dw", 1 / 2, 1 / 2, 0, "compound of depth and width, halves"),
        Rule("dr", 1 / 2, 0, 1 / 2, "compound of depth and resolution, halves"),
        Rule("wr", 0, 1 / 2, 1 / 2, "compound of width and resolution, halves"),
        Rule("dwr", 1 / 3, 1 / 3, 1 / 3, "compound of all three, thirds"),
        Rule("fast", 0.1, 0.8, 0.1, "dWr: 8/10 on width, 1/10 each on depth and resolution"),
    )
}
_SHORT = {"w": "width", "d": "depth", "r": "resolution", "dWr": "fast", "d1_w8_g8_r1": "fast"}


def find_rule(name: str) -> Rule:
    """Return a rule by its name, its letters (w, d, r, dw, dwr, dWr), or pycls' word for fast.

    Raises:
        InputError: There is no such rule; the message lists them.
    """
    known = name if name in RULES else _SHORT.get(name, name.lower())
    if known not in RULES:
        raise InputError(f"no scaling rule {name!r}; {nearest(name, list(RULES))}")
    return RULES[known]
