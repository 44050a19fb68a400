"""Plot findings or plain arrays on your own axes, or on new ones.

Every function returns the axes; `save_figure(ax.figure, "edf.pdf")` writes a file with embedded
fonts. `color`, `linestyle` and `label` apply to line, band and legend together; for several
populations they are lists. `style` sets the size of a new figure: "screen", "paper" (one
column) or "paper-wide" (two columns).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from designspace.analysis.findings import Findings, PopulationFindings
from designspace.errors import InputError
from designspace.io.atomic_write import write_bytes
from designspace.report import drawings as draw
from designspace.report.palette import Style, line_style
from designspace.report.render import check_formats, drawing_settings, saved
from designspace.stats.arrays import Numbers, as_float_array
from designspace.stats.best_of_k import BestOfK, best_of_k
from designspace.stats.bootstrap import bootstrap
from designspace.stats.edf import Band, Edf, edf
from designspace.stats.edf_bands import equal_levels_band

Population = PopulationFindings | Numbers
Populations = Findings | Population | Mapping[str, Population]
Option = str | list[str] | None
_SIZES = {"screen": (7.2, 3.9), "paper": (3.35, 2.5), "paper-wide": (6.9, 3.5)}
# With more populations than this, a legend inside would hide the curves.
_LEGEND_INSIDE = 4


def plot_edf(
    data: Populations,
    ax: Axes | None = None,
    *,
    label: Option = None,
    color: Option = None,
    linestyle: Any = None,
    style: Style = "screen",
    band: bool = True,
) -> Axes:
    """Plot error distributions (EDFs): the share of models with an error below each value.

    Args:
        data: Findings, one population of them, errors in percent (n,), or a mapping from names to
            errors.
        ax: Axes to draw on; a new figure by default.
        label: Name in the legend, behind [lowest | mean].
        color: Color of line, band and legend.
        linestyle: Matplotlib's line style.
        style: "screen", "paper" or "paper-wide".
        band: Whether to draw the 95 % confidence bands.

    Example:
        >>> import designspace as ds
        >>> ax = ds.plot_edf([31.2, 30.1, 35.8], label="mine", color="#c33c0a")
        >>> ax.get_legend().get_texts()[0].get_text()
        '[30.1 | 32.4] mine'
    """
    populations = _populations(data)
    with _axes(ax, style) as (axes, start):
        for i, (name, one) in enumerate(populations.items()):
            function, area = _edf_of(one)
            options = _options(start + i, i, label, color, linestyle, name)
            draw.draw_edf(axes, function, area if band else None, **options)
        _legend(axes, "lower right")
    return axes


def plot_best_of_k(
    data: Populations,
    ax: Axes | None = None,
    *,
    band: bool = True,
    label: Option = None,
    color: Option = None,
    linestyle: Any = None,
    style: Style = "screen",
) -> Axes:
    """Plot the expected best error of k random models, with the range of a single search.

    The arguments are those of `plot_edf`.
    """
    populations = _populations(data)
    with _axes(ax, style) as (axes, start):
        for i, (name, one) in enumerate(populations.items()):
            options = _options(start + i, i, label, color, linestyle, name)
            draw.draw_best_of_k(axes, _best_of_k_of(one), band=band, **options)
        _legend(axes, "upper right")
    return axes


def plot_bootstrap(
    data: PopulationFindings | Numbers,
    by: str | Numbers,
    ax: Axes | None = None,
    *,
    label: str | None = None,
    color: str | None = None,
    style: Style = "screen",
) -> Axes:
    """Plot error against one parameter, with the range of the best models' values.

    Args:
        data: A population of findings, or errors in percent (n,).
        by: The parameter's name, or its values (n,).
        ax: Axes to draw on; a new figure by default.
        label: Title; by default the parameter's name.
        color: Color of the range of the best.
        style: "screen", "paper" or "paper-wide".

    Raises:
        InputError: The population has no such parameter.
    """
    name = by if isinstance(by, str) else label or ""
    trend = None
    if isinstance(data, PopulationFindings) and isinstance(by, str):
        columns = data.results.counted_parameters()
        if by not in columns:
            raise InputError(
                f"by is {by!r}; the parameters of {data.name} are {', '.join(columns)}",
                argument="by",
            )
        values, errors, interval = columns[by], data.results.counted_errors, data.bootstrap[by]
        trend = next((trend for trend in data.trends if trend.name == by), None)
    elif isinstance(data, PopulationFindings) or isinstance(by, str):
        raise InputError("by must be a name with findings, and values with errors", argument="by")
    else:
        values, errors = as_float_array(by, "by"), as_float_array(data, "data")
        interval = bootstrap(values, errors)
    with _axes(ax, style) as (axes, _):
        chosen = color or line_style(0)["color"]
        draw.draw_bootstrap(axes, values, errors, interval, name=name, trend=trend, color=chosen)
        axes.set(title=label or name, ylabel="error (%)")
    return axes


def plot_widths(
    data: PopulationFindings,
    ax: Axes | None = None,
    *,
    color: str | None = None,
    label: str | None = None,
    style: Style = "screen",
) -> Axes:
    """Plot the block widths of a population's best models, with the line that fits them best."""
    if data.widths is None or data.results.bodies is None:
        raise InputError(f"data: the block widths of {data.name} are unknown", argument="data")
    bodies, widths = data.results.bodies, data.widths
    networks = [bodies.block_widths(int(row)).astype(float) for row in widths.best_rows]
    options = _titled(data, label, color)
    with _axes(ax, style) as (axes, _):
        draw.draw_widths(axes, networks, widths.trend, **options)
    return axes


def plot_fit_errors(
    data: PopulationFindings,
    ax: Axes | None = None,
    *,
    top: float | None = None,
    label: str | None = None,
    color: str | None = None,
    style: Style = "screen",
) -> Axes:
    """Plot each model's distance from quantized linear widths (e_fit) against its rank by error.

    `top` is the end of the vertical axis, to compare populations on one scale.
    """
    if data.widths is None:
        raise InputError(f"data: the block widths of {data.name} are unknown", argument="data")
    options = _titled(data, label, color)
    with _axes(ax, style) as (axes, _):
        draw.draw_fit_errors(axes, data.widths.ranks, data.widths.fits.error, top=top, **options)
    return axes


def plot_importance(
    data: PopulationFindings,
    ax: Axes | None = None,
    *,
    most: int = 8,
    label: str | None = None,
    color: str | None = None,
    style: Style = "screen",
) -> Axes:
    """Plot the share of the error's variation that each of the `most` important parameters explains
    on its own.
    """
    options = _titled(data, label, color)
    with _axes(ax, style) as (axes, _):
        draw.draw_importance(axes, data.trends[:most], **options)
    return axes


def plot_differences(data: Findings, ax: Axes | None = None, *, style: Style = "screen") -> Axes:
    """Plot the difference of mean error of each pair of populations, with its interval."""
    if not data.comparisons:
        raise InputError("data has no pair of populations to compare", argument="data")
    labels = [f"{pair.second} − {pair.first}" for pair in data.comparisons]
    with _axes(ax, style) as (axes, _):
        draw.draw_differences(axes, data.comparisons, labels)
    return axes


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as SVG, PNG or PDF (fonts embedded), by the suffix of the path.

    Raises:
        InputError: The suffix is another, or the file cannot be written.
    """
    path = Path(path)
    (suffix,) = check_formats((path.suffix[1:],))
    with drawing_settings("screen"):
        write_bytes(path, saved(figure, suffix))
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
        return {p.name: p for p in data.populations}
    if isinstance(data, PopulationFindings):
        return {data.name: data}
    return data if isinstance(data, Mapping) else {"": data}


def _edf_of(population: Population) -> tuple[Edf, Band]:
    if isinstance(population, PopulationFindings):
        return population.edf, population.band
    function = edf(population)
    return function, equal_levels_band(function)


def _best_of_k_of(population: Population) -> BestOfK:
    if isinstance(population, PopulationFindings):
        return population.best_of_k
    return best_of_k(population)


def _options(
    index: int, place: int, label: Option, color: Option, linestyle: Any, name: str
) -> dict[str, Any]:
    """Return one population's style: the caller's choice, else the palette's."""
    default = {**line_style(index), "label": name}
    chosen = {"label": label, "color": color, "linestyle": linestyle}
    for key, value in chosen.items():
        if value is not None:
            default[key] = value[place] if isinstance(value, list) else value
    return {**default, "index": index}


def _titled(data: PopulationFindings, label: str | None, color: str | None) -> dict[str, Any]:
    return {"title": label or data.name, "color": color or line_style(0)["color"]}


def _legend(ax: Axes, corner: Literal["lower right", "upper right"]) -> None:
    if len(ax.get_legend_handles_labels()[1]) <= _LEGEND_INSIDE:
        ax.legend(loc=corner)
    else:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
