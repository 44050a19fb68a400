"""`designspace refine`: from a study to a narrower space."""

from pathlib import Path
from typing import Annotated

import typer


def refine(
    study: Annotated[
        Path, typer.Argument(help="Folder of `designspace analyze`, or one run folder.")
    ],
    out: Annotated[Path, typer.Option(help="The space file to write, such as mine.yaml.")],
    population: Annotated[
        str | None, typer.Option(help="Which population of the study; the first unless given.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the space; the file's.")] = None,
    alpha: Annotated[
        float, typer.Option(help="Chance of any wrong constraint among all proposed.")
    ] = 0.05,
    margin: Annotated[
        float, typer.Option(help="Percent of error that sharing may cost and count as nothing.")
    ] = 1.0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Propose constraints that a study speaks for, and write the narrower space.

    Each constraint (sharing, monotone widths or depths, ranges, fixing b or g, the quantized
    linear rule) is accepted, rejected or left undecided by a test suited to it, with Holm's
    correction over all. The file keeps the evidence, also of what was rejected. Sample it, train,
    analyze, and refine again.

    Examples:

      designspace refine results/findings --out mine.yaml

      designspace refine results/a --out mine.yaml --margin 0.5 --json
    """
    import json
    from dataclasses import asdict

    from designspace.errors import InputError
    from designspace.io.atomic_write import write_text
    from designspace.refinement.refine import refine as refine_study

    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out is {out}; it must end in .yaml, as space files do")
    if out.exists() and not force:
        raise InputError(f"{out} exists already; choose another --out, or add --force")
    result = refine_study(study, population, name=name or out.stem, alpha=alpha, margin=margin)
    if result.space is not None:
        write_text(out, result.text())
    written = None if result.space is None else str(out)
    if json_:
        proposals = [asdict(proposal) for proposal in result.proposals]
        record = {
            "parent": result.parent.name,
            "run": str(result.run),
            "models": result.models,
            "sampled": result.sampled,
            "out": written,
            "proposals": proposals,
        }
        print(json.dumps(record))
        return
    trained = "" if result.models == result.sampled else f" of {result.sampled} sampled"
    print(
        f"{result.parent.name} ({result.run}): {result.models} models{trained}, "
        f"family-wise level {alpha:g}"
    )
    for proposal in result.proposals:
        print(f"{proposal.verdict:9}  {proposal.claim}: {proposal.reason}")
        print(f"{'':9}  {proposal.evidence}")
    if result.space is None:
        print(
            "No constraint is shown by this study, so no space was written; more models may tell."
        )
    else:
        print(f"{result.space.name}: {result.space.dimensions} dimensions; written: {out}")
