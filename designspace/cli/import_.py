"""`designspace import`: results of other libraries, as a folder that can be analyzed."""

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from designspace.cli.options import Json
from designspace.errors import counted


def import_(
    file: Annotated[
        Path,
        typer.Argument(help="pycls sweep.json, NDS JSON, JSON, JSON Lines, or a table (CSV, TSV)."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    error: Annotated[
        str | None, typer.Option(help="Column (or dotted JSON key) of the error.")
    ] = None,
    accuracy: Annotated[str | None, typer.Option(help="Column of the accuracy.")] = None,
    id: Annotated[
        str | None, typer.Option(help="Column of the models' names; by default detected.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="percent or fraction; by default detected.")
    ] = None,
    fraction: Annotated[
        bool, typer.Option("--fraction", help="The same as --scale fraction.")
    ] = False,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Number of classes, for the chance error.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name; by default the file's.")] = None,
    format: Annotated[
        str | None, typer.Option(help="pycls, nds, json or csv; by default detected.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="Column that is a design parameter; repeat it.")
    ] = None,
    cost: Annotated[
        list[str] | None, typer.Option(help="Column of a cost: flops=GMACs; repeat it.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Column that is a metric, not a parameter; repeat it.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Column that is a label, not a parameter; repeat it.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Meaning of a state: halted=failed; repeat it.")
    ] = None,
    decimal: Annotated[
        str | None, typer.Option(help="Decimal mark: . or ,; by default detected.")
    ] = None,
    input: Annotated[
        str | None, typer.Option(help="Input and stem: imagenet, or a setting such as @32.")
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(help="Block of the models, such as vanilla; by default as the file has it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what the folder holds.")] = False,
    json_: Json = False,
) -> None:
    """Import models that were trained elsewhere, for `designspace analyze`.

    The error is that after the last epoch where the file has it. A table has a column of errors or
    accuracies and any others: d1, d2, … and w1, w2, … (with b1, …, g1, …) are read as stages, d,
    w_0, w_a, w_m, b, g as RegNets, flops, params and acts as costs, all other numbers as
    parameters, apart from the usual names of metrics. No pickle is ever opened.

    The folder holds import.yaml (source, which error, chance error) and models.csv (id, state,
    error and what else is known), which you may also write by hand.

    Examples:

      designspace import sweep.json --out results/theirs

      designspace import ResNeXt-A.json --out results/nds --classes 10

      designspace import table.csv --out results/mine --accuracy top1 --metric auc
    """
    import json

    import designspace as ds

    if fraction and scale not in (None, "fraction"):
        raise ds.InputError(f"--fraction and --scale {scale} contradict each other; pass one")
    result = ds.import_results(
        file,
        out,
        error=error,
        accuracy=accuracy,
        id=id,
        scale="fraction" if fraction else scale,
        classes=classes,
        name=name,
        format=format,
        parameters=parameter,
        costs=_pairs("--cost", cost) or None,
        metrics=metric or (),
        labels=label or (),
        states=_pairs("--state", state) or None,
        decimal=decimal,
        input=input,
        block=block,
        force=force,
    )
    states = {
        str(state): int((result.states == state).sum()) for state in dict.fromkeys(result.states)
    }
    about = result.about
    if json_:
        record = {
            "out": str(out),
            "models": len(result.ids),
            "states": states,
            "error": about.error,
            "columns": list(result.columns),
            "notes": about.notes,
        }
        print(json.dumps(record))
        return
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    print(f"{about.name}: {counted(len(result.ids), 'model')} ({counts}); error is {about.error}")
    print(f"columns: {', '.join(result.columns) or 'the error alone'}")
    for note in about.notes:
        print(note)
    folder, report = quote(str(out)), quote(f"{out}/report")
    print(f"written: {out}; `designspace analyze {folder} --out {report}` compares and draws")


def _pairs(option: str, texts: list[str] | None) -> dict[str, Any]:
    import designspace as ds

    pairs = [text.partition("=") for text in texts or ()]
    for key, equals, value in pairs:
        if not (key and equals and value):
            raise ds.InputError(f"{option} {key}{equals}{value}: write NAME=VALUE")
    return {key: value for key, _, value in pairs}
