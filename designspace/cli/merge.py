"""`designspace merge`: join the trials of one population that was trained in parts."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import Json


def merge(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders of one population, trained by one recipe.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder that gets all trials; may be one of them.")],
    json_: Json = False,
) -> None:
    """Join the trials of one population that were trained on several machines.

    Sample the same population on each machine (or copy the run folder), train a part of it there
    with --only, then copy the folders to one place.

    Examples:

      designspace train results/a --data digits --recipe quick --only 0-249      on one machine

      designspace train results/a --data digits --recipe quick --only 250-499    on the other

      designspace merge results/a results/a-from-the-other --out results/whole
    """
    import json
    from dataclasses import asdict

    import designspace as ds

    merged = ds.merge(runs, out)
    if json_:
        print(json.dumps({"out": str(out), **asdict(merged)}))
        return
    print(f"{out}: {merged.trials} of {merged.n} models have a trial; {merged.added} added")
    if merged.repeated:
        print(f"{merged.repeated} were trained twice with equal results")
    if merged.differing:
        models = ", ".join(map(str, merged.differing[:20]))
        print(
            f"{len(merged.differing)} were trained twice with different results; the first trial "
            f"counts: {models}"
        )
