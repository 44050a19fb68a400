"""The figures of a report: each composed of drawings, rendered once for the page and for files."""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.image import imsave
from numpy.typing import NDArray

from designspace.analysis.findings import Findings, PopulationFindings, error_range
from designspace.analysis.normalized_edf import NormalizedEdfs
from designspace.arch import format_quantity
from designspace.report import drawings as draw
from designspace.report.glyphs import lacking, make_legible
from designspace.report.palette import rc
from designspace.report.svg import Picture, inline_svg, picture, sheet_svg

_PNG_DPI = 150
# The most important parameters that the figure of importance shows; the tables have all.
_SHOWN = 8
# Characters of a name that a legend or a panel's title has room for.
_LABEL = 26
# Inches right of and above the axes of a panel.
_RIGHT, _TOP = 0.2, 0.26
# With more populations than these, a legend would hide the curves: it stands right of the axes.
_LEGEND_INSIDE = 4
Bitmap = NDArray[np.uint8]
_Corner = Literal["lower right", "upper right"]
Drawing = Callable[[Axes], None]


@dataclass(frozen=True)
class Panel:
    """One drawing: what draws it, and what it shows, for those who don't see it."""

    draw: Drawing
    alt: str


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    Attributes:
        key: Name of its files, and prefix of its identifiers in the page.
        section: Which section of the page it belongs to.
        caption: What it shows and how to read it.
        panels: Its drawings, in reading order.
        size: Width and height of a panel, in inches.
        columns: Panels a row in the files; the page flows them as its width allows.
        left: Inches left of the axes, for labels.
        right: Inches right of the axes, for a legend.
        bottom: Inches below the axes.
        population: Index of the population that all of it is of, if it is of one.
    """

    key: str
    section: str
    caption: str
    panels: tuple[Panel, ...]
    size: tuple[float, float] = (4.8, 3.4)
    columns: int = 4
    left: float = 0.56
    right: float = _RIGHT
    bottom: float = 0.46
    population: int | None = None


@dataclass(frozen=True)
class Rendered:
    """A figure as the page and the files need it: inline SVG a panel, one SVG and one PNG file.

    `coded` tells whether the PNG has codes in place of characters that no font here has.
    """

    figure: Figure
    inline: tuple[str, ...]
    svg: str
    png: bytes = field(repr=False)
    coded: bool

    @property
    def small(self) -> bool:
        """Whether it is one of several panels that the page lays out in a grid."""
        return len(self.inline) > 1


def figures(findings: Findings) -> Iterator[Figure]:
    """Yield the figures in the order of the page."""
    populations = findings.populations
    yield _edf_figure(findings)
    if findings.normalized is not None:
        yield _normalized_figure(findings, findings.normalized)
    if findings.comparisons:
        yield _differences_figure(findings)
    yield _best_of_k_figure(findings)
    for index, (population, key) in enumerate(zip(populations, _keys(findings), strict=True)):
        if population.results.counted_parameters(varying=True):
            yield _bootstrap_figure(population, index, f"bootstrap_{key}")
    if any(p.trends for p in populations):
        yield _importance_figure(populations)
    with_widths = [(i, p) for i, p in enumerate(populations) if p.widths is not None]
    if with_widths:
        yield _widths_figure(with_widths)
        yield _fit_figure(with_widths)


def render(figure: Figure) -> Rendered:
    """Draw a figure: each panel once, for the page and for the files."""
    columns = min(figure.columns, len(figure.panels))
    with mpl.rc_context(rc(figure.key)), warnings.catch_warnings():
        # Names in other scripts: whoever looks at an SVG has fonts for them, or boxes.
        warnings.filterwarnings("ignore", r"Glyph \d+")
        drawn = [_draw(figure, panel, f"{figure.key}-{i}") for i, panel in enumerate(figure.panels)]
    pictures = [one for one, _, _ in drawn]
    return Rendered(
        figure=figure,
        inline=tuple(
            inline_svg(one, panel.alt) for one, panel in zip(pictures, figure.panels, strict=True)
        ),
        svg=sheet_svg(pictures, columns),
        png=_sheet_png([bitmap for _, bitmap, _ in drawn], columns),
        coded=any(coded for _, _, coded in drawn),
    )


def _draw(figure: Figure, panel: Panel, key: str) -> tuple[Picture, Bitmap, bool]:
    """Draw one panel as SVG and as a bitmap (height, width, 4); tell whether that has codes."""
    (width, height), left, bottom = figure.size, figure.left, figure.bottom
    canvas = Canvas(figsize=figure.size)
    panel.draw(
        canvas.add_axes(
            (
                left / width,
                bottom / height,
                1 - (left + figure.right) / width,
                1 - (bottom + _TOP) / height,
            )
        )
    )
    FigureCanvasSVG(canvas)
    text = io.StringIO()
    canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    coded = bool(lacking(text.getvalue())) and make_legible(canvas)
    canvas.set(dpi=_PNG_DPI, facecolor="white")
    agg = FigureCanvasAgg(canvas)
    agg.draw()  # type: ignore[no-untyped-call]
    bitmap = np.array(agg.buffer_rgba())  # type: ignore[no-untyped-call]
    return picture(text.getvalue(), key), bitmap, coded


def _sheet_png(bitmaps: list[Bitmap], columns: int) -> bytes:
    blank = np.full_like(bitmaps[0], 255)
    padded = bitmaps + [blank] * (-len(bitmaps) % columns)
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    png = io.BytesIO()
    imsave(png, np.vstack(rows), format="png")
    return png.getvalue()


def _keys(findings: Findings) -> list[str]:
    """The populations' names as they can stand in file names and identifiers, made distinct."""
    keys: list[str] = []
    for p in findings.populations:
        key = re.sub(r"[^A-Za-z0-9_-]+", "-", p.name).strip("-").lower()[:60] or "population"
        number, distinct = 1, key
        while distinct in keys:
            number += 1
            distinct = f"{key}-{number}"
        keys.append(distinct)
    return keys


def _label(name: str) -> str:
    """A name as it fits into a legend; captions and tables have it whole."""
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"


def _curves(
    key: str, section: str, caption: str, panel: Panel, legend: Sequence[str], inside: _Corner
) -> Figure:
    """A figure of one curve a population, with a legend of these texts; few of them fit inside."""

    def drawing(ax: Axes) -> None:
        panel.draw(ax)
        if len(legend) <= _LEGEND_INSIDE:
            ax.legend(loc=inside)
        else:
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0)

    figure = Figure(key, section, caption, (replace(panel, draw=drawing),))
    if len(legend) <= _LEGEND_INSIDE:
        return figure
    right = 0.5 + 0.075 * max(map(len, legend))
    width, height = figure.size
    return replace(figure, size=(width - _RIGHT + right, height), right=right)


def _edf_figure(findings: Findings) -> Figure:
    low, high = error_range(findings.populations)

    def drawing(ax: Axes) -> None:
        for index, p in enumerate(findings.populations):
            draw.draw_edf(ax, p.edf, p.band, label=_label(p.name), index=index, until=high)
        ax.set_xlim(low, high)

    words = "; ".join(
        f"{p.name}: least {p.edf.minimum:.1f} %, mean {p.edf.mean:.1f} %, n = {p.edf.n}"
        for p in findings.populations
    )
    caption = (
        "Error distribution functions: the share of models with an error strictly below each "
        "value; higher and further left is better. Legend [minimum | mean] error in percent. The "
        "shaded bands hold each whole curve with 95 % confidence (DKW-Massart)."
    )
    panel = Panel(drawing, f"Error distributions. {words}.")
    legend = [f"{p.edf.legend} {_label(p.name)}" for p in findings.populations]
    return _curves("edf", "edf", caption, panel, legend, "lower right")


def _normalized_figure(findings: Findings, found: NormalizedEdfs) -> Figure:
    low, high = error_range(findings.populations)

    def drawing(ax: Axes) -> None:
        parts = zip(findings.populations, found.edfs, found.bands, strict=True)
        for index, (p, function, band) in enumerate(parts):
            draw.draw_edf(ax, function, band, label=_label(p.name), index=index, until=high)
        ax.set(xlim=(low, high), ylabel=f"share at equal {found.complexity}")

    words = "; ".join(
        f"{p.name}: mean {function.mean:.1f} %"
        for p, function in zip(findings.populations, found.edfs, strict=True)
    )
    caption = (
        f"The same at equal complexity (NDS): models weigh so that {found.complexity} are uniform "
        f"over {format_quantity(found.low)} to {format_quantity(found.high)}, the range that all "
        f"populations reach, in {found.bins} bins. Bands: bootstrap, 95 % for each whole curve."
    )
    panel = Panel(drawing, f"Error distributions at equal {found.complexity}. {words}.")
    parts = zip(findings.populations, found.edfs, strict=True)
    legend = [f"{function.legend} {_label(p.name)}" for p, function in parts]
    return _curves("edf_normalized", "edf", caption, panel, legend, "lower right")


def _differences_figure(findings: Findings) -> Figure:
    pairs = [
        replace(pair, first=_label(pair.first), second=_label(pair.second))
        for pair in findings.comparisons
    ]
    labels = [f"{pair.second} − {pair.first}" for pair in pairs]
    height = 0.27
    if max(map(len, labels)) > _LABEL:
        labels, height = [f"{pair.second}\n− {pair.first}" for pair in pairs], 0.4
    longest = max(len(line) for label in labels for line in label.split("\n"))
    margin = pairs[0].equivalence.margin
    caption = (
        "Differences of mean error, second minus first, with 95 % intervals: left of zero, the "
        "second has less error. Circle: shown to be better; square: shown to be worse; diamond: "
        f"shown to differ by less than the margin of {margin:g} % (shaded); bar: undecided."
    )
    return Figure(
        key="differences",
        section="compare",
        caption=caption,
        panels=(
            Panel(
                partial(draw.draw_differences, pairs=pairs, labels=labels),
                "; ".join(pair.sentence for pair in findings.comparisons),
            ),
        ),
        size=(4.8, 0.8 + height * len(pairs)),
        left=0.3 + 0.08 * longest,
    )


def _importance_figure(populations: Sequence[PopulationFindings]) -> Figure:
    shown = [(i, p) for i, p in enumerate(populations) if p.trends]
    most = max(min(_SHOWN, len(p.trends)) for _, p in shown)
    panels = tuple(
        Panel(
            partial(
                draw.draw_importance, trends=p.trends[:_SHOWN], title=_label(p.name), index=index
            ),
            f"{p.name}, variation of the error explained: "
            + ", ".join(f"{t.name} {t.importance.value:.0%}" for t in p.trends[:_SHOWN]),
        )
        for index, p in shown
    )
    caption = (
        "How much of the variation of the error (of its rank) the leading parameters explain, "
        "each on its own: means of bins, corrected for their number, with 95 % bootstrap intervals."
    )
    size = (3.4, 0.8 + 0.17 * most)
    return Figure("importance", "importance", caption, panels, size, 3)


def _best_of_k_figure(findings: Findings) -> Figure:
    def drawing(ax: Axes) -> None:
        for index, p in enumerate(findings.populations):
            draw.draw_best_of_k(ax, p.best_of_k, label=_label(p.name), index=index)
        ax.set_ylim(*error_range(findings.populations))

    words = "; ".join(
        f"{p.name}: {p.best_of_k.expected[0]:.1f} % for one model, "
        f"{p.best_of_k.expected[-1]:.1f} % for {p.best_of_k.k[-1]}"
        for p in findings.populations
    )
    caption = (
        "The error that the best of k random models is expected to have (drawn with replacement), "
        "with the range in which 95 % of such searches end."
    )
    panel = Panel(drawing, f"Best of k. {words}.")
    legend = [_label(p.name) for p in findings.populations]
    return _curves("best_of_k", "search", caption, panel, legend, "upper right")


def _bootstrap_figure(p: PopulationFindings, index: int, key: str) -> Figure:
    errors = p.results.counted_errors
    shown = error_range([p])
    trends = {trend.name: trend for trend in p.trends}
    panels: list[Panel] = []
    for name, values in p.results.counted_parameters(varying=True).items():
        interval = p.bootstrap[name]
        drawing = partial(
            draw.draw_bootstrap,
            values=values,
            errors=errors,
            interval=interval,
            name=name,
            trend=trends.get(name),
            error_range=shown,
            unit="" if panels else "error, %",
            index=index,
        )
        alt = (
            f"{p.name}, error against {name}: the best models lie at {interval.low:g} to "
            f"{interval.high:g}, median {interval.median:g}"
        )
        panels.append(Panel(drawing, alt))
    first = next(iter(p.bootstrap.values()))
    caption = (
        f"{p.name}: error against each parameter that varies. Shaded: where the best of "
        f"{first.draws} redrawn models lies in 95 % of redraws; coloured line: its median "
        f"(closed form); thin line: median error in bins. "
        f"{first.carriers} of {first.n} models carry 95 % of the weight."
    )
    return Figure(
        key=key,
        section="bootstrap",
        caption=caption,
        panels=tuple(panels),
        size=(2.2, 1.65),
        left=0.46,
        bottom=0.26,
        population=index,
    )


def _widths_figure(populations: list[tuple[int, PopulationFindings]]) -> Figure:
    panels = []
    for index, p in populations:
        widths, stages = p.widths, p.results.bodies
        assert widths is not None
        assert stages is not None
        networks = [stages.block_widths(int(row)).astype(float) for row in widths.best_rows]
        drawing = partial(
            draw.draw_widths,
            networks=networks,
            trend=widths.trend,
            title=_label(p.name),
            index=index,
        )
        alt = (
            f"{p.name}: block widths of the {len(networks)} best models follow the line "
            f"{widths.trend.slope:.3g} times the block number, off by {widths.trend.error:.0%}"
        )
        panels.append(Panel(drawing, alt))
    caption = (
        "Width of each block of the best models (the best one bold), and the line through the "
        "origin that they follow best. In the paper (400MF, ImageNet) it was 48 (j + 1)."
    )
    return Figure("widths", "widths", caption, tuple(panels), (3.4, 2.6), 3, left=0.66)


def _fit_figure(populations: list[tuple[int, PopulationFindings]]) -> Figure:
    panels = []
    for index, p in populations:
        widths = p.widths
        assert widths is not None
        drawing = partial(
            draw.draw_fit_errors,
            ranks=widths.ranks,
            errors=widths.fits.error,
            title=_label(p.name),
            index=index,
        )
        panels.append(Panel(drawing, f"{p.name}: e_fit of {len(widths.fits)} models by rank"))
    caption = (
        "How far a quantized linear function is from each model's block widths (e_fit, mean "
        "|log ratio|; 0 is exact), against the model's rank by error."
    )
    return Figure("fit_errors", "widths", caption, tuple(panels), (3.4, 2.3), 3, left=0.66)
