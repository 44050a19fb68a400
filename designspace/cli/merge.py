"""`designspace merge`: parts of one population, trained in several places, made whole."""

from pathlib import Path
from typing import Annotated

import typer


def merge(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders of one population, trained by one recipe.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder that gets all trials; may be one of them.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Join the trials of one population that were trained on several machines.

    Sample the same population on each machine (or copy the run folder), train a part of it there
    with --only, then bring the folders together.

    Examples:

      designspace train results/a --data digits --recipe quick --only 0-249      on one machine

      designspace train results/a --data digits --recipe quick --only 250-499    on the other

      designspace merge results/a results/a-from-the-other --out results/whole
    """
    import json
    from dataclasses import asdict

    from designspace.runs import Run
    from designspace.runs.merge import merge as join

    done = join([Run.open(run) for run in runs], Run(out))
    if json_:
        print(json.dumps({"out": str(out), **asdict(done)}))
        return
    print(f"{out}: {done.trials} of {done.n} models have a trial; {done.added} added")
    if done.repeated:
        print(f"{done.repeated} were trained twice with equal results")
    if done.differing:
        print(
            f"{len(done.differing)} were trained twice with different results, of which the first "
            f"stands: {', '.join(map(str, done.differing[:20]))}"
        )
