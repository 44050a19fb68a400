"""The figures of a report, each composed of drawings."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from designspace.analysis.compare_pairs import PairComparison
from designspace.analysis.findings import (
    Findings,
    PopulationFindings,
    WidthFits,
    error_range,
    neighbors,
)
from designspace.analysis.normalized_edf import NormalizedEdfs
from designspace.analysis.trade_off import format_cost
from designspace.arch import BodyBatch
from designspace.arch.parameter_columns import category_names
from designspace.errors import counted
from designspace.report import draw_on_axes as draw
from designspace.report.figure_files import ONE_COLUMN, Figure, Panel
from designspace.report.palette import COLORS, FAINT, LEGEND_INSIDE, MOST_BANDS, color, line_style
from designspace.report.trade_off_figures import trade_off_figures, trade_off_keys
from designspace.report.verdict_cards import difference, points
from designspace.stats.arrays import FloatArray
from designspace.stats.edf import Band, Edf
from designspace.stats.range_of_best import BootstrapInterval

# The most important parameters that the figure of importance shows; the tables have all.
_SHOWN = 8
# Inches that most names of parameters take left of the axes.
_ROW_LABELS = 0.96
_Corner = Literal["lower right", "upper right"]
_Fitted = tuple[int, PopulationFindings, WidthFits, BodyBatch]


def report_figures(findings: Findings) -> Iterator[Figure]:
    """Yield the figures in the order of the page."""
    populations = findings.populations
    if not populations:
        return
    yield _edf_figure(findings)
    if findings.normalized is not None:
        names = [p.name for p in findings.populations]
        yield _normalized_figure(findings, findings.normalized, names, "edf_normalized")
    # Those at equal multiply-adds are the ones above.
    for one, key in zip(findings.trade_offs, trade_off_keys(findings.trade_offs), strict=True):
        if one.edfs is not None and len(one.edfs.edfs) > 1 and one.measure != "flops":
            names = [part.name for part in one.populations]
            yield _normalized_figure(findings, one.edfs, names, f"edf_at_{key}")
    if pairs := neighbors(findings):
        yield _differences_figure(pairs)
        yield _edf_differences_figure(pairs, error_range(populations))
    if any(len(p.best_of_k.k) > 1 for p in populations):
        yield _best_of_k_figure(findings)
    yield from trade_off_figures(findings.trade_offs, [p.name for p in populations])
    for index, (population, key) in enumerate(zip(populations, _keys(findings), strict=True)):
        if population.results.counted_parameters(varying=True):
            yield _bootstrap_figure(population, index, f"bootstrap_{key}")
    if any(p.trends for p in populations):
        yield _importance_figure(populations)
    fitted = [
        (i, p, p.widths, p.results.bodies)
        for i, p in enumerate(populations)
        if p.widths is not None and p.results.bodies is not None
    ]
    if fitted:
        yield _widths_figure(fitted)
        yield _fit_figure(fitted)


def edf_hero(findings: Findings) -> tuple[Figure, ...]:
    """Return the page's EDF, with all bands, for wide screens (with labels) and narrow ones.

    Of more populations than there are colors, none: their EDFs are small multiples.
    """
    if not 0 < len(findings.populations) <= len(COLORS):
        return ()
    figure = _edf_figure(findings)
    edfs, bands = zip(*((p.edf, p.band) for p in findings.populations), strict=True)
    drawing = partial(_draw_edfs, findings=findings, edfs=edfs, bands=bands)
    wide = Panel(partial(drawing, labels=True), figure.panels[0].alt)
    narrow = Panel(drawing, wide.alt)
    return (
        replace(figure, key="edf-wide", panels=(wide,), size=(10.4, 4.6)),
        replace(figure, key="edf-narrow", panels=(narrow,), size=(4.6, 4.0)),
    )


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


def _draw_edfs(
    ax: Axes,
    findings: Findings,
    edfs: Sequence[Edf],
    bands: Sequence[Band | None],
    labels: bool = False,
    shown: Sequence[str] | None = None,
) -> None:
    """Draw the error distributions of all populations, or of those `shown`, each in its color."""
    low, high = error_range(findings.populations)
    every = [p.name for p in findings.populations]
    places = [every.index(name) for name in (every if shown is None else shown)]
    names = [
        f"{f.legend} {draw.short_name(every[place])}" for f, place in zip(edfs, places, strict=True)
    ]
    for index, function, band in zip(places, edfs, bands, strict=True):
        name = draw.short_name(every[index])
        style = line_style(index)
        draw.draw_edf(ax, function, band, label=name, until=high, index=index, **style)
    ax.set_xlim(low, high)
    if labels:
        draw.label_curves(ax, edfs, names, [line_style(i) for i in places])


def _draw_edf_among(ax: Axes, findings: Findings, chosen: int) -> None:
    """Draw one population's EDF with its band, the others' in the background."""
    low, high = error_range(findings.populations)
    for p in findings.populations:
        draw.draw_edf(ax, p.edf, until=high, color=FAINT)
    p = findings.populations[chosen]
    draw.draw_edf(ax, p.edf, p.band, until=high, index=chosen, color=color(chosen))
    ax.set_xlim(low, high)
    ax.set_title(f"{p.edf.legend} {draw.short_name(p.name)}")


def _edf_figure(findings: Findings) -> Figure:
    populations = findings.populations
    edfs, bands = [p.edf for p in populations], [p.band for p in populations]
    shown = bands if len(populations) <= MOST_BANDS else [None] * len(bands)
    words = "; ".join(
        f"{p.name}: lowest {p.edf.minimum:.1f} %, mean {p.edf.mean:.1f} %, n = {p.edf.n}"
        for p in populations
    )
    caption = (
        "Error distribution functions: the share of models with an error strictly below each "
        "value; higher and further left is better. Labels: [lowest | mean] error in percent."
    )
    if len(populations) > len(COLORS):
        panels = tuple(
            Panel(partial(_draw_edf_among, findings=findings, chosen=i), f"{p.name} among all")
            for i, p in enumerate(populations)
        )
        return Figure("edf", "edf", caption, panels, (3.4, 2.4))
    if shown is bands:
        caption += f" Each band holds its whole curve with 95 % confidence ({bands[0].method})."
    drawing = partial(_draw_edfs, findings=findings, edfs=edfs, bands=shown, labels=True)
    panel = Panel(drawing, f"Error distributions. {words}.")
    narrow = replace(panel, draw=partial(drawing, labels=False))
    legend = [f"{p.edf.legend} {draw.short_name(p.name)}" for p in populations]
    paper = _with_legend("edf", caption, narrow, legend, "lower right", ONE_COLUMN)
    return Figure("edf", "edf", caption, (panel,), (7.2, 3.9), narrow=paper)


def _normalized_figure(
    findings: Findings, normalized: NormalizedEdfs, names: Sequence[str], key: str
) -> Figure:
    """Return the error distributions of the named populations at equal cost."""
    edfs = normalized.edfs
    many = len(edfs) > MOST_BANDS
    bands = [None] * len(edfs) if many else normalized.bands

    def drawing(ax: Axes) -> None:
        _draw_edfs(ax, findings, edfs, bands, shown=names)
        ax.set_ylabel(f"share at equal {normalized.complexity}")

    low, high = (format_cost(normalized.complexity, v) for v in (normalized.low, normalized.high))
    words = "; ".join(f"{n}: mean {f.mean:.1f} %" for n, f in zip(names, edfs, strict=True))
    caption = (
        f"At equal complexity (NDS): models are weighted so that {normalized.complexity} are "
        f"uniform from {low} to {high}, "
        f"the range of all populations, in {normalized.bins} bins."
    )
    if not many:
        caption += " Bands: bootstrap, 95 % for each whole curve."
    panel = Panel(drawing, f"Error distributions at equal {normalized.complexity}. {words}.")
    legend = [f"{f.legend} {draw.short_name(n)}" for n, f in zip(names, edfs, strict=True)]
    return _with_legend(key, caption, panel, legend, "lower right")


def _best_of_k_figure(findings: Findings) -> Figure:
    bands = len(findings.populations) <= MOST_BANDS

    def drawing(ax: Axes) -> None:
        for index, p in enumerate(findings.populations):
            options = {"label": draw.short_name(p.name), "index": index, **line_style(index)}
            draw.draw_best_of_k(ax, p.best_of_k, band=bands, **options)
        ax.set_ylim(*error_range(findings.populations))

    words = "; ".join(
        f"{p.name}: {p.best_of_k.expected[0]:.1f} % for one model, "
        f"{p.best_of_k.expected[-1]:.1f} % for {p.best_of_k.k[-1]}"
        for p in findings.populations
    )
    caption = (
        "Random search: the expected error of the best of k models (drawn with replacement)"
        + (", and the range of 95 % of such searches." if bands else ".")
    )
    panel = Panel(drawing, f"Best of k. {words}.")
    legend = [draw.short_name(p.name) for p in findings.populations]
    return _with_legend("best_of_k", caption, panel, legend, "upper right")


def _with_legend(
    key: str,
    caption: str,
    panel: Panel,
    legend: Sequence[str],
    corner: _Corner,
    width: float = 4.8,
) -> Figure:
    """Compose a figure of one curve a population, with a legend of these texts."""
    below = len(legend) > LEGEND_INSIDE
    size, height = (7.0, 1.9) if width == ONE_COLUMN else (8.5, 2.68)
    columns = draw.legend_columns(legend, width, size)
    bottom = 0.55 + 0.02 * size * -(-len(legend) // columns) if below else 0.46

    def drawing(ax: Axes) -> None:
        panel.draw(ax)
        if below:
            draw.legend_below(ax, columns)
        else:
            ax.legend(loc=corner)

    panels = (replace(panel, draw=drawing),)
    shape = (width, 0.26 + height + bottom)
    narrow = None
    if width > ONE_COLUMN:
        narrow = _with_legend(key, caption, panel, legend, corner, ONE_COLUMN)
    return Figure(key, "curves", caption, panels, shape, bottom=bottom, narrow=narrow)


def _differences_figure(pairs: Sequence[PairComparison]) -> Figure:
    labels = [f"{draw.short_name(pair.second)} − {draw.short_name(pair.first)}" for pair in pairs]
    height = 0.32
    if max(map(len, labels)) > draw.MAX_NAME:
        labels, height = [label.replace(" − ", "\n− ") for label in labels], 0.44
    longest = max(len(line) for label in labels for line in label.split("\n"))
    margin = pairs[0].equivalence.margin
    caption = (
        "Difference of mean error, with 95 % intervals: left of zero, the first named has the "
        "lower error. Circle: better; square: worse; diamond: equal within the margin of "
        f"{points(margin)} (shaded); bar: undecided."
    )
    drawing = partial(draw.draw_differences, pairs=pairs, labels=labels)
    alt = "; ".join(f"{pair.second} against {pair.first}: {difference(pair)}" for pair in pairs)
    size = (4.8, 0.9 + height * len(pairs))
    left = 0.3 + 0.08 * longest
    return Figure("differences", "compare", caption, (Panel(drawing, alt),), size, left=left)


def _edf_differences_figure(pairs: Sequence[PairComparison], errors: tuple[float, float]) -> Figure:
    edges = [np.abs([pair.edf_difference.low, pair.edf_difference.high]).max() for pair in pairs]
    panels = []
    for pair in pairs:
        title = f"{draw.short_name(pair.second)} − {draw.short_name(pair.first)}"
        tint = draw.VERDICT_MARKERS[pair.verdict][0]
        regions = " and ".join(
            f"{pair.second if region.better == 'second' else pair.first} from {region.low:.1f} to "
            f"{region.high:.1f} %"
            for region in pair.edf_difference.regions
        )

        def drawing(ax: Axes, pair: PairComparison = pair, t: str = title, c: str = tint) -> None:
            top = 1.04 * float(max(edges))
            draw.draw_edf_difference(ax, pair.edf_difference, title=t, color=c, top=top)
            ax.set_xlim(*errors)

        panels.append(Panel(drawing, f"{title}: shown to be above, {regions or 'neither'}"))
    caption = (
        "Difference of the error distributions, with a band that holds the whole curve with 95 % "
        "confidence: above zero, more models of the first named lie below that error. Shaded: "
        "where the band excludes zero."
    )
    section, size = ("dominance", (3.4, 2.2)) if len(panels) > 1 else ("compare", (4.8, 3.0))
    return Figure("edf_differences", section, caption, tuple(panels), size, 3, left=0.6)


def _importance_figure(populations: Sequence[PopulationFindings]) -> Figure:
    shown = [(i, p) for i, p in enumerate(populations) if p.trends]
    most = max(min(_SHOWN, len(p.trends)) + len(p.controls) for _, p in shown)
    panels, left = [], _ROW_LABELS
    for index, p in shown:
        shares = [(draw.short_name(t.name), t.importance) for t in p.trends[:_SHOWN]]
        controls = [(one.control, one.importance) for one in p.controls]
        left = max(left, draw.room_for_labels([name for name, _ in [*shares, *controls]]))
        drawing = partial(
            draw.draw_importance,
            shares=shares,
            controls=controls,
            title=draw.short_name(p.name),
            color=color(index),
        )
        alt = ", ".join(f"{name} {share.value:.0%}" for name, share in [*shares, *controls])
        panels.append(Panel(drawing, f"{p.name}, variation of the error explained: {alt}"))
    caption = (
        "Share of the variation of the error (of its rank) that each leading parameter explains on "
        "its own: means of bins, corrected for their number, with 95 % bootstrap intervals. Below "
        "the line, hollow, the same for size and shape: a parameter that explains no more than one "
        "of these may be that in disguise."
    )
    size = (3.4 + left - _ROW_LABELS, 0.8 + 0.17 * most)
    return Figure("importance", "importance", caption, tuple(panels), size, 3, left=left)


def ranges_of_best(p: PopulationFindings) -> dict[str, BootstrapInterval]:
    """Return the range of the best of each parameter that varies and has an order."""
    named = category_names(p.results.bodies)
    varying = p.results.counted_parameters(varying=True)
    return {name: p.bootstrap[name] for name in varying if name not in named}


def _bootstrap_figure(p: PopulationFindings, index: int, key: str) -> Figure:
    errors = p.results.counted_errors
    shown = error_range([p])
    trends = {trend.name: trend for trend in p.trends}
    named, ranges = category_names(p.results.bodies), ranges_of_best(p)
    panels: list[Panel] = []
    for name, values in p.results.counted_parameters(varying=True).items():
        drawn: dict[str, Any] = {
            "errors": errors,
            "name": name,
            "error_range": shown,
            "unit": "" if panels else "error (%)",
            "color": color(index),
            "index": index,
        }
        if name in named:
            panels.append(_names_panel(p, named[name], values, drawn))
            continue
        interval = ranges[name]
        drawing = partial(
            draw.draw_bootstrap, values=values, interval=interval, trend=trends.get(name), **drawn
        )
        alt = (
            f"{p.name}, error against {name}: the best models have {interval.low:g} to "
            f"{interval.high:g}, median {interval.median:g}"
        )
        panels.append(Panel(drawing, alt))
    caption = f"{p.name}: error against each parameter that varies."
    if ranges:
        most = max(ranges.values(), key=lambda interval: interval.n)
        caption += (
            f" Shaded: range of the best of {counted(most.draws, 'model')} in redraws (95 %); "
            f"colored line: its median; thin line: median error in bins. {most.carriers} of "
            f"{counted(most.n, 'model')} carry 95 % of the weight."
        )
        if any(interval.n < most.n for interval in ranges.values()):
            caption += (
                " Of parameters that fewer models have, as large a share of these is redrawn."
            )
    if len(panels) > len(ranges):
        caption += f" Bars of {' and '.join(named)}: median errors."
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


def _names_panel(
    p: PopulationFindings, names: Sequence[str], values: FloatArray, drawn: dict[str, Any]
) -> Panel:
    """Return the panel of a parameter whose values, (n,), stand for names."""
    codes, places = np.unique(values, return_inverse=True)
    levels = [names[int(code)] for code in codes]
    medians = [float(np.median(drawn["errors"][places == k])) for k in range(len(levels))]
    drawing = partial(draw.draw_names, levels=levels, places=places, medians=medians, **drawn)
    parts = (f"{level} {median:.1f} %" for level, median in zip(levels, medians, strict=True))
    return Panel(drawing, f"{p.name}, median error by {drawn['name']}: {', '.join(parts)}")


def _widths_figure(populations: Sequence[_Fitted]) -> Figure:
    panels = []
    best = [
        [bodies.block_widths(int(row)).astype(float) for row in widths.best_rows]
        for _, _, widths, bodies in populations
    ]
    every = np.concatenate([widths for networks in best for widths in networks])
    for networks, (index, p, widths, _) in zip(best, populations, strict=True):
        drawing = partial(
            draw.draw_widths,
            networks=networks,
            trend=widths.trend,
            width_range=(0.7 * float(every.min()), 1.4 * float(every.max())),
            title=draw.short_name(p.name),
            color=color(index),
        )
        alt = (
            f"{p.name}: block widths of the {len(networks)} best models follow the line "
            f"{widths.trend.slope:.3g} times the block number, off by {widths.trend.error:.0%}"
        )
        panels.append(Panel(drawing, alt))
    caption = (
        "Width of each block of the best models (the best one bold), and the line through the "
        "origin that fits them best. In the paper (400MF, ImageNet) it was 48 (j + 1)."
    )
    return Figure("widths", "widths", caption, tuple(panels), (3.4, 2.6), 3, left=0.66)


def _fit_figure(populations: Sequence[_Fitted]) -> Figure:
    panels = []
    top = max(float(widths.fits.error.max()) for _, _, widths, _ in populations)
    for index, p, widths, _ in populations:
        drawing = partial(
            draw.draw_fit_errors,
            ranks=widths.ranks,
            errors=widths.fits.error,
            top=top,
            title=draw.short_name(p.name),
            color=color(index),
        )
        panels.append(Panel(drawing, f"{p.name}: e_fit of {len(widths.fits)} models by rank"))
    caption = (
        "Distance of each model's block widths from the nearest quantized linear function (e_fit: "
        "mean |log ratio|, and a penalty, not the paper's, for neighboring stages of equal width, "
        "which no such function has; 0 is exact), against the model's rank by error."
    )
    return Figure("fit_errors", "widths", caption, tuple(panels), (3.4, 2.3), 3, left=0.66)
