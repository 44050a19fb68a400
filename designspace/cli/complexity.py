"""`designspace complexity`: what a network costs."""

from typing import Annotated

import typer


def complexity(
    model: Annotated[
        str,
        typer.Argument(
            help="A published name, a model.yaml, or a model of a run (RUN:INDEX, RUN:best)."
        ),
    ],
    resolution: Annotated[int | None, typer.Option(help="Side of the input, in pixels.")] = None,
    classes: Annotated[int | None, typer.Option(help="Outputs of the classifier.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a network's exact multiply-adds, parameters, activations and stages.

    flops are multiply-adds of convolutions and linear layers with their bias additions, acts the
    output elements of convolutions and linear layers: the convention of the paper's tables.

    Examples:

      designspace complexity RegNetY-256GF

      designspace complexity model.yaml --resolution 96 --json

      designspace complexity results/a:best
    """
    import json

    from designspace.arch import BOTTLENECK
    from designspace.cli.models import resolve_model

    found = resolve_model(model).at(resolution, classes)
    summary = found.summary()
    if json_:
        print(json.dumps(summary))
        return
    print(f"{found.name} at {summary['resolution']} pixels, {summary['classes']} classes")
    for key in ("flops", "params", "acts"):
        print(f"  {key:<18}{summary[key]:>22,}")
    stages = {key: summary[key] for key in ("depths", "widths")}
    if found.body.block == BOTTLENECK:
        stages |= {key: summary[key] for key in ("bottleneck_ratios", "group_widths")}
        rest = ("se_ratio", f"{summary['se_ratio']:g}")
    else:
        stages |= summary["extras"]
        rest = ("block", summary["block"])
    for key, values in stages.items():
        print(f"  {key:<18}{'  '.join(f'{value:g}' for value in values)}")
    print(f"  {rest[0]:<18}{rest[1]}")
