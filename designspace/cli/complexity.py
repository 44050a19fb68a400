"""`designspace complexity`: what a network costs."""

from typing import Annotated

import typer

from designspace.cli.options import MODEL_HELP, Classes, Json, Resolution
from designspace.errors import counted


def complexity(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    resolution: Resolution = None,
    classes: Classes = None,
    json_: Json = False,
) -> None:
    """Print a network's exact multiply-adds, parameters, activations and stages.

    flops are the multiply-adds of convolutions and linear layers with their bias additions, acts
    their output elements: the convention of the paper's tables.

    Examples:

      designspace complexity RegNetY-256GF

      designspace complexity model.yaml --resolution 96 --json

      designspace complexity results/a:best
    """
    import json

    import designspace as ds

    network = ds.load_model(model).at(resolution, classes)
    summary = network.summary()
    if json_:
        print(json.dumps(summary))
        return
    print(
        f"{network.name} at {summary['resolution']} pixels, "
        f"{counted(summary['classes'], 'class', 'classes')}"
    )
    for key in ("flops", "params", "acts"):
        print(f"  {key:<18}{summary[key]:>22,}")
    keys = ("depths", "widths", "bottleneck_ratios", "group_widths")
    stages = {key: summary[key] for key in keys if key in summary} | summary.get("extras", {})
    for key, values in stages.items():
        print(f"  {key:<18}{'  '.join(f'{value:g}' for value in values)}")
    for key in ("block", "se_ratio", "activation"):
        if key in summary:
            print(f"  {key:<18}{summary[key]}")
