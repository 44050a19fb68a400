"""The figures of a pretraining page: curves, scores, and strips of pictures."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from designspace.analysis.pretraining_findings import (
    Curves,
    Pictures,
    PretrainingFindings,
    ScoreGroup,
    ScoreRow,
)
from designspace.errors import counted
from designspace.report.figure_files import Figure, Panel
from designspace.report.palette import INK, color
from designspace.report.pretraining_cards import group_title, task_title
from designspace.stats.arrays import FloatArray

# Smaller pictures are enlarged by whole numbers to at least this many pixels.
_MIN_PIXELS = 32
# Metrics in the table only.
_SECONDARY = ("AP50", "AP75")
_SHORT = {
    "pretrained": "pretrained",
    "supervised": "supervised",
    "random": "random",
    "scratch": "from scratch",
}
_MARKERS = {
    "pretrained": (color(0), "o"),
    "supervised": (color(2), "^"),
    "random": (INK, "s"),
    "scratch": (color(1), "D"),
}


@dataclass(frozen=True)
class Strip:
    """A row of pictures: a PNG file, its alternative text, and its caption."""

    png: bytes
    alt: str
    words: str


def pretraining_figures(findings: PretrainingFindings) -> list[Figure]:
    """Return the figures in the order of the page; the first panel of the first is the loss."""
    groups = [g for g in findings.scores if not g.metric.endswith(_SECONDARY)]
    groups = [g for g in groups if g.task != "labelfree"]  # of other units; the table has them
    return [_curves_figure(findings), *([_scores_figure(groups)] if groups else [])]


def loss_hero(curves: Figure) -> tuple[Figure, Figure]:
    """Return the loss of the curves' figure for wide and for narrow screens."""
    loss = curves.panels[:1]
    return (
        replace(curves, key="loss-wide", panels=loss, size=(10.4, 3.6)),
        replace(curves, key="loss-narrow", panels=loss, size=(4.6, 3.2)),
    )


def neighbour_strips(pictures: Pictures) -> list[Strip]:
    """Return one strip per query: the query, a gap, its nearest neighbours."""
    strips = []
    for number, (rows, same) in enumerate(
        zip(pictures.neighbours, pictures.same, strict=True), start=1
    ):
        # Without labels nothing is counted.
        words = f"{int(same.sum())} of {len(same)} of its class" if len(same) else ""
        alt = f"Image {number} and its {len(rows) - 1} nearest neighbours, {words}".rstrip(", ")
        strips.append(Strip(_png(pictures.pictures, [rows[:1], rows[1:]]), alt, words))
    return strips


def prototype_strips(pictures: Pictures) -> list[Strip]:
    """Return one strip per prototype: the images nearest to it, best first."""
    strips = []
    for number, (rows, size) in enumerate(
        zip(pictures.prototypes, pictures.sizes, strict=True), start=1
    ):
        shown = int((rows >= 0).sum())
        words = f"nearest to {counted(int(size), 'image')}"
        alt = f"The {counted(shown, 'image')} nearest to prototype {number}, {words}"
        strips.append(Strip(_png(pictures.pictures, [rows]), alt, words))
    return strips


def _png(pictures: NDArray[np.uint8], parts: Sequence[NDArray[np.int64]]) -> bytes:
    """Place pictures side by side, half a picture between parts; missing ones are transparent."""
    side = pictures.shape[1]
    gap = np.zeros((side, side // 2, 4), np.uint8)
    tiles: list[NDArray[np.uint8]] = []
    for number, rows in enumerate(parts):
        tiles += [gap] if number else []
        for row in rows:
            tile = np.zeros((side, side, 4), np.uint8)
            if row >= 0:
                tile[..., :3], tile[..., 3] = pictures[row], 255
            tiles.append(tile)
    factor = -(-_MIN_PIXELS // side)
    whole = np.hstack(tiles).repeat(factor, axis=0).repeat(factor, axis=1)
    file = io.BytesIO()
    imsave(file, whole, format="png")
    return file.getvalue()


def _curves_figure(findings: PretrainingFindings) -> Figure:
    c, chance = findings.curves, f"ln {findings.recipe['prototypes']}"

    def draw_loss(ax: Axes) -> None:
        ax.fill_between(c.at, c.loss_low, c.loss_high, color=color(0), alpha=0.18, linewidth=0)
        ax.plot(c.at, c.loss, color=color(0))
        _level(ax, findings.chance, chance)
        _epochs(ax, "loss")

    alt = f"Loss against epochs, from {c.loss[0]:.2f} to {c.loss[-1]:.2f}; "
    panels = (Panel(draw_loss, f"{alt}{chance} is {findings.chance:.2f}"), *_small_curves(findings))
    caption = (
        f"Training, epoch by epoch. Loss: means of {len(c.loss)} spans of iterations, shaded from "
        f"minimum to maximum; dotted: {chance}, its value if the codes carry no information. k-NN: "
        "on training images, with labels that training does not use. Std of the embeddings: 1 "
        "where they fill the sphere evenly, 0 where all are equal. Prototypes in use: nearest to "
        "at least one image of the epoch. RankMe and LiDAR: effective ranks of the features, and "
        "of what tells images apart beyond the augmentation; a fall is collapse. Decay: α-ReQ's "
        "exponent of the spectrum, about 1 in good representations."
    )
    return Figure("curves", "curves", caption, panels, (2.9, 2.1), 3, left=0.62)


def _small_curves(findings: PretrainingFindings) -> list[Panel]:
    c, k = findings.curves, int(findings.recipe["prototypes"])
    std, used, speed = c.feature_std, c.prototypes_used, c.images_per_second
    panels = [
        Panel(
            partial(_line, x=c.at, y=c.lr, name="learning rate"),
            f"Learning rate against epochs: at most {c.lr.max():.3g}, {c.lr[-1]:.3g} at the end",
        )
    ]
    if len(c.knn):
        knn = partial(_line, x=c.knn_epoch, y=c.knn, name="k-NN accuracy (%)", dots=True)
        alt = f"k-NN accuracy on training images, from {c.knn[0]:.1f} to {c.knn[-1]:.1f} %"
        panels.append(Panel(knn, alt))
    by_epoch = partial(_line, x=c.epoch)
    even, all_used = (1.0, "even"), (float(k), f"all {k}")
    return [
        *panels,
        Panel(
            partial(by_epoch, y=std, name="std of the embeddings", level=even),
            f"Std of the embeddings, from {std[0]:.2f} to {std[-1]:.2f}; 1 is even",
        ),
        Panel(
            partial(by_epoch, y=used, name="prototypes in use", level=all_used),
            f"Prototypes in use, from {used[0]:.0f} to {used[-1]:.0f} of {k}",
        ),
        *_shares_panel(c.prototype_shares),
        *(_measured_panel(c, key) for key in c.measured),
        Panel(
            partial(by_epoch, y=speed, name="images per second"),
            f"Images per second, {np.median(speed):.0f} in the median epoch",
        ),
    ]


def _measured_panel(c: Curves, key: str) -> Panel:
    """Draw a measure of the trunk over epochs."""
    names = {"linear": "linear probe (%)", "rankme": "RankMe", "lidar": "LiDAR", "alpha": "decay α"}
    x, y = c.measured[key]
    level = (float(c.rank_limit), "all") if key == "rankme" and c.rank_limit else None
    line = partial(_line, x=x, y=y, name=names[key], dots=key == "linear", level=level)
    return Panel(line, f"{names[key]}, from {y[0]:.3g} to {y[-1]:.3g}")


def _shares_panel(shares: FloatArray) -> list[Panel]:
    """Draw the share of each prototype in the last epoch, the largest first."""
    if not len(shares):
        return []

    def draw(ax: Axes) -> None:
        ax.fill_between(range(1, len(shares) + 1), 100 * shares, step="mid", color=color(4))
        ax.set_ylim(bottom=0)
        _level(ax, 100 / len(shares), "even")
        ax.set_xlabel("prototype, largest first")
        ax.set_ylabel("images (%)")

    return [Panel(draw, f"Share of each prototype, from {100 * shares[0]:.3g} % down")]


def _line(
    ax: Axes,
    x: FloatArray,
    y: FloatArray,
    name: str,
    dots: bool = False,
    level: tuple[float, str] | None = None,
) -> None:
    ax.plot(x, y, "o-" if dots or len(x) == 1 else "-", color=color(0), markersize=3)
    ax.set_ylim(0, 1.12 * max(float(np.nanmax(y)), 0.0) or 1.0)
    if level is not None:
        _level(ax, *level)
    _epochs(ax, name)


def _level(ax: Axes, height: float, name: str) -> None:
    """Draw a reference height."""
    ax.axhline(height, color=INK, linestyle=":", linewidth=1.0, label=name)
    ax.set_ylim(top=max(ax.get_ylim()[1], 1.12 * height))
    ax.legend(loc="best", fontsize=8)


def _epochs(ax: Axes, name: str) -> None:
    ax.set_xlabel("epoch")
    ax.set_title(name, fontweight="bold", y=1.0, pad=4)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.grid(True)


def _scores_figure(groups: Sequence[ScoreGroup]) -> Figure:
    most = max(len(group.rows) for group in groups)
    panels = tuple(
        Panel(
            partial(_draw_scores, group=group),
            f"{group_title(group)}: "
            + "; ".join(f"{one.what} {one.mean:.1f} %" for one in group.rows),
        )
        for group in groups
    )
    caption = (
        "Evaluations, in percent, with 95 % intervals over seeds (none for one seed). Circle: the "
        "pretrained trunk; triangle: the same trunk pretrained with all labels; square: from "
        "random weights; diamond: supervised training from scratch on the same labels. Tuned: each "
        "training chose its learning rates on a fifth of its labels."
    )
    return Figure(
        "scores", "scores", caption, panels, (3.6, 0.85 + 0.3 * most), 2, left=1.35, bottom=0.42
    )


def _draw_scores(ax: Axes, group: ScoreGroup) -> None:
    lines = group.rows
    for row, line in enumerate(lines):
        color, marker = _MARKERS[line.kind]
        if line.low is not None and line.high is not None:
            ax.plot([line.low, line.high], [row, row], color=color, linewidth=1.6)
        ax.plot([line.mean], [row], marker, color=color, markersize=5.5)
        ax.annotate(f"{line.mean:.1f}", (line.mean, row - 0.22), ha="center", fontsize=7.5)
    ax.set_yticks(range(len(lines)), [_short_name(line) for line in lines])
    ax.set_ylim(len(lines) - 0.4, -0.7)
    ax.set_title(task_title(group), fontweight="bold", y=1.0, pad=4)
    ax.set(xlabel=f"{group.metric} (%)", xlim=(0, 100))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.tick_params(axis="y", length=0)
    ax.grid(True, axis="x")


def _short_name(line: ScoreRow) -> str:
    """Return a short name for the axis; the table has the full one."""
    parts = line.what.split(", ")
    how = next((how for how in ("tuned rates", "linear", "fine-tuned") if how in parts), "")
    return _SHORT[line.kind] + (f", {how.removesuffix(' rates')}" if how else "")
