"""`designspace analyze`: compare populations and write a report."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import Json, split_commas

# Python arguments in warnings, and the options of `analyze` and `train` that they are here.
_FLAGS = {"all_finished=True": "--all-finished", "retry=True": "--retry"}


def analyze(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of `import`.")],
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("results/report"),
    all_finished: Annotated[
        bool,
        typer.Option(
            "--all-finished",
            help="Count every finished trial of an unfinished population. By default, trials after "
            "the first model without one are set aside, as fast models finish first.",
        ),
    ] = False,
    first: Annotated[
        int | None,
        typer.Option(help="Only the first so many models of each population, in sampled order."),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Difference in mean error, in percent, that counts as none.")
    ] = 1.0,
    claims: Annotated[
        Path | None, typer.Option(help="YAML file of claims written down beforehand.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Trade-offs of error against flops, params, acts, latency or memory: Pareto "
            "fronts, best error within a cost. Several with commas."
        ),
    ] = None,
    figures: Annotated[
        list[str] | None,
        typer.Option(
            help="Formats of the figures: svg, png or pdf, several with commas; by default svg,png."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Compare populations: EDFs, bands, tests, bootstrap, quantized-linear fits, and a report.

    Examples:

      designspace analyze results/a results/b --out results/report

      designspace analyze results/a --out results/a/report --json

      designspace analyze results/a results/b --margin 0.5 --claims claims.yaml --out results/study

      designspace analyze results/a results/b --first 100 --out results/report

      designspace analyze results/a results/b --against flops,latency --out results/report
    """
    import designspace as ds
    from designspace.analysis.headline import narrate
    from designspace.analysis.trade_off_text import trade_off_sentences
    from designspace.io.atomic_write import check_output_folder
    from designspace.report.figure_files import check_formats

    formats = check_formats(split_commas(figures) or ("svg", "png"))
    check_output_folder(out)
    findings = ds.analyze(
        runs,
        margin=margin,
        claims=claims,
        all_finished=all_finished,
        first=first,
        against=against or (),
    )
    index = findings.save(out, formats)
    if json_:
        print((index.parent / "summary.json").read_text(encoding="utf-8"), end="")
        return
    for warning in narrate(findings).warnings:
        for argument, flag in _FLAGS.items():
            warning = warning.replace(argument, flag)
        print(f"warning: {warning}")
    for p in findings.populations:
        print(f"{p.name}: {p.edf.legend} n = {p.edf.n} of {p.accounting.n}")
        if p.accounting.set_aside:
            print(
                f"  {p.accounting.set_aside} finished trials after the first model without one are "
                "set aside; --all-finished counts them"
            )
    for pair in findings.comparisons:
        print(pair.sentence)
    for trade_off in findings.trade_offs:
        print("\n".join(trade_off_sentences(trade_off)))
    print(f"report: {index}")
