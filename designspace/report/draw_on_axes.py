"""Draw one result on given axes; compute nothing.

Each function takes `color` and `linestyle` where it draws one population: they apply to its line,
band and legend together.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from designspace.analysis.compare_pairs import PairComparison
from designspace.analysis.importance import ParameterTrend
from designspace.analysis.quantized_linear_fit import WidthTrend
from designspace.report.palette import AXES_LEFT, FAINT, GROUND, INK, color
from designspace.stats.arrays import FloatArray, IntArray
from designspace.stats.best_of_k import BestOfK
from designspace.stats.edf import Band, Edf
from designspace.stats.edf_bands import EdfDifference
from designspace.stats.intervals import Estimate
from designspace.stats.range_of_best import BootstrapInterval

# An EDF is drawn with at most this many levels, finer than any screen.
_LEVELS = 2000
# Larger clouds of dots are rasterized, to keep the page small.
_MAX_VECTOR_DOTS = 1500
# Fewer dots than this are larger.
_FEW_DOTS = 30
# Characters of a name that a legend or a panel's title has room for.
MAX_NAME = 26
# Font size of the labels of ticks and rows.
_TICK_LABELS = 8.5
# Of the legend below axes, to their left, in inches.
_LEGEND_SHIFT = -0.2
# Widths and powers of 2, of all stages or of one (`w3`); and depths.
_POWERS = re.compile(r"[bgw]\d*|w_0|w_a|batch_size")
_DEPTHS = re.compile(r"d\d*")
# Other parameters have a log axis where their largest value is so many times the smallest.
_WIDE = 50.0
# Color and marker of each verdict: two cues, for the color-blind.
VERDICT_MARKERS = {
    "better": (color(2), "o"),
    "worse": (color(1), "s"),
    "equivalent": (color(0), "D"),
    "undecided": (INK, "|"),
}


def short_name(name: str) -> str:
    """Return a name as it fits into a legend, with its end, as names often differ there."""
    if len(name) <= MAX_NAME:
        return name
    half = MAX_NAME // 2
    return f"{name[: MAX_NAME - half - 1]}…{name[-half:]}"


def legend_label(name: str) -> str:
    """Return a name that a legend shows: Matplotlib leaves out those that begin with "_"."""
    return f" {name}" if name.startswith("_") else name


def draw_edf(
    ax: Axes,
    function: Edf,
    band: Band | None = None,
    *,
    label: str = "",
    until: float | None = None,
    color: str,
    linestyle: Any = "-",
    index: int = 0,
) -> None:
    """Draw an EDF as a step function with its band, labelled as in the papers: [min | mean] name.

    Args:
        ax: Axes to draw on.
        function: The EDF.
        band: Its confidence band.
        label: Name, behind [minimum | mean].
        until: Error at which the curve ends, the end of the axis; by default its last error.
        color: Color of line and band.
        linestyle: Matplotlib's line style.
        index: Number of the population, by which the page's script finds its curve.
    """
    x, (y,) = _steps(function.errors, until, function.cumulative)
    text = f"{function.legend} {label}".strip()
    style = {"color": color, "linestyle": linestyle}
    ax.plot(x, y, label=text, solid_capstyle="butt", gid=f"curve-{index}", **style)
    if band is not None:
        x, (low, high) = _steps(band.errors, until, band.low, band.high)
        # Models of the space that were not drawn may lie below the lowest error.
        x, low, high = [0.0, *x], [0.0, *low], [band.start, band.start, *high[1:]]
        corners = [*zip(x, low, strict=True), *zip(x[::-1], high[::-1], strict=True)]
        area = PolyCollection([corners], color=color, alpha=0.13, linewidth=0, gid=f"band-{index}")
        ax.add_collection(area, autolim=False)  # the curve alone sets the limits of the axis
    ax.set(xlabel="error (%)", ylabel="share of models below", ylim=(0, 1.02))
    ax.grid(True)


def label_curves(
    ax: Axes, edfs: Sequence[Edf], labels: Sequence[str], styles: Sequence[dict[str, Any]]
) -> None:
    """Label each EDF at its curve: the better half from the upper left, the others from below.

    Call it when the limits of the axes are final.
    """
    order = np.argsort([function.median for function in edfs], kind="stable").tolist()
    left, right = order[: -(-len(order) // 2)], order[-(-len(order) // 2) :]
    size = float(ax.xaxis.label.get_fontsize())
    step = 1.5 * size / (72 * ax.get_window_extent().height / ax.figure.dpi)
    for row, index in enumerate(left):
        height = 0.95 - step * (row + 0.3)
        beside = min(_quantile(function, height - step / 2) for function in edfs)
        _label_curve(ax, edfs[index], labels[index], styles[index], index, height, beside, "right")
    for row, index in enumerate(reversed(right)):
        height = 0.02 + step * (row + 0.5)
        beside = max(_quantile(function, height + step / 2) for function in edfs)
        _label_curve(ax, edfs[index], labels[index], styles[index], index, height, beside, "left")


def _quantile(function: Edf, height: float) -> float:
    return float(function.errors[np.searchsorted(function.cumulative, min(height, 1.0))])


def _label_curve(
    ax: Axes,
    function: Edf,
    label: str,
    style: dict[str, Any],
    index: int,
    height: float,
    beside: float,
    align: Literal["left", "right"],
) -> None:
    """Put a label at a height, beside all curves, with a key in its style and a thin line to it."""
    size = float(ax.xaxis.label.get_fontsize())
    low, high = ax.get_xlim()
    points = (high - low) / (72 * ax.get_window_extent().width / ax.figure.dpi)
    width, gap, side = 0.6 * size * len(label) * points, 38 * points, 1 if align == "left" else -1
    x = max(beside - gap, low + width) if align == "right" else min(beside + gap, high - width)
    at, gid = _quantile(function, height), f"leader-{index}"
    ground = {"boxstyle": "square,pad=0.1", "facecolor": GROUND, "edgecolor": "none", "alpha": 0.8}
    ax.text(
        x, height, label, ha=align, va="center", fontsize=size, bbox=ground, gid=f"label-{index}"
    )
    key = x - 4 * side * points, x - 26 * side * points
    ax.plot(key, [height, height], gid=gid, **style)
    ax.plot([key[1], at], [height, height], color=style["color"], linewidth=0.6, gid=gid)
    ax.plot([at], [height], "o", color=style["color"], markersize=4, gid=gid)


def legend_columns(
    labels: Sequence[str], width: float, size: float, left: float = AXES_LEFT
) -> int:
    """Return how many columns, 1 or 2, a legend below the axes has room for.

    Args:
        labels: Its texts.
        width: Of the figure, in inches.
        size: Of the font, in points.
        left: Of the axes, in inches.
    """
    widths = [_points_wide(label, size) for label in labels]
    half = -(-len(labels) // 2)
    # A column is as wide as its longest label; a line and gaps beside it are 4.2 letters.
    columns = [max(part, default=0) + 4.2 * size for part in (widths[:half], widths[half:])]
    return 2 if 72 * (width - left - _LEGEND_SHIFT) >= sum(columns) else 1


def room_for_labels(labels: Sequence[str], size: float = _TICK_LABELS) -> float:
    """Return the inches that row labels of a font size, in points, take left of the axes."""
    return 0.15 + max((_points_wide(label, size) for label in labels), default=0) / 72


def _points_wide(text: str, size: float) -> float:
    return float(TextPath((0, 0), text, size=size).get_extents().width)


def legend_below(ax: Axes, columns: int) -> None:
    """Put the legend below the label of the horizontal axis."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    offset = ScaledTranslation(_LEGEND_SHIFT, -0.42, figure.dpi_scale_trans)
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=ax.transAxes + offset,
        ncols=columns,
        borderaxespad=0,
    )


def draw_best_of_k(
    ax: Axes,
    best: BestOfK,
    *,
    label: str = "",
    band: bool = True,
    color: str,
    linestyle: Any = "-",
    index: int = 0,
) -> None:
    """Draw the expected best of k random models, with the range of a single search."""
    style = {"color": color, "linestyle": linestyle}
    marker = "o" if len(best.k) == 1 else None
    name = legend_label(label)
    ax.plot(best.k, best.expected, marker=marker, label=name, gid=f"curve-{index}", **style)
    if band:
        # Errors are percent: an open end reaches the edge.
        low, high = np.maximum(best.low, 0.0), np.minimum(best.high, 100.0)
        area = ax.fill_between(best.k, low, high, color=color, alpha=0.1, linewidth=0)
        area.set_gid(f"band-{index}")
    ax.set(xlabel="models tried, k", ylabel="expected best error (%)", xscale="log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(_plain)
    ax.grid(True)


def draw_bootstrap(
    ax: Axes,
    values: FloatArray,
    errors: FloatArray,
    interval: BootstrapInterval,
    *,
    name: str,
    trend: ParameterTrend | None = None,
    error_range: tuple[float, float] | None = None,
    unit: str = "",
    color: str,
    index: int = 0,
) -> None:
    """Draw error against a parameter with the range of its best values, as in DDS figure 2.

    A trend is drawn as the line through the median errors of its bins; `unit`, above the panel,
    names its vertical axis.
    """
    if error_range is not None:
        low, high = error_range
        edge = 0.04 * (high - low)
        ax.set_ylim(low - edge, high + edge)
        # An SVG lacks dots outside of the figure, and the page's script counts them.
        errors = np.minimum(errors, high + 2 * edge)
    ax.axvspan(interval.low, interval.high, color=color, alpha=0.18, linewidth=0)
    ax.axvline(interval.median, color=color, linewidth=1.6, zorder=5)
    size = 2.2 if len(errors) > _FEW_DOTS else 4.0
    _draw_dots(ax, values, errors, size=size, color=INK, alpha=0.45, index=index)
    if trend is not None:
        ax.plot(trend.centers, trend.medians, color=INK, linewidth=1.0, zorder=4)
    _scale_parameter_axis(ax, name, values)
    ax.set_title(name, fontweight="bold", y=1.0, pad=4)
    ax.set_title(unit, loc="right", fontsize=8, y=1.0, pad=4)


def draw_names(
    ax: Axes,
    levels: Sequence[str],
    places: IntArray,
    errors: FloatArray,
    *,
    medians: Sequence[float],
    name: str,
    error_range: tuple[float, float],
    unit: str = "",
    color: str,
    index: int = 0,
) -> None:
    """Draw error against a parameter whose values are names, with the median error of each.

    `places` is the number in `levels` of each model's, `medians` that of each level; `unit`, above
    the panel, names its vertical axis.
    """
    low, high = error_range
    edge = 0.04 * (high - low)
    ax.set_ylim(low - edge, high + edge)
    for place, median in enumerate(medians):
        ax.plot([place - 0.3, place + 0.3], [median, median], color=color, linewidth=1.6, zorder=5)
    size = 2.2 if len(errors) > _FEW_DOTS else 4.0
    shown = np.minimum(errors, high + 2 * edge)  # as in `draw_bootstrap`
    _draw_dots(ax, places, shown, size=size, color=INK, alpha=0.45, index=index)
    ax.set_xlim(-0.5, len(levels) - 0.5)
    ax.set_xticks(range(len(levels)), levels)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.set_title(name, fontweight="bold", y=1.0, pad=4)
    ax.set_title(unit, loc="right", fontsize=8, y=1.0, pad=4)


def draw_widths(
    ax: Axes,
    networks: Sequence[FloatArray],
    trend: WidthTrend,
    *,
    width_range: tuple[float, float] | None = None,
    title: str = "",
    color: str,
) -> None:
    """Draw block width against block index for several networks, best first, on a log axis.

    `width_range` is the range of the vertical axis.
    """
    for rank, widths in enumerate(networks):
        ax.plot(
            range(1, len(widths) + 1),
            widths,
            drawstyle="steps-mid",
            color=color,
            alpha=1.0 if rank == 0 else 0.3,
            linewidth=1.8 if rank == 0 else 1.0,
        )
    longest = max(len(widths) for widths in networks)
    blocks = range(1, longest + 1)
    label = f"{trend.slope:.3g} (j + 1)"
    ax.plot(blocks, [trend.slope * j for j in blocks], color=INK, linestyle=":", label=label)
    ax.set(xlabel="block", ylabel="width", title=title, ylim=width_range)
    ax.set_yscale("log", base=2)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(LogLocator(base=2, numticks=7))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(_plain)
    ax.legend(loc="lower right")
    ax.grid(True)


def draw_fit_errors(
    ax: Axes,
    ranks: Any,
    errors: FloatArray,
    *,
    top: float | None = None,
    title: str = "",
    color: str,
) -> None:
    """Draw e_fit against the rank by error; `top` is the end of the vertical axis."""
    _draw_dots(ax, ranks, errors, size=3.0, color=color, alpha=0.7)
    ax.set(xlabel="rank by error", ylabel="e_fit", title=title)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(_plain)
    top = max(float(errors.max()) if top is None else top, 1e-3)
    ax.set_ylim(-0.03 * top, 1.05 * top)
    ax.grid(True)


def draw_differences(
    ax: Axes, pairs: Sequence[PairComparison], labels: Sequence[str], *, color: str | None = None
) -> None:
    """Draw each pair's difference of mean errors with its interval; the margin is shaded.

    Colors are those of the verdicts, unless one is passed.
    """
    margin = pairs[0].equivalence.margin
    ax.axvspan(-margin, margin, color=FAINT, alpha=0.45, linewidth=0)
    ax.axvline(0, color=INK, linewidth=0.8)
    for row, pair in enumerate(pairs):
        mean = pair.comparison.mean
        shade, marker = VERDICT_MARKERS[pair.verdict]
        _draw_interval(ax, row, mean.low, mean.value, mean.high, color or shade, marker)
    _label_rows(ax, labels)
    ax.xaxis.set_major_formatter(_plain)
    ax.set_xlabel("difference of mean error (points)")
    ax.spines["left"].set_visible(False)


def draw_edf_difference(
    ax: Axes, difference: EdfDifference, *, title: str = "", color: str, top: float = 1.0
) -> None:
    """Draw the difference of two EDFs with its band; `top` is the end of the vertical axis.

    Shaded are the errors at which the band excludes zero.
    """
    d = difference
    for region in d.regions:
        ax.axvspan(region.low, region.high, color=FAINT, alpha=0.45, linewidth=0)
    ax.axhline(0, color=INK, linewidth=0.8)
    x, (value, low, high) = _steps(d.errors, None, d.value, d.low, d.high)
    ax.plot(x, value, color=color)
    ax.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    ax.set(xlabel="error (%)", title=title, ylim=(-top, top))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(_plain)
    ax.grid(True)


def draw_importance(
    ax: Axes,
    shares: Sequence[tuple[str, Estimate]],
    controls: Sequence[tuple[str, Estimate]] = (),
    *,
    title: str = "",
    color: str,
) -> None:
    """Draw how much of the error's variation each parameter explains, and each control below."""
    for row, (_, share) in enumerate([*shares, *controls]):
        tint = color if row < len(shares) else INK
        _draw_interval(ax, row, share.low, share.value, share.high, tint, "o")
        if row >= len(shares):
            ax.lines[-2].set_linewidth(0.9)
            ax.lines[-1].set_markerfacecolor(GROUND)
    if controls and shares:
        ax.axhline(len(shares) - 0.5, color=FAINT, linewidth=0.9)
    _label_rows(ax, [name for name, _ in [*shares, *controls]])
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set(xlabel="of the variation explained", title=title)


def _draw_interval(
    ax: Axes, row: int, low: float, value: float, high: float, color: str, marker: str
) -> None:
    ax.plot([low, high], [row, row], color=color, linewidth=1.6)
    ax.plot([value], [row], marker, color=color, markersize=5.5)


def _label_rows(ax: Axes, labels: Sequence[str]) -> None:
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(True, axis="x")


def _steps(
    errors: FloatArray, until: float | None, *heights: FloatArray
) -> tuple[list[float], list[list[float]]]:
    """Return the corners of step functions that are 0 up to the first error.

    Steps that no screen can tell apart are merged, and those beyond the end are left out:
    Matplotlib would cut the path at the edge of the figure, and the page's script reads errors off
    its last corner.
    """
    end = errors[-1] if until is None else max(until, errors[0])
    levels = np.floor(np.stack(heights) * _LEVELS)
    kept = np.append(True, (np.diff(levels, axis=1) != 0).any(axis=0)) & (errors <= end)
    starts = errors[kept]
    ends = np.append(starts[1:], end)
    x = [float(errors[0]), *np.stack([starts, ends], axis=1).ravel().tolist()]
    return x, [[0.0, *np.repeat(one[kept], 2).tolist()] for one in heights]


def _draw_dots(
    ax: Axes, x: Any, y: Any, *, size: float, color: str, alpha: float, index: int = 0
) -> None:
    """Draw round dots: as one path, a tenth of markers' bytes in an SVG; or many as a bitmap."""
    if len(x) > _MAX_VECTOR_DOTS:
        alpha *= max(0.04, _MAX_VECTOR_DOTS / len(x))
        (line,) = ax.plot(x, y, "o", markersize=size, color=color, alpha=alpha, zorder=3)
        line.set(markeredgewidth=0, rasterized=True)
        return
    corners = np.repeat(np.column_stack([x, y]).astype(float), 2, axis=0)
    # Agg drops segments of length zero.
    corners[1::2, 0] += 1e-9 * max(1.0, float(np.ptp(corners[:, 0])))
    path = Path(corners, np.tile([Path.MOVETO, Path.LINETO], len(x)))
    path.should_simplify = False
    dots = PathPatch(
        path,
        fill=False,
        edgecolor=color,
        alpha=alpha,
        linewidth=size,
        capstyle="round",
        snap=False,
        zorder=3,
        gid=f"dots-{index}",
    )
    ax.add_patch(dots)
    ax.autoscale_view()


def _scale_parameter_axis(ax: Axes, name: str, values: FloatArray) -> None:
    """Choose a log axis for widths, `w_a`, powers of 2 and wide ranges of positive values."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    base = 2 if _POWERS.fullmatch(name) else 10 if high >= _WIDE * low else None
    if base is not None and low > 0:
        ax.set_xscale("log", base=base)
        # Drawing ticks is what takes the time in small panels.
        ax.xaxis.set_major_locator(LogLocator(base=base, numticks=5))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=bool(_DEPTHS.fullmatch(name))))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(_plain)


def _plain(value: float, _: float | None) -> str:
    return f"{value:g}".replace("-", "−")
