"""The one palette: colors of page, figures and tables, line styles, and matplotlib's settings.

Figures are drawn once, in the light colors; the page swaps each for a CSS variable, so that one
SVG serves light and dark.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

Style = Literal["screen", "paper", "paper-wide"]

# (light, dark) color of each population: 3:1 or more against the page, and as far from each other
# in OKLab as a search found, also with deuteranopia.
COLORS = (
    ("#0d50c0", "#2b9aff"),
    ("#c33c0a", "#e66f2b"),
    ("#00a66e", "#3ac1a3"),
    ("#e25ec2", "#ffb7c5"),
    ("#bb8b00", "#f9cc4a"),
    ("#4793f2", "#8fc7ff"),
    ("#8a28ff", "#6f57f5"),
    ("#766c80", "#788ca5"),
    ("#6e2000", "#955b15"),
    ("#891b83", "#e72772"),
    ("#3a6900", "#80d508"),
    ("#004150", "#1d746e"),
)
# Lengths of dash and gap in line widths; () is solid.
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.5), (1.2, 1.2), (6, 1.5, 1.2, 1.5))
# Bands of more populations hide each other: the page shows that of the chosen one.
MOST_BANDS = 3
# Left of the axes of a figure, in inches.
AXES_LEFT = 0.56
# A legend of more populations stands below the axes, where it hides no curve.
LEGEND_INSIDE = 4
# Text, rules and backgrounds of the page; figures use the first three.
INK, FAINT, GROUND = "#1a1b1c", "#c8c9ca", "#fdfdfc"
_PAGE = {
    "ink": (INK, "#e8eaec"),
    "faint": (FAINT, "#3a4148"),
    "ground": (GROUND, "#14171a"),
    "panel": ("#ffffff", "#1a1e22"),
    "quiet": ("#5b6167", "#a3abb2"),
    "accent": ("#005f94", "#7cc4f0"),
    "wash": ("#eef3f6", "#20262b"),
    "warn": ("#fff4dc", "#3a2e14"),
    "warn-ink": ("#6a4300", "#ffd98a"),
    "yes": ("#00664a", "#35c99f"),
    "no": ("#9c4400", "#ff8b4a"),
}
# Those of these that a machine has draw other scripts in PNG and PDF; browsers choose their own.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Hiragino Sans",
    "PingFang SC",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Emoji",
    "Unifont",
)
_RC: dict[str, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.scale_dashes": True,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}
_PAPER = {
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "font.size": 8,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


def color(index: int) -> str:
    """Return the light color of the index-th population; with more than 12 they repeat."""
    return COLORS[index % len(COLORS)][0]


def line_style(index: int) -> dict[str, Any]:
    """Return `color` and `linestyle` of the index-th population's curve, as matplotlib's options.

    Neighbours differ in both; populations of the same color differ in their dashes.
    """
    dashes = _dashes(index)
    return {"color": color(index), "linestyle": (0, dashes) if dashes else "-"}


def rc(style: Style = "screen", salt: str = "") -> Any:
    """Return matplotlib's settings; the same salt gives an SVG the same identifiers every time."""
    paper = _PAPER if style != "screen" else {}
    return {**_RC, **paper, "font.sans-serif": _installed_families(), "svg.hashsalt": salt or "x"}


def css(populations: int) -> str:
    """Return the page's colors as CSS variables, and `.p0`, `.p1`, … for populations' marks."""
    variables = {f"c{i}": pair for i, pair in enumerate(COLORS)} | _PAGE
    lines = [f"--{name}: light-dark({light}, {dark});" for name, (light, dark) in variables.items()]
    marks = [_mark(index) for index in range(populations)]
    return f":root {{ {' '.join(lines)} }}\n" + "\n".join(marks) + "\n"


def css_variables() -> Mapping[str, str]:
    """Map each color that figures are drawn in to its CSS variable."""
    drawn = {name: _PAGE[name][0] for name in ("ink", "faint", "ground")}
    drawn |= {f"c{i}": light for i, (light, _) in enumerate(COLORS)}
    return {light: f"var(--{name})" for name, light in drawn.items()}


def _dashes(index: int) -> tuple[float, ...]:
    return DASHES[(index + index // len(COLORS)) % len(DASHES)]


def _mark(index: int) -> str:
    """Draw a population's dashes as a background, four pixels high."""
    stops, at = [], 0.0
    for number, length in enumerate(_dashes(index) or (1,)):
        paint = "transparent" if number % 2 else "currentColor"
        stops.append(f"{paint} {at:g}px {at + 2.5 * length:g}px")
        at += 2.5 * length
    dashes = f"repeating-linear-gradient(90deg, {', '.join(stops)})"
    variable = f"var(--c{index % len(COLORS)})"
    return f".p{index} {{ color: {variable}; }} .mark.p{index} {{ background: {dashes}; }}"


@cache
def _installed_families() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [family for family in _FAMILIES if family in installed]
