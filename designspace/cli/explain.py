"""`designspace explain`: where a network comes from."""

from typing import Annotated

import typer

from designspace.cli.options import MODEL_HELP, Json


def explain(model: Annotated[str, typer.Argument(help=MODEL_HELP)], json_: Json = False) -> None:
    """Explain a network: how its stages follow from its parameters, and where it comes from.

    Examples:

      designspace explain RegNetY-256GF

      designspace explain EfficientNet-B0

      designspace explain model.yaml --json
    """
    import json
    import shutil
    import textwrap

    import designspace as ds

    network = ds.load_model(model)
    sections = network.explain()
    if json_:
        print(json.dumps({"name": network.name, **network.summary(), "explanation": sections}))
        return
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    print(network.name)
    for heading, lines in sections.items():
        print(f"\n{heading}")
        for line in lines:
            print(textwrap.fill(line, width, initial_indent="  ", subsequent_indent="    "))
