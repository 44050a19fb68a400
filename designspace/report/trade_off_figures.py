"""Figures of trade-offs: the best error within a cost, and the models on the front."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from designspace.analysis.trade_off import PopulationTradeOff, TradeOff
from designspace.report.draw_on_axes import legend_label, short_name
from designspace.report.figure_files import ONE_COLUMN, Figure, Panel
from designspace.report.palette import FAINT, GROUND, MOST_BANDS, color, line_style
from designspace.stats.arrays import FloatArray

# Ranges of cost below this ratio have evenly spaced ticks.
_NARROW = 6.0
# Section of the page.
TRADE_OFF = "trade_off"


def trade_off_figures(trade_offs: Sequence[TradeOff], names: Sequence[str]) -> tuple[Figure, ...]:
    """Return one figure for each trade-off; `names` are those of the report's populations."""
    return tuple(
        _figure(trade_off, f"trade_off_{key}", names)
        for trade_off, key in zip(trade_offs, trade_off_keys(trade_offs), strict=True)
    )


def trade_off_keys(trade_offs: Sequence[TradeOff]) -> list[str]:
    """Return a name of each: its measure, numbered from the second setting of one on."""
    keys: list[str] = []
    for trade_off in trade_offs:
        number = 1 + sum(other.measure == trade_off.measure for other in trade_offs[: len(keys)])
        keys.append(trade_off.measure if number == 1 else f"{trade_off.measure}-{number}")
    return keys


def wide_and_narrow(figure: Figure) -> tuple[Figure, ...]:
    """Return a figure of one panel as the page has it: with labels for wide screens, and a legend.

    Of several panels, nothing: they flow.
    """
    if figure.narrow is None:
        return ()
    return (
        replace(figure, key=f"{figure.key}-wide", size=(9.6, 4.2), right=figure.right + 0.1),
        replace(figure.narrow, key=f"{figure.key}-narrow", size=(4.6, 4.0)),
    )


def draw_trade_off(
    ax: Axes,
    part: PopulationTradeOff,
    *,
    label: str = "",
    band: bool = True,
    front: bool = True,
    color: str,
    linestyle: Any = "-",
    index: int = 0,
) -> None:
    """Draw the best error within each cost with its band, and the models on the front as dots.

    A dot is open if the model is on the front of less than half of the bootstrap samples.
    """
    best = part.best
    finite = np.isfinite(best.errors)
    style = {"color": color, "linestyle": linestyle, "drawstyle": "steps-post"}
    x, y = best.costs[finite], best.errors[finite]
    ax.plot(x, y, label=legend_label(label), gid=f"curve-{index}", solid_capstyle="butt", **style)
    if band:
        # Errors are percent: an open end reaches the edge.
        low, high = np.maximum(best.low[finite], 0.0), np.minimum(best.high[finite], 100.0)
        area = ax.fill_between(x, low, high, step="post", color=color, alpha=0.13, linewidth=0)
        area.set_gid(f"band-{index}")
    if front:
        often = part.frequency >= 0.5
        for chosen, face in ((often, color), (~often, GROUND)):
            ax.plot(
                part.costs[chosen],
                part.errors[chosen],
                "o",
                markersize=4.2,
                markerfacecolor=face,
                markeredgecolor=color,
                markeredgewidth=1.0,
                zorder=4,
            )


def scale_axes(ax: Axes, trade_off: TradeOff) -> None:
    """Give the axes the range and the labels of a trade-off."""
    setting = "" if trade_off.setting is None else f", batch {trade_off.setting.batch}"
    ax.set_xscale("log")
    low, high = _cost_range(trade_off)
    ax.set_xlim(low, high)
    ax.set_ylim(*_error_range(trade_off))
    ax.set(xlabel=f"{trade_off.cost}{setting}", ylabel="error (%)")
    wide = high / low > _NARROW
    ax.xaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)) if wide else MaxNLocator(5)
    )
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: trade_off.format(value))
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.grid(True)


def label_ends(
    ax: Axes, ends: FloatArray, labels: Sequence[str], styles: Sequence[dict[str, Any]]
) -> None:
    """Label curves right of the axes, at the height of their ends or as near as there is room."""
    low, high = ax.get_ylim()
    size = float(ax.xaxis.label.get_fontsize())
    step = 1.5 * size / (72 * ax.get_window_extent().height / ax.figure.dpi)
    at = (np.clip(ends, low, high) - low) / (high - low)
    order = np.argsort(at, kind="stable")
    heights = _spread(at[order], step)
    for index, height in zip(order.tolist(), heights.tolist(), strict=True):
        options: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False}
        tint = styles[index]["color"]
        ax.plot([1.0, 1.03], [at[index], height], color=tint, linewidth=0.7, **options)
        ax.plot([1.03, 1.07], [height, height], **styles[index], **options)
        ax.text(1.085, height, labels[index], va="center", fontsize=size, transform=ax.transAxes)


def _spread(heights: FloatArray, step: float) -> FloatArray:
    """Move ascending heights apart by at least `step`, as little as possible, within 0 to 1."""
    n = len(heights)
    offsets = step * np.arange(n)
    # Isotonic regression of the heights less their offsets: pools those that are too close.
    blocks: list[tuple[float, int]] = []
    for value in (heights - offsets).tolist():
        mean, size = value, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (mean * size + before * count) / (size + count), size + count
        blocks.append((mean, size))
    result = np.concatenate([np.full(size, mean) for mean, size in blocks]) + offsets
    return np.asarray(np.clip(result, offsets, np.maximum(offsets, 1 - step * np.arange(n)[::-1])))


def _figure(trade_off: TradeOff, key: str, names: Sequence[str]) -> Figure:
    many = len(trade_off.populations) > MOST_BANDS
    caption = _caption(trade_off, many)
    if many:
        panels = tuple(
            Panel(
                partial(_draw_among, trade_off=trade_off, chosen=i, names=names),
                f"{part.name} among all. {_in_words(trade_off, part)}",
            )
            for i, part in enumerate(trade_off.populations)
        )
        return Figure(key, TRADE_OFF, caption, panels, (3.4, 2.5), 3)
    alt = f"Best error within {trade_off.cost}. " + " ".join(
        f"{part.name}: {_in_words(trade_off, part)}" for part in trade_off.populations
    )
    panel = Panel(partial(_draw_all, trade_off=trade_off, names=names, labels=True), alt)
    longest = max(len(short_name(part.name)) for part in trade_off.populations)
    legend = partial(_draw_all, trade_off=trade_off, names=names, labels=False)
    narrow = Figure(key, TRADE_OFF, caption, (Panel(legend, alt),), (ONE_COLUMN, 2.6))
    right = 0.75 + 0.075 * longest
    return Figure(key, TRADE_OFF, caption, (panel,), (7.2, 3.9), right=right, narrow=narrow)


def _draw_all(ax: Axes, trade_off: TradeOff, names: Sequence[str], labels: bool) -> None:
    parts = trade_off.populations
    styles = [line_style(names.index(part.name)) for part in parts]
    for part, style in zip(parts, styles, strict=True):
        index = names.index(part.name)
        draw_trade_off(ax, part, label=short_name(part.name), index=index, **style)
    scale_axes(ax, trade_off)
    if labels:
        ends = np.array([part.best.errors[-1] for part in parts])
        label_ends(ax, ends, [short_name(part.name) for part in parts], styles)
    else:
        ax.legend(loc="upper right")


def _draw_among(ax: Axes, trade_off: TradeOff, chosen: int, names: Sequence[str]) -> None:
    """Draw one population's trade-off, the others' in the background."""
    for part in trade_off.populations:
        draw_trade_off(ax, part, band=False, front=False, color=FAINT)
    part = trade_off.populations[chosen]
    index = names.index(part.name)
    draw_trade_off(ax, part, index=index, color=color(index))
    scale_axes(ax, trade_off)
    ax.xaxis.set_major_locator(MaxNLocator(3) if _ratio(trade_off) < _NARROW else LogLocator())
    ax.set_title(short_name(part.name))


def _ratio(trade_off: TradeOff) -> float:
    low, high = _cost_range(trade_off)
    return high / low


def _cost_range(trade_off: TradeOff) -> tuple[float, float]:
    cheapest = min(float(part.costs.min()) for part in trade_off.populations)
    low, high = min(trade_off.box.low, cheapest), trade_off.box.high
    margin = (high / low) ** 0.03
    return low / margin, high * margin


def _error_range(trade_off: TradeOff) -> tuple[float, float]:
    """Return the errors of all curves, lower edges and fronts, up to the reference error."""
    shown = [value for part in trade_off.populations for value in _shown(part)]
    low, high = min(shown), min(max(shown), trade_off.box.error)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _shown(part: PopulationTradeOff) -> list[float]:
    best = part.best
    finite = np.isfinite(best.errors)
    edges = np.concatenate([best.errors[finite], best.low[finite], part.errors])
    return [float(value) for value in edges if np.isfinite(value)]


def _caption(trade_off: TradeOff, many: bool) -> str:
    searches = f"{trade_off.k} random models" if trade_off.k > 1 else "one random model"
    each = "Each panel: one population, the others gray. " if many else ""
    return (
        f"{each}Line: the error that half of the searches over {searches} reach within each "
        f"cost, the same number for every population; band: 95 % for the whole line. Dots: the "
        "models on the front of the sample, open where less than half of the bootstrap samples "
        "keep them; a larger sample has a better front."
    )


def _in_words(trade_off: TradeOff, part: PopulationTradeOff) -> str:
    finite = np.flatnonzero(np.isfinite(part.best.errors))
    if not len(finite):
        return "no error within these costs."
    first, last = finite[0], finite[-1]
    ends = " and ".join(
        f"{part.best.errors[i]:.1f} % within {trade_off.format(part.best.costs[i])}"
        for i in (first, last)
    )
    return f"{ends}; {len(part.rows)} of {part.n} models on the front."
