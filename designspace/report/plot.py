"""Figures for notebooks: a result on axes of one's own, or on new ones."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from designspace.report.drawings import draw_edf
from designspace.stats.arrays import Numbers
from designspace.stats.edf import dkw_band, edf


def plot_edf(
    errors: Numbers, label: str = "", *, ax: Axes | None = None, band: bool = True, index: int = 0
) -> Axes:
    """Draw the error distribution of a population, with its 95 % DKW-Massart band.

    Args:
        errors: Error of each model in percent, (n,).
        label: Name in the legend, behind [minimum | mean].
        ax: Where to draw; a new figure without it.
        band: Whether the band is drawn.
        index: Which colour and line style.

    Returns:
        The axes; `ax.figure.savefig("edf.svg")` keeps the picture.
    """
    if ax is None:
        ax = Figure(figsize=(5, 3.4), layout="constrained").add_subplot()
    function = edf(errors)
    draw_edf(ax, function, dkw_band(function) if band else None, label=label, index=index)
    ax.legend(loc="lower right")
    return ax
