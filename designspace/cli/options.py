"""Options that several verbs share, and their rules."""

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[int | None, typer.Option(help="Threads on the CPU; as many as cores.")]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch the data set when it is missing.")
]
Cache = Annotated[Path | None, typer.Option(help="Folder of decoded images and downloads.")]


def check_margin(margin: float) -> None:
    """Refuse what is no difference of errors that could count as none."""
    from designspace.errors import InputError

    if not 0 < margin <= 100:
        raise InputError(f"--margin is {margin:g}; it must be above 0 percent of error, up to 100")
