"""`designspace refine`: from a study to a narrower space."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import Json
from designspace.errors import counted


def refine(
    study: Annotated[
        Path, typer.Argument(help="Folder of `designspace analyze`, or a run folder.")
    ],
    out: Annotated[Path, typer.Option(help="The space file to write, such as mine.yaml.")],
    population: Annotated[
        str | None, typer.Option(help="Population of the study; by default its first.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the space; by default the file's.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Probability of any wrong constraint among those proposed.")
    ] = 0.05,
    margin: Annotated[
        float, typer.Option(help="Percent of error that sharing may cost and still count as free.")
    ] = 1.0,
    space: Annotated[
        str | None,
        typer.Option(help="Space that imported models were drawn from; a run records its own."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    json_: Json = False,
) -> None:
    """Propose constraints that a study supports, and write the narrower space.

    Each candidate (sharing, monotone widths or depths, ranges, fixing b or g, the quantized linear
    rule) is accepted, rejected or left undecided by a test suited to it, with Holm's correction.
    The file keeps the evidence, also of what was rejected. Sample it, train, analyze, refine again.

    Examples:

      designspace refine results/findings --out mine.yaml

      designspace refine results/a --out mine.yaml --margin 0.5 --json

      designspace refine results/imported --space RegNetX --out mine.yaml
    """
    import json
    from dataclasses import asdict

    import designspace as ds
    from designspace.refinement.refine import check_output

    if out.suffix not in (".yaml", ".yml"):
        raise ds.InputError(f"--out is {out}; it must end in .yaml, as space files do")
    check_output(out, force)
    result = ds.refine(
        study, population, name=name or out.stem, alpha=alpha, margin=margin, space=space
    )
    if result.space is not None:
        result.save(out, force=force)
    if json_:
        record = {
            "parent": result.parent.name,
            "run": str(result.run),
            "models": result.models,
            "sampled": result.sampled,
            "out": None if result.space is None else str(out),
            "proposals": [asdict(proposal) for proposal in result.proposals],
        }
        print(json.dumps(record))
        return
    trained = "" if result.models == result.sampled else f" of {result.sampled} sampled"
    print(
        f"{result.parent.name} ({result.run}): "
        f"{counted(result.models, 'model')}{trained}, family-wise level "
        f"{alpha:g}"
    )
    for proposal in result.proposals:
        print(f"{proposal.verdict:9}  {proposal.claim}: {proposal.reason}")
        print(f"{'':9}  {proposal.evidence}")
    if result.space is None:
        print("This study supports no constraint, so no space was written; train more models.")
    else:
        print(
            f"{result.space.name}: {counted(result.space.dimensions, 'dimension')}; written: {out}"
        )
