"""`designspace analyze`: compare populations and write a report."""

from pathlib import Path
from typing import Annotated

import typer


def analyze(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of `import`.")],
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("results/report"),
    all_finished: Annotated[
        bool,
        typer.Option(
            "--all-finished",
            help="Count every finished trial of an unfinished population. By default those after "
            "the first model without one are set aside: what finishes first is biased.",
        ),
    ] = False,
    margin: Annotated[
        float, typer.Option(help="Percent of error that counts as no difference, for equivalence.")
    ] = 1.0,
    claims: Annotated[
        Path | None,
        typer.Option(help="YAML file of claims made beforehand; each gets a verdict."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summary.json instead of lines.")
    ] = False,
) -> None:
    """Compare populations: EDFs, bands, tests, bootstrap, quantized-linear fits, and a report.

    Examples:

      designspace analyze results/a results/b --out results/report

      designspace analyze results/a --out results/a/report --json

      designspace analyze results/* --out results/study --margin 0.5 --claims claims.yaml
    """
    import json

    from designspace.analysis.findings import analyze as compare_populations
    from designspace.analysis.load_results import load_populations
    from designspace.analysis.summary import summarize
    from designspace.cli.options import check_margin
    from designspace.report.write_report import write_report

    check_margin(margin)
    findings = compare_populations(load_populations(runs, all_finished), margin, claims)
    index = write_report(findings, out)
    if as_json:
        print(json.dumps(summarize(findings).to_dict(), indent=1))
        return
    for p in findings.populations:
        print(f"{p.name}: {p.edf.legend} n = {p.edf.n} of {p.accounting.n}")
    for pair in findings.comparisons:
        print(pair.sentence)
    print(f"report: {index}")
