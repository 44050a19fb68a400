"""How all figures look: colours that the colour-blind can tell apart, line styles, light frames.

Text and axes are drawn in two marker colours, which the page replaces by its own, so that one SVG
serves light and dark.
"""

from typing import Any

# Okabe and Ito's palette, less its yellow (too light on white) and black (unseen on black), and two
# that differ from these in lightness as well.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5BC4", "#808080")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
FAMILY = "DejaVu Sans"
INK = "#1a1b1c"
FAINT = "#c8c9ca"

_RC: dict[str, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": [FAMILY],
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}


def color(index: int) -> str:
    """Colour of the index-th population; they repeat after eight, with another dash."""
    return COLORS[index % len(COLORS)]


def dash(index: int) -> Any:
    """Line style of the index-th population, a second cue beside colour."""
    return DASHES[(index + index // len(COLORS)) % len(DASHES)]


def rc(salt: str) -> Any:
    """Matplotlib's settings for a figure; the same salt gives the same identifiers every time."""
    return {**_RC, "svg.hashsalt": salt}
