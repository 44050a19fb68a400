"""`designspace convert`: a pycls sweep config as a space, a recipe and a study."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from designspace.errors import counted


def convert(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A pycls sweep config.")],
    out: Annotated[Path, typer.Option(help="Folder of space.yaml, recipe.yaml and study.yaml.")],
) -> None:
    """Convert a pycls sweep config into a space, a recipe and a study.

    Learning rates and other settings that the sweep draws are drawn for each model beside its body.

    Examples:

      designspace convert cifar_regnet.yaml --out sweep

      designspace study sweep/study.yaml --dry-run
    """
    import designspace as ds

    study = ds.convert_sweep(sweep, out)
    if study.file.about:
        print(study.file.about)
    print(f"{counted(study.plan().models, 'model')}: designspace study {quote(str(study.path))}")
