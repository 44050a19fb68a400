"""Draw figures of several panels: files as SVG, PNG and PDF, and one SVG a panel for the page."""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from designspace.errors import InputError
from designspace.report.palette import AXES_LEFT, Style, rc
from designspace.report.svg_panels import panels, shortened, to_text

FORMATS = ("svg", "png", "pdf")
# Width in inches of one and of two columns of a paper.
ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9
_PNG_DPI = 150
# Inches right of and above the axes of a panel.
RIGHT, _TOP = 0.2, 0.26
_NO_METADATA = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Panel:
    """One drawing: the function that draws it on axes, and its alternative text."""

    draw: Callable[[Axes], Any]
    alt: str


@dataclass(frozen=True)
class Figure:
    """One figure of a report.

    Attributes:
        key: Name of its files, and salt of its identifiers in the page.
        section: Section of the page.
        caption: What it shows and how to read it.
        panels: Its drawings, in reading order.
        size: Width and height of a panel, in inches.
        columns: Panels a row in the files; the page flows them as its width allows.
        left: Inches left of the axes, for labels.
        right: Inches right of the axes.
        bottom: Inches below the axes.
        population: Index of the population that all of it is of, if it is of one.
        narrow: What stands for it where a paper has one column; by default itself.
    """

    key: str
    section: str
    caption: str
    panels: tuple[Panel, ...]
    size: tuple[float, float] = (4.8, 3.4)
    columns: int = 4
    left: float = AXES_LEFT
    right: float = RIGHT
    bottom: float = 0.46
    population: int | None = None
    narrow: "Figure | None" = None


@dataclass(frozen=True)
class Rendered:
    """A figure's content by file name, and one SVG a panel for the page."""

    figure: Figure
    files: Mapping[str, bytes] = field(repr=False)
    inline: tuple[str, ...] = field(repr=False)


def check_formats(figures: Sequence[str]) -> tuple[str, ...]:
    """Return the formats of figures, checked.

    Raises:
        InputError: There is an unknown one.
    """
    formats = (figures,) if isinstance(figures, str) else tuple(figures)
    for name in formats:
        if name not in FORMATS:
            raise InputError(
                f"figures has {name!r}; the formats are {', '.join(FORMATS)}", argument="figures"
            )
    return formats


def render(figure: Figure, formats: Sequence[str]) -> Rendered:
    """Draw a figure for the page and in these formats.

    As PDF, a figure of one panel is drawn twice: one and two columns of a paper wide.
    """
    with drawing_settings("screen", figure.key):
        canvas, boxes = _draw(figure, figure.columns)
        root = shortened(saved(canvas, "svg").decode())
        files = {f"{figure.key}.svg": to_text(root).encode()} if "svg" in formats else {}
        if "png" in formats:
            files[f"{figure.key}.png"] = saved(canvas, "png")
    if "pdf" in formats:
        with drawing_settings("paper", figure.key):
            files |= {name: saved(one, "pdf") for name, one in _paper_figures(figure).items()}
    inline = panels(root, boxes, [panel.alt for panel in figure.panels])
    return Rendered(figure, files, tuple(inline))


@contextmanager
def drawing_settings(style: Style, salt: str = "") -> Iterator[None]:
    """Apply the palette's settings; ignore characters without a font, which become boxes."""
    with mpl.rc_context(rc(style, salt)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+")
        yield


def saved(canvas: Canvas, suffix: str, dpi: int = _PNG_DPI) -> bytes:
    """Return a figure as the content of a file that is the same every time."""
    content = io.BytesIO()
    canvas.savefig(content, format=suffix, dpi=dpi, metadata=_NO_METADATA[suffix])
    return content.getvalue()


def _paper_figures(figure: Figure) -> dict[str, Canvas]:
    """Draw a figure as wide as the columns of a paper, by file name."""
    width, height = figure.size
    if len(figure.panels) > 1:
        columns = min(len(figure.panels), int(TWO_COLUMNS // (0.67 * width)))
        scale = TWO_COLUMNS / columns / width
        size = (scale * width, min(1.0, max(0.75, scale)) * height)
        fitted = replace(figure, size=size, left=0.85 * figure.left)
        return {f"{figure.key}.pdf": _draw(fitted, columns)[0]}
    narrow = figure.narrow or figure
    narrow = replace(narrow, size=(ONE_COLUMN, narrow.size[1]), left=0.88 * narrow.left)
    wide = replace(figure, size=(TWO_COLUMNS, height))
    names = {f"{figure.key}.pdf": narrow, f"{figure.key}-wide.pdf": wide}
    return {name: _draw(one, 1)[0] for name, one in names.items()}


def _draw(figure: Figure, columns: int) -> tuple[Canvas, list[str]]:
    """Draw the panels in rows; return the figure and the viewBox of each panel in its SVG."""
    columns = max(1, min(columns, len(figure.panels)))
    rows = -(-len(figure.panels) // columns)
    width, height = figure.size
    canvas, boxes = Canvas(figsize=(columns * width, rows * height)), []
    for number, panel in enumerate(figure.panels):
        row, column = divmod(number, columns)
        ax = canvas.add_axes(
            (
                (column + figure.left / width) / columns,
                (rows - 1 - row + figure.bottom / height) / rows,
                (1 - (figure.left + figure.right) / width) / columns,
                (1 - (figure.bottom + _TOP) / height) / rows,
            )
        )
        ax.set_gid(f"panel-{number}")
        panel.draw(ax)
        box = (column * width, row * height, width, height)
        boxes.append(" ".join(f"{72 * inches:g}" for inches in box))
    return canvas, boxes
