"""`designspace train`: train every model of a run, by one recipe."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import (
    LABELLED_DATA,
    Backend,
    BatchSize,
    Cache,
    Cluster,
    ClusterOption,
    Compile,
    Download,
    Exact,
    ImageResults,
    LearningRate,
    Log,
    Scheduler,
    Tensorboard,
    TimeLimit,
    TrialsAtOnce,
    split_commas,
)


def train(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders of `sample`; they take turns."),
    ],
    data: Annotated[
        str | None,
        typer.Option(help=f"{LABELLED_DATA}."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="dds, dds-25, dds-100, cifar, quick, or a .yaml file; `parent: cifar` in it "
            "takes what it doesn't set from there."
        ),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(help="Validation images: held-out (of the training images, default) or test."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run; by default 0.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Overrides the recipe's.")] = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, tf32, bf16 or fp16; by default the recipe's, or the device's."),
    ] = None,
    jobs: TrialsAtOnce = None,
    device: Annotated[
        str | None, typer.Option(help="auto (default), cpu, cuda, cuda:N or mps.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Models to train: 0-249,300.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many of them.")] = None,
    until: Annotated[
        float | None,
        typer.Option(
            help="Stop once an anytime-valid test at this level, such as 0.95, separates every "
            "other run from the first."
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Train failed models again.")] = False,
    time_limit: TimeLimit = None,
    compile: Compile = None,
    exact: Exact = None,
    image_results: ImageResults = None,
    download: Download = False,
    cache: Cache = None,
    tensorboard: Tensorboard = False,
    log: Log = None,
    backend: Backend = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
    cluster_option: ClusterOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON at the end.")] = False,
) -> None:
    """Train every model of one or more runs that has no trial yet, by the same recipe.

    Interrupt it at any time: the same command resumes, within a trial too. Run again, it needs no
    options but --cache: data, recipe, split, seed, precision, device, time limit, compile, exact
    and image results are those of the last time. Several runs take turns, so that whenever you
    stop, all are equally far. Exits with 1 if every model of a run failed.

    Examples:

      designspace train results/a --data digits --recipe quick

      designspace train results/a --data folder:cifar10 --recipe cifar --jobs 2

      designspace train results/a --only 0-249

      designspace train results/a results/b --until 0.95

      designspace train results/a --scheduler tcp://10.0.0.1:8786

      designspace train results/a --cluster slurm --jobs 32 --cluster-option queue=gpu
    """
    import json

    import designspace as ds

    ends = ds.train(
        runs,
        data,
        recipe,
        val=val,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        precision=precision,
        jobs=jobs,
        device=device,
        only=only,
        limit=limit,
        until=until,
        retry=retry,
        time_limit=time_limit,
        compile=compile,
        exact=exact,
        image_results=image_results,
        download=download,
        cache=cache,
        tensorboard=tensorboard,
        log=split_commas(log),
        backend=backend,
        scheduler=scheduler,
        cluster=cluster,
        cluster_options=cluster_option or (),
    )
    several = len(runs) > 1
    if json_:
        keys = ("total", "complete", "diverged", "failed")
        counts = [
            {"run": str(run)} | {key: getattr(end, key) for key in keys}
            for run, end in zip(runs, ends, strict=True)
        ]
        print(json.dumps(counts if several else counts[0]))
    else:
        for run, end in zip(runs, ends, strict=True):
            parts = [f"{end.complete} complete"]
            parts += [f"{end.diverged} diverged"] if end.diverged else []
            parts += [f"{end.failed} failed (--retry trains them again)"] if end.failed else []
            prefix = f"{run}: " if several else ""
            print(f"{prefix}{end.finished} of {end.total} models: {', '.join(parts)}")
    if any(end.failed == end.total > 0 for end in ends):
        raise typer.Exit(1)
