"""One function a result: each draws it on given axes, and computes nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from designspace.analysis.importance import ParameterTrend
from designspace.analysis.pairwise import PairComparison
from designspace.analysis.quantized_linear_fit import WidthTrend
from designspace.report.palette import COLORS, FAINT, INK, color, dash
from designspace.report.svg import DOTS
from designspace.stats.arrays import FloatArray
from designspace.stats.bootstrap import BestOfK, BootstrapInterval
from designspace.stats.edf import Band, Edf

# A curve rises in so many levels at most, finer than any screen: each takes its bytes in the page.
_LEVELS = 2000
# More dots than these are a bitmap: each would take its bytes in the page.
_MOST_DOTS = 1500
# Colour and marker of a verdict: two cues, for those who see no colours.
_VERDICT_LOOKS = {
    "better": (COLORS[2], "o"),
    "worse": (COLORS[1], "s"),
    "equivalent": (COLORS[0], "D"),
    "undecided": (INK, "|"),
}


def draw_edf(
    ax: Axes,
    function: Edf,
    band: Band | None = None,
    *,
    label: str = "",
    index: int = 0,
    until: float | None = None,
) -> None:
    """Draw an EDF as the exact step function (of many steps those that can be told apart), with
    its band, and the papers' legend.

    Args:
        ax: Where to draw.
        function: The EDF.
        band: Its band, if it is wanted.
        label: Name in the legend, behind [minimum | mean].
        index: Which colour and line style.
        until: Error up to which the curve is drawn on at height 1, past its last model.
    """
    x, (y,) = _steps(function.errors, until, function.cumulative)
    text = f"{function.legend} {label}".strip()
    ax.plot(x, y, color=color(index), linestyle=dash(index), label=text, solid_capstyle="butt")
    if band is not None:
        x, (low, high) = _steps(band.errors, until, band.low, band.high)
        ax.fill_between(x, low, high, color=color(index), alpha=0.11, linewidth=0)
    ax.set(xlabel="error, %", ylabel="share of models below", ylim=(0, 1.02))
    ax.grid(True)


def draw_best_of_k(ax: Axes, found: BestOfK, *, label: str = "", index: int = 0) -> None:
    """Draw the expected best of k random models, with the interval of a single search."""
    style = {"color": color(index), "linestyle": dash(index)}
    ax.plot(found.k, found.expected, label=label, **style)
    ax.fill_between(found.k, found.low, found.high, color=color(index), alpha=0.1, linewidth=0)
    ax.set(xlabel="models tried, k", ylabel="expected best error, %", xscale="log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
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
    index: int = 0,
) -> None:
    """Draw error against a parameter with the interval of its best values, as in DDS figure 2.

    A trend is drawn as the line through the median errors of its bins. `unit` says above the panel
    what its vertical axis is.
    """
    if error_range is not None:
        ax.set_ylim(*error_range)
    ax.axvspan(interval.low, interval.high, color=color(index), alpha=0.18, linewidth=0)
    ax.axvline(interval.median, color=color(index), linewidth=1.6, zorder=5)
    _dots(ax, values, errors, size=2.2, color=INK, alpha=0.45)
    if trend is not None:
        ax.plot(trend.centers, trend.medians, color=INK, linewidth=1.0, zorder=4)
    _parameter_axis(ax, name, values)
    ax.set_title(name, fontweight="bold", y=1.0, pad=4)
    ax.set_title(unit, loc="right", fontsize=8, y=1.0, pad=4)


def draw_widths(
    ax: Axes, networks: Sequence[FloatArray], trend: WidthTrend, *, title: str = "", index: int = 0
) -> None:
    """Draw block width against block index for several networks, best first, on a log axis."""
    for rank, widths in enumerate(networks):
        ax.plot(
            range(1, len(widths) + 1),
            widths,
            drawstyle="steps-mid",
            color=color(index),
            alpha=1.0 if rank == 0 else 0.3,
            linewidth=1.8 if rank == 0 else 1.0,
        )
    longest = max(len(widths) for widths in networks)
    blocks = range(1, longest + 1)
    label = f"{trend.slope:.3g} (j + 1)"
    ax.plot(blocks, [trend.slope * j for j in blocks], color=INK, linestyle=":", label=label)
    ax.set(xlabel="block", ylabel="width", yscale="log", title=title)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: "")
    ax.legend(loc="lower right")
    ax.grid(True)


def draw_fit_errors(
    ax: Axes, ranks: Any, errors: FloatArray, *, title: str = "", index: int = 0
) -> None:
    """Draw e_fit against the rank of error."""
    _dots(ax, ranks, errors, size=3.0, color=color(index), alpha=0.7)
    ax.set(xlabel="rank by error", ylabel="e_fit", title=title)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_ylim(bottom=-0.03 * max(float(errors.max()), 1e-3))  # dots at zero are whole
    ax.grid(True)


def draw_differences(ax: Axes, pairs: Sequence[PairComparison], labels: Sequence[str]) -> None:
    """Draw the difference of mean errors of each pair with its interval; the margin is shaded."""
    margin = pairs[0].equivalence.margin
    ax.axvspan(-margin, margin, color=FAINT, alpha=0.45, linewidth=0)
    ax.axvline(0, color=INK, linewidth=0.8)
    for row, pair in enumerate(pairs):
        mean = pair.comparison.mean
        look = _VERDICT_LOOKS[pair.verdict]
        ax.plot([mean.low, mean.high], [row, row], color=look[0], linewidth=1.6)
        ax.plot([mean.value], [row], look[1], color=look[0], markersize=5.5)
    ax.set_yticks(range(len(pairs)), labels)
    ax.set_ylim(len(pairs) - 0.4, -0.6)
    ax.set_xlabel("difference of mean error, %")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(True, axis="x")


def draw_importance(
    ax: Axes, trends: Sequence[ParameterTrend], *, title: str = "", index: int = 0
) -> None:
    """Draw how much of the error's variation each parameter explains, the most first."""
    for row, trend in enumerate(trends):
        found = trend.importance
        ax.plot([found.low, found.high], [row, row], color=color(index), linewidth=1.6)
        ax.plot([found.value], [row], "o", color=color(index), markersize=5)
    ax.set_yticks(range(len(trends)), [trend.name for trend in trends])
    ax.set_ylim(len(trends) - 0.4, -0.6)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set(xlabel="of the variation explained", title=title)
    ax.tick_params(axis="y", length=0)
    ax.grid(True, axis="x")


def _steps(
    errors: FloatArray, until: float | None, *heights: FloatArray
) -> tuple[list[float], list[list[float]]]:
    """The corners of step functions that are 0 up to the first error; of many, those to be seen."""
    levels = np.floor(np.stack(heights) * _LEVELS)
    seen = np.append(True, (np.diff(levels, axis=1) != 0).any(axis=0))
    starts = errors[seen]
    ends = np.append(starts[1:], max(errors[-1], until or errors[-1]))
    x = [float(errors[0]), *np.stack([starts, ends], axis=1).ravel().tolist()]
    return x, [[0.0, *np.repeat(one[seen], 2).tolist()] for one in heights]


def _dots(ax: Axes, x: Any, y: Any, *, size: float, color: str, alpha: float) -> None:
    """Draw a cloud of round dots; large clouds as a bitmap, and fainter."""
    many = len(y) > _MOST_DOTS
    alpha *= max(0.04, _MOST_DOTS / len(y)) if many else 1.0
    (line,) = ax.plot(
        x, y, "o", markersize=size, color=color, alpha=alpha, markeredgewidth=0, zorder=3
    )
    if many:
        line.set_rasterized(True)
    else:
        line.set_gid(f"{DOTS}-{size}")


def _parameter_axis(ax: Axes, name: str, values: FloatArray) -> None:
    """Widths, slopes and ratios of 2 on a log axis, depths and w_m on a linear one."""
    logarithmic = name[0] in "bgw" and name != "w_m" and values.min() > 0
    if logarithmic:
        ax.set_xscale("log", base=2)
        # Four ticks at most: drawing ticks is what takes the time in small panels.
        ax.xaxis.set_major_locator(LogLocator(base=2, numticks=5))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=name[0] == "d"))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
