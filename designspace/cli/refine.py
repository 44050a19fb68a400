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

    from designspace.cli.options import check_margin
    from designspace.errors import InputError
    from designspace.io.files import write_text
    from designspace.refine.constraint_tests import Rule
    from designspace.refine.refine import refine as narrow
    from designspace.refine.refine import study_run

    if not 0 < alpha < 1:
        raise InputError(f"--alpha is {alpha:g}; it must be between 0 and 1")
    check_margin(margin)
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out is {out}; it must end in .yaml, as space files do")
    if out.exists() and not force:
        raise InputError(f"{out} exists already; choose another --out, or add --force")
    run = study_run(study, population)
    found = narrow(run, name or out.stem, Rule(alpha, margin))
    if found.space is not None:
        write_text(out, found.text())
    written = None if found.space is None else str(out)
    if json_:
        proposals = [asdict(proposal) for proposal in found.proposals]
        record = {
            "parent": found.parent.name,
            "run": str(run),
            "models": found.models,
            "sampled": found.sampled,
            "out": written,
            "proposals": proposals,
        }
        print(json.dumps(record))
        return
    trained = "" if found.models == found.sampled else f" of {found.sampled} sampled"
    print(
        f"{found.parent.name} ({run}): {found.models} models{trained}, family-wise level {alpha:g}"
    )
    for proposal in found.proposals:
        print(f"{proposal.verdict:9}  {proposal.claim}: {proposal.reason}")
        print(f"{'':9}  {proposal.as_float_array()}")
    if found.space is None:
        print(
            "No constraint is shown by this study, so no space was written; more models may tell."
        )
    else:
        print(f"{found.space.name}: {found.space.dimensions} dimensions; written: {out}")
