"""`designspace plot`: one figure of several populations, without a report."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Kind(Enum):
    """Figures that need errors only."""

    EDF = "edf"
    BEST_OF_K = "best-of-k"


class Width(Enum):
    """Styles of a figure."""

    PAPER = "paper"
    PAPER_WIDE = "paper-wide"
    SCREEN = "screen"


def plot(
    kind: Annotated[
        Kind, typer.Argument(help="edf: error distributions; best-of-k: random search.")
    ],
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of `import`.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File: .pdf, .svg or .png; by default edf.pdf or best-of-k.pdf."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Names in the legend, separated by commas.")
    ] = None,
    colors: Annotated[
        str | None, typer.Option(help="Colors, separated by commas: names, or #rrggbb.")
    ] = None,
    style: Annotated[
        Width, typer.Option(help="paper: one column wide; paper-wide: two; screen.")
    ] = Width.PAPER,
    bands: Annotated[
        bool | None,
        typer.Option(help="Draw 95 % bands; by default those of up to three populations."),
    ] = None,
) -> None:
    """Draw one figure of several populations, fonts embedded, without an analysis.

    Examples:

      designspace plot edf results/a results/b --out edf.pdf

      designspace plot edf results/a results/b --labels AnyNetX,RegNetX --colors gray,#c33c0a

      designspace plot best-of-k results/a results/b --style paper-wide --out search.svg
    """
    import designspace as ds

    draw = ds.plot_edf if kind is Kind.EDF else ds.plot_best_of_k
    label, color = (words and words.split(",") for words in (labels, colors))
    axes = draw(runs, label=label, color=color, style=style.value, band=bands)
    print(ds.save_figure(axes, out or Path(f"{kind.value}.pdf")))
