"""Plot runs, findings or plain arrays on your own axes, or on new ones.

Every function returns the axes; `save_figure(ax, "edf.pdf")` writes a file with embedded
fonts. `color`, `linestyle` and `label` apply to line, band and legend together; for several
populations they are lists. `style` sets the size of a new figure: "screen", "paper" (one
column) or "paper-wide" (two columns).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure

from designspace import arch
from designspace.analysis.findings import Findings, PopulationFindings
from designspace.analysis.load_results import Source, load_populations
from designspace.errors import InputError
from designspace.io.atomic_write import write_bytes
from designspace.report import draw_on_axes as draw
from designspace.report.figure_files import FORMATS, drawing_settings, saved
from designspace.report.palette import LEGEND_INSIDE, MOST_BANDS, Style, line_style
from designspace.report.trade_off_figures import draw_trade_off, scale_axes
from designspace.stats.arrays import Numbers
from designspace.stats.best_of_k import BestOfK, best_of_k
from designspace.stats.edf import Band, Edf, edf
from designspace.stats.edf_bands import equal_levels_band

Population = PopulationFindings | Numbers
Populations = Findings | Population | Mapping[str, Population | Source] | Source | Sequence[Source]
Option = str | Sequence[str] | None
# Matplotlib's colors: also (red, green, blue) or (name, opacity).
Color = str | Sequence[Any] | None
_SIZES = {"screen": (7.2, 3.9), "paper": (3.35, 2.5), "paper-wide": (6.9, 3.5)}
_PNG_DPI = 300
# Share of each population's models that the axis of errors has room for.
_SHOWN = 0.98


def plot_edf(
    data: Populations,
    ax: Axes | None = None,
    *,
    label: Option = None,
    color: Color = None,
    linestyle: Any = None,
    style: Style = "screen",
    band: bool | None = None,
) -> Axes:
    """Plot error distributions (EDFs): the share of models with an error below each value.

    Args:
        data: Runs or their folders, findings, one population of them, errors in percent (n,), or a
            mapping from names to runs, populations of findings or errors.
        ax: Axes to draw on; a new figure by default.
        label: Name in the legend, behind [lowest | mean]; a list for several populations.
        color: Color of line, band and legend; a list for several populations.
        linestyle: Matplotlib's line style; a list for several populations.
        style: "screen", "paper" (one column wide) or "paper-wide" (two columns).
        band: Whether to draw the 95 % confidence bands; by default those of up to three
            populations.

    Returns:
        The axes; `save_figure(ax, "edf.pdf")` writes a file.

    Raises:
        InputError: A run has no errors, or there are not as many labels, colors or line styles as
            populations.

    Example:
        >>> import designspace as ds
        >>> ax = ds.plot_edf([31.2, 30.1, 35.8], label="mine", color="#c33c0a")
        >>> ax.get_legend().get_texts()[0].get_text()
        '[30.1 | 32.4] mine'
    """
    populations = _populations(data)
    bands = len(populations) <= MOST_BANDS if band is None else band
    edfs = [_edf_of(one) for one in populations.values()]
    until = max(float(function.errors[-1]) for function, _ in edfs)
    with _axes(ax, style) as (axes, start):
        styles = _styles(list(populations), start, label, color, linestyle)
        for (function, area), options in zip(edfs, styles, strict=True):
            draw.draw_edf(axes, function, area if bands else None, until=until, **options)
        if ax is None:
            _show_most([function for function, _ in edfs], axes)
        _legend(axes, "lower right", fresh=ax is None)
    return axes


def plot_best_of_k(
    data: Populations,
    ax: Axes | None = None,
    *,
    label: Option = None,
    color: Color = None,
    linestyle: Any = None,
    style: Style = "screen",
    band: bool | None = None,
) -> Axes:
    """Plot the expected best error of k random models, with the range of a single search.

    The arguments are those of `plot_edf`.

    Returns:
        The axes.

    Example:
        >>> import designspace as ds
        >>> ax = ds.plot_best_of_k({"mine": [31.2, 30.1, 35.8], "yours": [32.5, 33.0, 29.9]})
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['mine', 'yours']
    """
    populations = _populations(data)
    bands = len(populations) <= MOST_BANDS if band is None else band
    with _axes(ax, style) as (axes, start):
        styles = _styles(list(populations), start, label, color, linestyle)
        for one, options in zip(populations.values(), styles, strict=True):
            draw.draw_best_of_k(axes, _best_of_k_of(one), band=bands, **options)
        _legend(axes, "upper right", fresh=ax is None)
    return axes


def plot_differences(
    data: Findings,
    ax: Axes | None = None,
    *,
    label: Sequence[str] | None = None,
    color: str | None = None,
    style: Style = "screen",
) -> Axes:
    """Plot the difference of mean error of each pair of populations, with its interval.

    Args:
        data: Findings of two populations or more.
        ax: Axes to draw on; a new figure by default.
        label: One text a pair; by default the names of its populations.
        color: One color in place of those of the verdicts.
        style: "screen", "paper" (one column wide) or "paper-wide" (two columns).

    Returns:
        The axes.

    Raises:
        InputError: There is no pair, there are not as many labels as pairs, or no such color.
    """
    pairs = data.comparisons
    if not pairs:
        raise InputError("data has no pair of populations to compare", argument="data")
    labels = [f"{pair.second} − {pair.first}" for pair in pairs]
    if label is not None:
        labels = [label] if isinstance(label, str) else list(label)
    if len(labels) != len(pairs):
        raise InputError(
            f"label needs {len(pairs)}, one for each pair; found {len(labels)}", "label"
        )
    if color is not None:
        _check_color(color)
    with _axes(ax, style) as (axes, _):
        draw.draw_differences(axes, pairs, labels, color=color)
        figure = axes.get_figure(root=True)
        if ax is None and figure is not None:
            figure.set_size_inches(figure.get_size_inches()[0], 0.7 + 0.26 * len(pairs))
    return axes


def plot_trade_off(
    data: Findings,
    against: str | None = None,
    ax: Axes | None = None,
    *,
    label: Option = None,
    color: Color = None,
    linestyle: Any = None,
    style: Style = "screen",
    band: bool | None = None,
) -> Axes:
    """Plot the best error within a cost, with the models on each population's Pareto front.

    Args:
        data: Findings of an analysis against at least one cost.
        against: Which of its costs; by default the first.
        ax: Axes to draw on; a new figure by default.
        label: Name in the legend; a list for several populations.
        color: Color of line, band, dots and legend; a list for several populations.
        linestyle: Matplotlib's line style; a list for several populations.
        style: "screen", "paper" (one column wide) or "paper-wide" (two columns).
        band: Whether to draw bands and fronts; by default those of up to three populations.

    Returns:
        The axes.

    Raises:
        InputError: The analysis was not against that cost.
    """
    costs = dict.fromkeys(one.measure for one in data.trade_offs)
    if not costs or (against is not None and against not in costs):
        analyzed = ", ".join(costs) or "no cost: analyze(..., against='flops')"
        raise InputError(f"against is {against!r}; the findings are against {analyzed}", "against")
    trade_off = next(one for one in data.trade_offs if against in (None, one.measure))
    parts = trade_off.populations
    bands = len(parts) <= MOST_BANDS if band is None else band
    with _axes(ax, style) as (axes, start):
        styles = _styles([part.name for part in parts], start, label, color, linestyle)
        for part, options in zip(parts, styles, strict=True):
            draw_trade_off(axes, part, band=bands, front=bands, **options)
        scale_axes(axes, trade_off)
        _legend(axes, "upper right", fresh=ax is None)
    return axes


def save_figure(figure: Axes | Figure, path: str | Path) -> Path:
    """Write a figure, or that of axes, as SVG, PNG or PDF (fonts embedded), by the path's suffix.

    Args:
        figure: The figure, or axes of it.
        path: The file: .svg, .png or .pdf.

    Returns:
        The path.

    Raises:
        InputError: The suffix is another, or the file cannot be written.

    Example:
        >>> import designspace as ds
        >>> ax = ds.plot_edf([31.2, 30.1, 35.8], style="paper")
        >>> ds.save_figure(ax, "edf.pdf").name
        'edf.pdf'
    """
    if not isinstance(figure, Axes | Figure):
        raise InputError(f"figure is {figure!r}; it must be Axes or a Figure", "figure")
    path = Path(path)
    suffix = path.suffix[1:].lower()
    if suffix not in FORMATS:
        raise InputError(f"{path}: a figure's file ends with .{', .'.join(FORMATS)}", "path")
    root = figure.get_figure(root=True)
    if root is None:
        raise InputError("figure: these axes were removed from theirs", "figure")
    with drawing_settings("screen"):
        write_bytes(path, saved(root, suffix, _PNG_DPI))
    return path


@contextmanager
def _axes(ax: Axes | None, style: Style) -> Iterator[tuple[Axes, int]]:
    """Yield the axes, and the number of populations that they already show."""
    if style not in _SIZES:
        raise InputError(f"style is {style!r}; it must be one of {', '.join(_SIZES)}", "style")
    with drawing_settings(style) if ax is None else nullcontext():
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.figure(figsize=_SIZES[style], layout="constrained").add_subplot()
        curves = [line for line in ax.lines if str(line.get_gid()).startswith("curve-")]
        yield ax, len(curves)


def _populations(data: Populations) -> Mapping[str, Population]:
    if isinstance(data, Findings):
        if not data.populations:
            raise InputError("data has no model with an error", "data")
        return {p.name: p for p in data.populations}
    if isinstance(data, PopulationFindings):
        return {data.name: data}
    if isinstance(data, Mapping) and data:
        return {name: _errors_of(one) for name, one in data.items()}
    several = isinstance(data, list | tuple) and len(data) > 0
    first = data[0] if several else data  # type: ignore[index]
    if isinstance(first, Source | arch.Population):
        runs = load_populations(data, argument="data")  # type: ignore[arg-type]
        return {results.name: results.counted_errors for results in runs}
    if data is None or isinstance(data, int | float):
        raise InputError(f"data is {data}; it must be runs, findings or errors", "data")
    if not several and len(data) == 0:  # type: ignore[arg-type]
        raise InputError("data is empty; give at least one run or error", "data")
    return {"": data}  # type: ignore[dict-item]


def _errors_of(one: Population | Source) -> Population:
    """Return the errors of a run, and anything else as it is."""
    if isinstance(one, Source | arch.Population):
        return load_populations(one, argument="data")[0].counted_errors
    return one


def _edf_of(population: Population) -> tuple[Edf, Band]:
    if isinstance(population, PopulationFindings):
        return population.edf, population.band
    function = edf(population)
    return function, equal_levels_band(function)


def _show_most(edfs: Sequence[Edf], ax: Axes) -> None:
    """Show errors from the lowest to where 98 % of each population lie: a tail hides the rest."""
    low = min(function.minimum for function in edfs)
    high = max(float(f.errors[np.searchsorted(f.cumulative, _SHOWN)]) for f in edfs)
    margin = 0.04 * (high - low) or 1.0
    ax.set_xlim(low - margin, high + margin)


def _best_of_k_of(population: Population) -> BestOfK:
    if isinstance(population, PopulationFindings):
        return population.best_of_k
    return best_of_k(population)


def _styles(
    names: Sequence[str], start: int, label: Option, color: Color, linestyle: Any
) -> list[dict[str, Any]]:
    """Return each population's style: the caller's choice, else the palette's."""
    styles = [
        {**line_style(start + i), "label": name, "index": start + i} for i, name in enumerate(names)
    ]
    chosen = {"label": label, "color": color, "linestyle": linestyle}
    for key, values in chosen.items():
        if values is None:
            continue
        each = _each(key, values, len(names))
        if len(each) != len(names):
            raise InputError(
                f"{key} needs {len(names)}, one for each population; found {len(each)}", key
            )
        for one, value in zip(styles, each, strict=True):
            one[key] = value
    for one in styles:
        _check_color(one["color"])
    return styles


def _check_color(color: Any) -> None:
    if not is_color_like(color):
        raise InputError(f"color is {color!r}; give a name such as crimson, or #c33c0a", "color")


def _each(key: str, values: Any, count: int) -> list[Any]:
    """Return an option of every population: one value for all, or a sequence of one for each."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        return [values] * count
    # A tuple is a pattern of dashes.
    if key == "linestyle" and not isinstance(values, list):
        return [values] * count
    each = list(values)
    # Numbers are parts of one color: red, green and blue, or opacity.
    if key == "color" and any(isinstance(value, Real) for value in each):
        return [tuple(each)] * count
    return each


def _legend(ax: Axes, corner: Literal["lower right", "upper right"], fresh: bool) -> None:
    """Put the legend inside, or of many populations below; a figure of our own grows by it.

    Without a name there is none.
    """
    labels, figure = ax.get_legend_handles_labels()[1], ax.get_figure(root=True)
    if not labels:
        return
    if len(labels) <= LEGEND_INSIDE or figure is None:
        ax.legend(loc=corner)
        return
    size, (width, height) = float(rcParams["legend.fontsize"]), figure.get_size_inches().tolist()
    columns = draw.legend_columns(labels, width, size, ax.get_position().x0 * width)
    draw.legend_below(ax, columns)
    if fresh:
        figure.set_size_inches(width, height + 0.02 * size * -(-len(labels) // columns))
