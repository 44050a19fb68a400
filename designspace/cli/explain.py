"""`designspace explain`: where a network comes from."""

from typing import Annotated

import typer


def explain(
    model: Annotated[
        str,
        typer.Argument(
            help="A published name, a model.yaml, or a model of a run (RUN:INDEX, RUN:best)."
        ),
    ],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a network is, how its stages follow from its parameters, and where it comes from.

    Examples:

      designspace explain RegNetY-256GF

      designspace explain model.yaml --json
    """
    import json
    import shutil
    import textwrap

    from designspace.cli.models import resolve_model
    from designspace.derivation.explain import explain as tell

    found = resolve_model(model, "explain")
    parts = tell(found)
    if json_:
        print(json.dumps({"name": found.name, **found.summary(), "explanation": dict(parts)}))
        return
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    print(found.name)
    for heading, lines in parts:
        print(f"\n{heading}")
        for line in lines:
            print(textwrap.fill(line, width, initial_indent="  ", subsequent_indent="    "))
