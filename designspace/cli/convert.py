"""`designspace convert`: a pycls sweep config as a space, a recipe and a study."""

from pathlib import Path
from shlex import join, quote
from typing import Annotated

import typer

from designspace.errors import counted


def convert(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A pycls sweep config.")],
    out: Annotated[Path, typer.Option(help="Folder of space.yaml, recipe.yaml and study.yaml.")],
    force: Annotated[bool, typer.Option("--force", help="Replace those files.")] = False,
) -> None:
    """Convert a pycls sweep config into a space, a recipe and a study.

    The sweep's limits of flops, params and acts are the budget of the study. `sample` of the space
    needs them as options: the command is printed.

    Learning rates and other settings that the sweep draws are drawn for each model beside its body.

    Examples:

      designspace convert cifar_regnet.yaml --out sweep

      designspace study sweep/study.yaml --dry-run
    """
    import designspace as ds

    study = ds.convert_sweep(sweep, out, force=force)
    if study.file.about:
        print(study.file.about)
    print(f"{counted(study.plan().models, 'model')}: designspace study {quote(str(study.path))}")
    for name, entry in study.file.populations.items():
        # The space alone doesn't have the setting that a population of copies has.
        if entry.recipe_axes is None:
            limits = study.file.budget_of(entry)
            words = ["designspace", "sample", str(study.folder / "space.yaml")]
            words += ["-n", str(study.file.n)]
            words += [word for key, text in limits.items() for word in (f"--{key}", text)]
            words += ["--seed", str(study.file.seed), "--out", str(study.folder / name)]
            print(f"its sample alone: {join(words)}")
