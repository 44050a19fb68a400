"""`designspace study`: run a whole study from its file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from designspace.cli import options

if TYPE_CHECKING:
    from designspace.studies.study import Study


def study(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The study file.")],
    data: Annotated[
        str | None,
        typer.Option(help="In place of the file's: digits, cifar10, folder:PATH, imagenet:PATH."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; by default the file's.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print models, budgets, core-hours left and the claims' power."
        ),
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(help="train: stop before the reports. report: write them from what is there."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="decided: extend populations until always-valid tests decide every claim, or the "
            "file's extension is used up."
        ),
    ] = None,
    jobs: options.TrialsAtOnce = None,
    device: Annotated[
        str | None, typer.Option(help="In place of the file's: auto, cpu, cuda, cuda:N or mps.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="In place of the file's: fp32, tf32, bf16 or fp16.")
    ] = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    retry: Annotated[bool, typer.Option("--retry", help="Train failed models again.")] = False,
    time_limit: options.TimeLimit = None,
    compile: options.Compile = None,
    exact: options.Exact = None,
    image_results: options.ImageResults = None,
    download: options.Download = False,
    cache: options.Cache = None,
    tensorboard: options.Tensorboard = False,
    log: options.Log = None,
    backend: options.Backend = None,
    scheduler: options.Scheduler = None,
    cluster: options.Cluster = None,
    cluster_option: options.ClusterOption = None,
    json_: options.Json = False,
) -> None:
    """Run a study from its file: sample, train, analyze, derive and export all that is missing.

    The file holds populations, the order of their training, claims with their margins, n and power,
    reports, and what is derived. Interrupt it at any time: the same command resumes.

    \b
    The least of a file:
      name: rule
      data: digits
      n: 16
      budget: {flops: "180K:220K"}
      populations:
        a: {space: AnyNetXA@8}
        x: {space: RegNetX@8}
      reports:
        report:
          populations: [a, x]
          claims:
            - {claim: RegNets are better, kind: better, first: a, second: x}

    Examples:

      designspace study study.yaml --dry-run

      designspace study study.yaml --data folder:cifar10 --jobs 2

      designspace study study.yaml --until decided

      designspace study results/reference/study.yaml --only report
    """
    import designspace as ds

    whole = ds.Study.load(file, out)
    chosen: dict[str, Any] = {"only": only, "until": until, "retry": retry}
    chosen |= {"jobs": jobs, "device": device, "precision": precision, "batch_size": batch_size}
    chosen |= {"lr": lr, "time_limit": time_limit, "compile": compile, "exact": exact}
    chosen |= {"image_results": image_results, "download": download, "cache": cache}
    chosen |= {"tensorboard": tensorboard, "log": options.split_commas(log)}
    chosen |= {"backend": backend, "scheduler": scheduler, "cluster": cluster}
    chosen["cluster_options"] = cluster_option or ()
    if dry_run:
        whole.check_options(data, **chosen)
        _print(whole, json_, until)
        return
    try:
        page = whole.run(data, **chosen)
    except KeyboardInterrupt as stop:
        stop.args = (f"stopped; `{options.typed_command(context)}` resumes",)
        raise
    if json_:
        _print(whole, True, until)
        return
    if figures := whole.figures().text():
        print(figures)
    for verdict in whole.verdicts():
        print(f"{verdict.report}: {verdict}")
    for place, extended in (whole.sequential_verdicts() if until else {}).items():
        for one in extended:
            print(f"{place}: {one}")
    print(f"page: {page}")


def _print(study: "Study", json_: bool, until: str | None) -> None:
    """Print the plan, and what the reports say about claims and the figures of the paper."""
    import json

    if json_:
        verdicts = [vars(verdict) for verdict in study.verdicts()]
        parts = {**study.plan().to_dict(), **study.figures().to_dict(), "verdicts": verdicts}
        if until:
            sequential = study.sequential_verdicts()
            parts["sequential"] = {p: [v.to_dict() for v in of] for p, of in sequential.items()}
        print(json.dumps(parts))
    else:
        print(*filter(None, [study.plan().text(), study.figures().text()]), sep="\n\n")
