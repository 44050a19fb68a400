"""`designspace import`: what others measured, as a folder that can be analysed."""

from pathlib import Path
from typing import Annotated

import typer


def import_(
    file: Annotated[Path, typer.Argument(help="pycls sweep.json, NDS JSON, or a CSV table.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    error: Annotated[
        str | None, typer.Option(help="Column (or dotted JSON key) of the error, in percent.")
    ] = None,
    accuracy: Annotated[
        str | None, typer.Option(help="Column of the accuracy; the error is 100 less it.")
    ] = None,
    fraction: Annotated[
        bool, typer.Option("--fraction", help="Errors or accuracies are 0 to 1.")
    ] = False,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Number of classes, for chance error.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the space; the file's.")] = None,
    format: Annotated[
        str | None, typer.Option(help="pycls, nds or csv; recognised unless given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what the folder holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take in models that were trained elsewhere, for `designspace analyze`.

    The error is that after the last epoch where the file has it. A table has a column of errors
    and may have any others (parted by commas, semicolons or tabs): d1, d2, … and w1, w2, … (with
    b1, …, g1, …) are read as stages, d, w_0, w_a, w_m, b, g as RegNets, flops, params and acts as
    costs, all other numbers as parameters. No pickle is ever opened.

    The folder holds import.yaml (source, which error, chance error) and models.csv (id, state,
    error and what else is known), which may be written by hand as well.

    Examples:

      designspace import sweep.json --out results/theirs

      designspace import ResNeXt-A.json --out results/nds --classes 10

      designspace import table.csv --out results/mine --accuracy top1 --fraction
    """
    import json

    from designspace.analysis.importers import import_results

    found = import_results(
        file,
        out,
        error=error,
        accuracy=accuracy,
        scale="fraction" if fraction else None,
        classes=classes,
        name=name,
        format=format,
        force=force,
    )
    states = {
        str(state): int((found.states == state).sum()) for state in dict.fromkeys(found.states)
    }
    if as_json:
        print(
            json.dumps(
                {
                    "out": str(out),
                    "models": len(found.ids),
                    "states": states,
                    "error": found.about.error,
                    "columns": list(found.columns),
                    "notes": found.about.notes,
                }
            )
        )
        return
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    print(f"{found.about.name}: {len(found.ids)} models ({counts}); error is {found.about.error}")
    print(f"known of each: {', '.join(found.columns) or 'the error alone'}")
    for note in found.about.notes:
        print(note)
    print(f"written: {out}; `designspace analyze {out} --out {out}/report` compares and draws")
