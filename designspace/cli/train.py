"""`designspace train`: every model of a run folder, by one recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from designspace.cli.options import Cache, Device, Download

if TYPE_CHECKING:
    from designspace.runs import Recipe, Run
    from designspace.training.driver import RunProgress
    from designspace.training.loky_workers import Workers
    from designspace.training.train_runs import TrainOptions


def train(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run folders that `designspace sample` wrote; they take turns."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(help="digits, cifar10, cifar100, folder:PATH or imagenet:PATH."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="dds, dds-25, dds-100, cifar, quick, or a .yaml file.")
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="held-out (of the training images, default) or test.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run; 0 unless given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Override the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Override the recipe's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Override the recipe's.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Trials at once; one a core, or 4 a GPU, unless given.")
    ] = None,
    device: Device = "auto",
    only: Annotated[str | None, typer.Option(help="Models to train: 0-249,300.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many of them.")] = None,
    until: Annotated[
        float | None,
        typer.Option(
            help="Stop as soon as every other run is told from the first, at a level that allows "
            "looking after every trial: 0.95."
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Train failed models again.")] = False,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds of training after which a trial fails.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile (for long trials on a GPU).")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="On CUDA too, equal bits in every run; slower.")
    ] = False,
    download: Download = False,
    cache: Cache = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files to RUN/tensorboard.")
    ] = False,
    backend: Annotated[
        str | None, typer.Option(help="loky (this machine) or dask, as the options below suggest.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler: tcp://HOST:8786.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Batch system to start --jobs Dask workers on: slurm.")
    ] = None,
    cluster_option: Annotated[
        list[str] | None, typer.Option(help="For the batch system: queue=gpu, walltime=04:00:00.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON at the end.")] = False,
) -> None:
    """Train every model of one or more run folders that has no trial yet, by the same recipe.

    Interrupt it as you like: the same command goes on where it was, in the middle of a trial too.
    Run again, it needs no options: data, recipe, split and seed are those of the first time.
    Several runs take turns, so that whenever you stop, all are equally long. It exits 1 where every
    model of a run failed.

    Examples:

      designspace train results/a --data digits --recipe quick

      designspace train results/a --data folder:cifar10 --recipe cifar --jobs 2

      designspace train results/a --only 0-249

      designspace train results/a results/b --until 0.95

      designspace train results/a --scheduler tcp://10.0.0.1:8786

      designspace train results/a --cluster slurm --jobs 32 --cluster-option queue=gpu
    """
    import shlex

    from designspace.cli.progress import TrainingDisplay, terminal
    from designspace.runs import Run
    from designspace.runs.options import check_training_options, chosen_models

    folders = [Run.open(run) for run in runs]
    backend = backend or ("dask" if scheduler or cluster else "loky")
    asked = []
    # What can be refused is refused before torch is loaded, which takes seconds.
    for folder in folders:
        chosen, source, split, number = _as_before(folder, recipe, data, val, seed)
        check_training_options(
            data=source, val=split, seed=number, jobs=jobs, device=device, time_limit=time_limit
        )
        some = chosen_models(only, limit, len(folder.population()), folder.path)
        asked.append((source, chosen.override(epochs, batch_size, lr), split, number, some))

    may_stop = _until(folders, until)
    make_workers = _backend(backend, scheduler, cluster, tuple(cluster_option or ()))

    from designspace.training.tensorboard import TrialTensorBoard
    from designspace.training.train_runs import TrainOptions, train_runs

    requests = [
        (
            folder,
            TrainOptions(
                data=source,
                recipe=chosen,
                val=split,
                seed=number,
                indices=some,
                jobs=jobs,
                device=device,
                retry=retry,
                time_limit=time_limit,
                compiled=compiled,
                exact=exact,
                download=download,
                home=cache,
                elsewhere=backend == "dask",
            ),
        )
        for folder, (source, chosen, split, number, some) in zip(folders, asked, strict=True)
    ]
    board = TrialTensorBoard() if tensorboard else None
    again = shlex.join(map(str, runs))
    with terminal(f"stopped; `designspace train {again}` goes on from here") as bar:
        display = TrainingDisplay(bar, board, len(runs) > 1)
        ends = train_runs(requests, display, display.decoded, make_workers, may_stop)
    _tell(runs, ends, json_)
    if any(end.failed == end.total > 0 for end in ends):
        raise typer.Exit(1)


def _tell(runs: list[Path], ends: "tuple[RunProgress, ...]", as_json: bool) -> None:
    """Print how each run ended."""
    import json

    from designspace.cli.progress import summary

    several = len(runs) > 1
    if not as_json:
        for run, end in zip(runs, ends, strict=True):
            print((f"{run}: " if several else "") + summary(end))
        return
    counts = [
        {"run": str(run)}
        | {key: getattr(end, key) for key in ("total", "complete", "diverged", "failed")}
        for run, end in zip(runs, ends, strict=True)
    ]
    print(json.dumps(counts if several else counts[0]))


def _as_before(
    folder: "Run", recipe: str | None, data: str | None, val: str | None, seed: int | None
) -> "tuple[Recipe, str, str, int]":
    """Fill in what isn't given from how the run was trained before."""
    from designspace.errors import InputError
    from designspace.runs import load_recipe

    before, record = folder.recipe(), folder.data()
    if recipe is None and before is None:
        raise InputError("--recipe is missing; try dds, or quick for a first look")
    if data is None and record is None:
        raise InputError("--data is missing; try digits, or folder:PATH for your own images")
    chosen = load_recipe(recipe) if recipe is not None else before
    assert chosen is not None
    return (
        chosen,
        data or (record.source if record else ""),
        val or (record.val if record else "held-out"),
        seed if seed is not None else (record.seed if record else 0),
    )


def _until(folders: "list[Run]", level: float | None) -> "Callable[[], str | None]":
    """Return what says that training may stop, or why it may not be asked for."""
    from designspace.errors import InputError

    if level is None:
        return lambda: None
    if len(folders) < 2:
        raise InputError("--until compares runs: name two or more")
    if not 0.5 <= level < 1:
        raise InputError(f"--until is {level:g}; it is a level from 0.5 to below 1, such as 0.95")
    from designspace.stats.sequential import decision

    def may_stop() -> str | None:
        errors = {
            str(folder.path): {trial.index: trial.error for trial in folder.trials()}
            for folder in folders
        }
        return decision(errors, level)

    return may_stop


def _backend(
    backend: str, scheduler: str | None, cluster: str | None, options: tuple[str, ...]
) -> "Callable[[TrainOptions, int], Workers]":
    """Return what makes the workers; the options of Dask need its backend."""
    from designspace.errors import InputError, nearest
    from designspace.runs.options import check_cluster

    if backend not in ("loky", "dask"):
        raise InputError(f"--backend {backend}: unknown; {nearest(backend, ['loky', 'dask'])}")
    if scheduler and cluster:
        raise InputError("--scheduler and --cluster: give one of them")
    if backend == "loky":
        if scheduler or cluster:
            raise InputError("--scheduler and --cluster go with --backend dask")
        if options:
            raise InputError("--cluster-option goes with --cluster")
        from designspace.training.train_runs import local_workers

        return local_workers
    if options and not cluster:
        raise InputError("--cluster-option goes with --cluster")
    check_cluster(cluster)

    def on_dask(request: "TrainOptions", trials: int) -> "Workers":
        from designspace.training.dask_workers import DaskWorkers, connect
        from designspace.training.devices import available_cores
        from designspace.training.trial_task import run_task

        wanted = min(request.jobs or available_cores(), trials)
        return DaskWorkers(connect(scheduler, cluster, options, wanted), run_task, request.jobs)

    return on_dask
