"""Scaling rules by name (arXiv 2103.06877, *Fast and Accurate Model Scaling*, §3 and §5).

Scaling multiply-adds by s scales depth by s^a, width by s^(b/2) and resolution by s^(c/2), where
a + b + c = 1, because flops grow with depth * width^2 * resolution^2. Group width scales with
width. Activations, which determine run time, grow by sqrt(s) under width scaling and by s under
depth or resolution scaling; the fast rule therefore puts 4/5 on width.
"""

from dataclasses import dataclass

from designspace.errors import InputError, nearest


@dataclass(frozen=True)
class ScalingRule:
    """How a factor of flops is divided among depth, width and resolution.

    Attributes:
        name: Name of the rule.
        depth: Share of depth; the three shares sum to 1.
        width: Share of width.
        resolution: Share of resolution.
        description: The rule in words.
    """

    name: str
    depth: float
    width: float
    resolution: float
    description: str

    def factors(self, s: float) -> tuple[float, float, float]:
        """Return the factors of depth, width and resolution for s times the flops."""
        return s**self.depth, s ** (self.width / 2), s ** (self.resolution / 2)


RULES: dict[str, ScalingRule] = {
    rule.name: rule
    for rule in (
        ScalingRule("width", 0, 1, 0, "width only: activations grow by the root of flops"),
        ScalingRule("depth", 1, 0, 0, "depth only"),
        ScalingRule("resolution", 0, 0, 1, "resolution only: parameters stay the same"),
        ScalingRule("dw", 1 / 2, 1 / 2, 0, "depth and width, half each"),
        ScalingRule("dr", 1 / 2, 0, 1 / 2, "depth and resolution, half each"),
        ScalingRule("wr", 0, 1 / 2, 1 / 2, "width and resolution, half each"),
        ScalingRule("dwr", 1 / 3, 1 / 3, 1 / 3, "depth, width and resolution, a third each"),
        ScalingRule("fast", 0.1, 0.8, 0.1, "dWr: 8/10 width, 1/10 depth, 1/10 resolution"),
    )
}
DEFAULT_RULE = "width"
_ALIASES = {"w": "width", "d": "depth", "r": "resolution", "dWr": "fast", "d1_w8_g8_r1": "fast"}


def find_rule(name: str) -> ScalingRule:
    """Return a rule by its name, its letters (w, d, r, dw, dwr, dWr) or its pycls name.

    Raises:
        InputError: There is no such rule.
    """
    key = name if name in RULES else _ALIASES.get(name, name.lower())
    if key not in RULES:
        raise InputError(f"no scaling rule {name!r}; {nearest(name, list(RULES))}", "rule")
    return RULES[key]
