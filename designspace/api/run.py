"""Run folders: train them, record errors of your own, read tables and status, merge parts."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from html import escape
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace import runs
from designspace.api.model import Model
from designspace.errors import InputError, check_index, check_types, nearest
from designspace.runs import Recipe, RecipeLike, load_recipe
from designspace.runs.merge import Merged
from designspace.runs.run_list import check_run, list_runs

if TYPE_CHECKING:
    from designspace.pretraining.status import PretrainingStatus
    from designspace.runs.status import RunStatus
    from designspace.training.driver import RunProgress
    from designspace.training.loky_workers import Workers
    from designspace.training.metric_logger import LoggerLike
    from designspace.training.train_runs import TrainOptions


class Run(runs.Run):
    """A run folder: a population, the recipe, and the trials.

    `len(run)` is the number of models and `run[i]` is model i.

    Attributes:
        path: The folder.
        name: Its name, which reports use.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=2, flops="180K:220K", out="results/example")
        >>> trials = run.train(data="digits", recipe="quick", epochs=1, jobs=1, progress=False)
        >>> trials["status"].tolist()
        ['complete', 'complete']
        >>> run.model("best").skeleton.resolution
        8
    """

    def __len__(self) -> int:
        return len(self.population())

    def __getitem__(self, index: int) -> Model:
        return self.model(check_index(index, len(self), "a run"))

    def model(self, which: int | str) -> Model:
        """Return model `which`, an index or "best" (the lowest error of all complete trials).

        Raises:
            InputError: There is no such model, or no complete trial.
        """
        return Model.of(super().model(which))

    def train(
        self,
        data: str | None = None,
        recipe: RecipeLike | None = None,
        **options: Any,
    ) -> Any:
        """Train every model that has no trial yet, and return the table of models and trials.

        Interrupt it at any time: the same call resumes where it stopped, within a trial too.
        Without arguments it resumes with the data, recipe, split and seed of the first call.

        Args:
            data: As of `designspace.train`.
            recipe: dds, dds-25, dds-100, cifar, quick, a YAML file, a map of its keys, or a
                `Recipe`.
            **options: As of `designspace.train`: epochs, jobs, device, progress, …

        Returns:
            `self.to_frame()`.

        Raises:
            InputError: The options do not match the data, the run's earlier trials or this machine.
        """
        train([self], data, recipe, **options)
        return self.to_frame()

    def __repr__(self) -> str:
        try:
            return f"Run({str(self.path)!r}, {self.status().counts})"
        except (InputError, OSError):  # deleted or damaged
            return super().__repr__()

    def _repr_html_(self) -> str:
        about = f"<p><b>{escape(self.name)}</b>: {self.status().counts}</p>"
        return about + str(self.to_frame().head(10).to_html(border=0))


def load_run(path: "str | Path | runs.Run") -> Run:
    """Open a run folder.

    Raises:
        InputError: There is no run folder at the path, or its files are damaged.

    Example:
        >>> import designspace as ds
        >>> saved = ds.sample("RegNetX@8", n=3, flops="180K:220K", out="results/loaded")
        >>> len(ds.load_run("results/loaded"))
        3
    """
    check_run(path, "path")
    return Run.open(path.path if isinstance(path, runs.Run) else path)


def status(
    folders: "Sequence[runs.Run | str | Path] | runs.Run | str | Path",
) -> "list[RunStatus | PretrainingStatus]":
    """Return how far runs and pretrainings are, from their files alone.

    Args:
        folders: Run folders and folders of `pretrain`, one or several.

    Returns:
        For a run its models, trials and rate; for a pretraining its epochs, loss and alarms. Both
        have `to_dict`.

    Raises:
        InputError: A folder is neither.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=2, flops="180K:220K", out="results/status")
        >>> [status] = ds.status("results/status")
        >>> status.n, len(status.trials)
        (2, 0)
    """
    from designspace.runs.folder_kind import is_pretraining

    statuses: list[RunStatus | PretrainingStatus] = []
    for folder in list_runs(folders, "folders"):
        if isinstance(folder, str | Path) and is_pretraining(folder):
            from designspace.pretraining.status import pretraining_status

            statuses.append(pretraining_status(folder))
        else:
            run = folder if isinstance(folder, runs.Run) else load_run(folder)
            statuses.append(run.status())
    return statuses


@check_types
def train(
    runs: "Sequence[Run | str | Path] | Run | str | Path",
    data: str | None = None,
    recipe: RecipeLike | None = None,
    *,
    val: str | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    precision: str | None = None,
    jobs: int | None = None,
    device: str | None = None,
    only: str | Sequence[int] | None = None,
    limit: int | None = None,
    until: float | None = None,
    retry: bool = False,
    time_limit: float | None = None,
    compile: bool | None = None,
    exact: bool | None = None,
    image_results: bool | None = None,
    download: bool = False,
    cache: str | Path | None = None,
    tensorboard: bool = False,
    log: "Sequence[LoggerLike] | LoggerLike" = (),
    backend: str | None = None,
    scheduler: str | None = None,
    cluster: str | None = None,
    cluster_options: Mapping[str, Any] | Sequence[str] = (),
    progress: bool = True,
) -> "list[RunProgress]":
    """Train the models of one or more runs that have no trial yet, by the same recipe.

    Several runs take turns, so that whenever you stop, all are equally far. Interrupt it at any
    time: the same call resumes, within a trial too. Data, recipe, val, seed, precision, device,
    time_limit, compile, exact and image_results are stored with a run: where they are None, those
    of the last call hold.

    Args:
        runs: Run folders.
        data: digits, cifar10, cifar100, folder:PATH, imagenet:PATH, webdataset:PATTERN or hf:PATH.
        recipe: A shipped recipe (dds, dds-25, dds-100, cifar, quick), a YAML file, a map of its
            keys, or a `Recipe`.
        val: Validation images: `"held-out"` (of the training images, the default) or `"test"`.
        seed: Seed of the run.
        epochs: Overrides the recipe's.
        batch_size: Overrides the recipe's.
        lr: Overrides the recipe's.
        precision: Overrides the recipe's: `"fp32"`, `"tf32"`, `"bf16"` or `"fp16"`.
        jobs: Trials at once; by default one per core, and on a GPU as many as prove fastest
            (16 with Dask).
        device: auto (the default), cpu, cuda, cuda:N or mps.
        only: Models to train: indices, or text such as `"0-249,300"`.
        limit: Only the first so many of them.
        until: Stop once an anytime-valid test at this level separates every other run from the
            first, such as 0.95.
        retry: Train failed models again.
        time_limit: Seconds after which a trial fails; `math.inf` removes an earlier limit.
        compile: Use torch.compile.
        exact: On CUDA, choose deterministic algorithms.
        image_results: Keep which validation images each model classified correctly, one bit an
            image, in RUN/correct.jsonl; by default up to 50,000 images (8.5 KB a model).
        download: Fetch the data set if it is missing.
        cache: Folder of decoded images and downloads.
        tensorboard: Write event files to RUN/tensorboard; short for log="tensorboard".
        log: Where else the numbers go: tensorboard, mlflow, wandb, or objects with the methods
            `scalars`, `text` and `close`.
        backend: `"loky"` (this machine) or `"dask"`.
        scheduler: Address of a Dask scheduler.
        cluster: Batch system to start `jobs` Dask workers on, such as `"slurm"`.
        cluster_options: Options of the batch system, as a mapping or as KEY=VALUE.
        progress: Show a progress bar on a terminal or in a notebook, lines elsewhere.

    Returns:
        How each run ended: total, complete, diverged and failed models.

    Raises:
        InputError: The options do not match the data, earlier trials or this machine.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("AnyNetXA@8", n=2, flops="180K:220K", out="results/trained")
        >>> [end] = ds.train([run], "digits", "quick", epochs=1, jobs=1, progress=False)
        >>> end.complete
        2
    """
    folders = [load_run(run) for run in list_runs(runs)]
    backend = choose_backend(backend, scheduler, cluster)
    resolved = [_resume_options(folder, recipe, data, val, seed, cache) for folder in folders]
    options = [
        _train_options(
            folder,
            *resumed,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            precision=precision,
            only=only,
            limit=limit,
            jobs=jobs,
            device=device,
            retry=retry,
            time_limit=time_limit,
            compile=compile,
            exact=exact,
            image_results=image_results,
            download=download,
            cache=cache,
            remote=backend == "dask",
        )
        for folder, resumed in zip(folders, resolved, strict=True)
    ]
    stop = _stop_rule(folders, until)
    make_workers = choose_workers(
        backend, scheduler, cluster, parse_cluster_options(cluster_options)
    )

    from designspace.api.progress import TrainingDisplay, progress_bar
    from designspace.training.metric_logger import chosen_loggers
    from designspace.training.train_runs import train_runs
    from designspace.training.trial_log import TrialLog

    trial_log = TrialLog(chosen_loggers(log, tensorboard))
    stopped = f"stopped; `designspace train {shlex.join(str(f.path) for f in folders)}` resumes"
    with closing(trial_log), progress_bar(stopped, progress) as bar:
        display = TrainingDisplay(bar, trial_log, len(folders) > 1, silent=not progress)
        return [*train_runs([*zip(folders, options, strict=True)], display, make_workers, stop)]


def merge(sources: "Sequence[runs.Run | str | Path]", out: "runs.Run | str | Path") -> Merged:
    """Join the trials of one population that were trained in several places.

    Args:
        sources: Run folders of the same population, trained by the same recipe.
        out: Run folder that gets all trials; it may be one of the sources.

    Returns:
        How many models have a trial now, and which were trained twice.

    Raises:
        InputError: The folders differ in population, recipe, data, split or seed.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=2, flops="180K:220K", out="results/part")
        >>> run.record(0, error=12.5)
        >>> ds.merge([run], "results/whole").trials
        1
    """
    from designspace.runs.merge import merge as join

    if out == "":
        raise InputError("out is empty; pass a path", "out")
    target = out if isinstance(out, runs.Run) else runs.Run(Path(out))
    return join([load_run(source) for source in list_runs(sources, "sources")], target)


def _resume_options(
    folder: runs.Run,
    recipe: RecipeLike | None,
    data: str | None,
    val: str | None,
    seed: int | None,
    cache: str | Path | None,
) -> tuple[Recipe, str, str, int]:
    """Complete the options with those of the run's earlier training."""
    before, record = folder.recipe(), folder.data()
    if recipe is None and before is None:
        raise InputError("recipe is missing; try 'dds', or 'quick' for a first look", "recipe")
    if data is None and record is None:
        raise InputError(
            "data is missing; try 'digits', or 'folder:PATH' for your own images", "data"
        )
    from designspace.data.stored_source import choose_source

    source = choose_source(
        data,
        record.source if record else None,
        folder.path,
        None if cache is None else Path(cache),
    )
    if recipe is None:
        assert before is not None
        chosen = before
    else:
        chosen = load_recipe(recipe)
        if chosen.precision is None and before is not None and folder.begun:
            chosen = chosen.override(precision=before.precision)
    return (
        chosen,
        source or "",
        val or (record.val if record else "held-out"),
        seed if seed is not None else (record.seed if record else 0),
    )


def _train_options(
    folder: runs.Run,
    recipe: Recipe,
    data: str,
    val: str,
    seed: int,
    *,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    precision: str | None,
    device: str | None,
    time_limit: float | None,
    compile: bool | None,
    exact: bool | None,
    image_results: bool | None,
    only: str | Sequence[int] | None,
    limit: int | None,
    cache: str | Path | None,
    remote: bool,
    **others: Any,
) -> "TrainOptions":
    """Check the options of one run; torch is not imported before they have passed."""
    from designspace.runs.training_options import check_training_options, chosen_models

    before = folder.execution()
    device = device or before.device
    time_limit = before.time_limit if time_limit is None else time_limit
    check_training_options(
        data=data,
        val=val,
        seed=seed,
        jobs=others["jobs"],
        device=device,
        time_limit=time_limit,
    )
    only = [only] if isinstance(only, Integral) else only
    text = only if only is None or isinstance(only, str) else ",".join(map(str, only))
    indices = chosen_models(text, limit, len(folder.population()), folder.path)
    overridden = recipe.override(epochs, batch_size, lr, precision)

    from designspace.training.train_runs import TrainOptions

    return TrainOptions(
        data=data,
        recipe=overridden,
        val=val,
        seed=seed,
        indices=indices,
        device=device,
        time_limit=None if time_limit == math.inf else time_limit,
        compiled=before.compile if compile is None else compile,
        exact=before.exact if exact is None else exact,
        image_results=before.image_results if image_results is None else image_results,
        home=None if cache is None else Path(cache),
        elsewhere=remote,
        **others,
    )


def _stop_rule(folders: Sequence[runs.Run], level: float | None) -> Callable[[], str | None]:
    """Return a function that says why training may stop, or None while it must go on."""
    if level is None:
        return lambda: None
    if len(folders) < 2:
        raise InputError("until compares runs; name two or more", "until")
    if not 0.5 <= level < 1:
        raise InputError(
            f"until is {level:g}; it is a level from 0.5 to below 1, such as 0.95", "until"
        )
    from designspace.stats.sequential import decision

    def stop() -> str | None:
        errors = {
            str(folder.path): {trial.index: trial.error for trial in folder.trials()}
            for folder in folders
        }
        return decision(errors, level)

    return stop


def parse_cluster_options(options: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Return options of a batch system, given by key or as KEY=VALUE."""
    from designspace.runs.training_options import parse_cluster_option

    if isinstance(options, Mapping):
        return dict(options)
    return dict(parse_cluster_option(text) for text in options)


def choose_backend(backend: str | None, scheduler: str | None, cluster: str | None) -> str:
    """Return the backend, by default Dask where its scheduler or a batch system is named."""
    return backend or ("dask" if scheduler or cluster else "loky")


def choose_workers(
    backend: str, scheduler: str | None, cluster: str | None, options: Mapping[str, Any]
) -> "Callable[[TrainOptions, int], Workers]":
    """Return the function that starts the workers of a backend.

    Raises:
        InputError: There is no such backend or batch system, or the arguments contradict others.
    """
    from designspace.runs.training_options import check_cluster

    if backend not in ("loky", "dask"):
        raise InputError(f"backend is {backend!r}; {nearest(backend, ['loky', 'dask'])}", "backend")
    if scheduler and cluster:
        raise InputError("scheduler and cluster exclude each other; give one", "scheduler")
    if backend == "loky" and (scheduler or cluster):
        raise InputError("scheduler and cluster need backend='dask'", "backend")
    if options and not cluster:
        raise InputError(
            "cluster_options needs cluster, such as cluster='slurm'", "cluster_options"
        )
    if backend == "loky":
        from designspace.training.train_runs import local_workers

        return local_workers

    check_cluster(cluster)

    def on_dask(request: "TrainOptions", trials: int) -> "Workers":
        from designspace.training.dask_workers import DaskWorkers, connect, has_own_gpus
        from designspace.training.devices import available_cores, default_jobs, resolve_devices
        from designspace.training.train_task import train_task

        if scheduler or cluster:
            # Each job of a cluster may have several workers, of several threads each.
            jobs = min(request.jobs or available_cores(), trials)
            client = connect(scheduler, cluster, options, jobs)
            return DaskWorkers(client, train_task, None if cluster else request.jobs)
        names = resolve_devices(request.device)
        jobs = min(request.jobs or default_jobs(names, request.compiled), trials)
        gpus = tuple(name for name in names if name.startswith("cuda"))
        threads = not request.compiled
        client = connect(None, None, {}, jobs, gpus, threads=threads)
        # There, cuda:1 of this process has another number.
        device = "cuda" if has_own_gpus(gpus, threads) else None
        return DaskWorkers(client, train_task, request.jobs, device)

    return on_dask
