"""Training a population: what is asked for, held against what is there, then driven to its end."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from designspace.arch import Population
from designspace.data.batches import LARGE
from designspace.data.cache import Cache, Progress, build_cache, default_home
from designspace.data.decode import geometries
from designspace.data.sources import load_source
from designspace.data.splits import split
from designspace.errors import InputError
from designspace.io.files import make_folder, remove_half_written
from designspace.io.lock import lock
from designspace.runs import DataRecord, Recipe, Run, Trial, TrialState
from designspace.runs.heartbeat import remove_heartbeat
from designspace.runs.options import absolute_source, check_training_options
from designspace.training import devices
from designspace.training.driver import Driver, Observer, RunPlan, RunProgress
from designspace.training.loky_workers import LokyWorkers, Work, Workers
from designspace.training.trial_task import TrialTask, run_task, trial_seed

# What a worker that was killed leaves of a checkpoint: the model's number and its own.


@dataclass(frozen=True)
class Request:
    """What a person asks of `designspace train`.

    Attributes:
        data: digits, cifar10, cifar100, folder:PATH or imagenet:PATH.
        recipe: As chosen and overridden; its resolution may still be open.
        val: held-out or test.
        seed: Seed of the run.
        indices: Models to train, or None for all.
        jobs: Trials at once, or None for what suits the devices.
        device: auto, cpu, cuda, cuda:N or mps.
        retry: Train failed models again.
        time_limit: Seconds a trial may train, or None.
        compiled: Use torch.compile.
        exact: On CUDA, equal bits in every run, at some speed.
        download: Fetch the data set when it is missing.
        home: Folder of image caches and downloads, or None for the user's cache folder.
        elsewhere: Workers may be on other machines: they decode their own images and keep their
            own checkpoints.
    """

    data: str
    recipe: Recipe
    val: str = "held-out"
    seed: int = 0
    indices: tuple[int, ...] | None = None
    jobs: int | None = None
    device: str = "auto"
    retry: bool = False
    time_limit: float | None = None
    compiled: bool = False
    exact: bool = False
    download: bool = False
    home: Path | None = None
    elsewhere: bool = False


def local_workers(request: Request, jobs: int, work: Work = run_task) -> Workers:
    """Make worker processes on this machine, as many as asked for but no more than `jobs`."""
    places = devices.resolve_devices(request.device)
    return LokyWorkers(min(request.jobs or devices.default_jobs(places), jobs), work, places)


def train_runs(
    runs: Sequence[tuple[Run, Request]],
    observer: Observer,
    cache_progress: Progress | None = None,
    make_workers: Callable[[Request, int], Workers] = local_workers,
    until: Callable[[], str | None] = lambda: None,
) -> tuple[RunProgress, ...]:
    """Train the models of one or more run folders that have no trial yet, the runs in turns.

    Args:
        runs: Folders that hold populations, each with what is asked for; they get recipe.yaml and
            trials.jsonl. Jobs and device are those of the first.
        observer: Told how it goes.
        cache_progress: Told how many images are decoded.
        make_workers: Makes the workers, given a request and the number of trials to come.
        until: Asked after each trial; words end the training there.

    Returns:
        How each run ended.

    Raises:
        InputError: A request doesn't fit the data, its folder or this machine; or a journal can't
            be written. Every trial that was finished before is kept.
    """
    _check_apart([folder for folder, _ in runs])
    for _, request in runs:
        _check(request)
    with ExitStack() as locks:
        for folder, _ in runs:
            locks.enter_context(lock(folder.lock_file, f"the run folder {folder.path}"))
        images = _Images(observer, cache_progress)
        shares = [_share(i, folder, request, images) for i, (folder, request) in enumerate(runs)]
        trials = sum(len(share.tasks) for share in shares)
        workers = make_workers(runs[0][1], max(1, trials))
        try:
            return Driver(shares, workers, observer, until).run()
        finally:
            workers.close()
            for folder, _ in runs:
                remove_heartbeat(folder)


def _share(run: int, folder: Run, request: Request, images: "_Images") -> RunPlan:
    """Hold what is asked for against what a folder holds; begin its training."""
    population = folder.population()
    request = replace(request, recipe=request.recipe.at(population.skeleton.resolution))
    folder.check_training(request.recipe)
    todo, done = _select(folder, request, population)
    cache, data = images.prepare(request)
    folder.begin_training(request.recipe, data)
    folder.append_trials([])
    for place in (folder.path, make_folder(folder.checkpoints)):
        remove_half_written(place)
    tasks = [_task(run, folder, request, population, data, cache, index) for index in todo]
    return RunPlan(folder, tasks, done, population.cost.flops.tolist())


def _check_apart(folders: list[Run]) -> None:
    places = [folder.path.resolve() for folder in folders]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise InputError(f"the run folder {folders[i].path} is given twice")


def _check(request: Request) -> None:
    check_training_options(
        data=request.data,
        val=request.val,
        seed=request.seed,
        jobs=request.jobs,
        device=request.device,
        time_limit=request.time_limit,
    )
    if not request.elsewhere:
        devices.resolve_devices(request.device)


class _Images:
    """Finds, splits and decodes images, once for all runs that train on the same ones."""

    def __init__(self, observer: Observer, progress: Progress | None) -> None:
        self._observer, self._progress = observer, progress
        self._known: dict[tuple[object, ...], tuple[Cache, DataRecord]] = {}

    def prepare(self, request: Request) -> tuple[Cache, DataRecord]:
        """Return the images that a request asks for, and the record of them."""
        sizes = geometries(request.recipe)
        key = (request.data, request.download, request.val, request.home, sizes)
        if key not in self._known:
            self._known[key] = self._decode(request)
        cache, record = self._known[key]
        return cache, replace(record, seed=request.seed)

    def _decode(self, request: Request) -> tuple[Cache, DataRecord]:
        home = request.home or default_home()
        source = load_source(request.data, request.download, home / "data")
        parts = split(source, request.val)
        sizes, cores = geometries(request.recipe), devices.available_cores()
        cache = build_cache(parts, sizes, home / "images", cores, self._progress)
        if cache.train_bytes > LARGE:
            self._observer.note(
                f"{cache.train_bytes / 1e9:.0f} GB of training images: read from {cache.path} in "
                "shuffled chunks"
            )
        record = DataRecord(
            source=absolute_source(request.data),
            val=parts.choice,
            split=parts.words,
            seed=request.seed,
            classes=len(source.classes),
            train_images=cache.train_images,
            val_images=cache.val_images,
            content=cache.content,
        )
        return cache, record


def _task(
    run: int,
    folder: Run,
    request: Request,
    population: Population,
    data: DataRecord,
    cache: Cache,
    index: int,
) -> TrialTask:
    here = not request.elsewhere
    return TrialTask(
        id=population.ids[index],
        index=index,
        model=population.model(index).at(classes=data.classes),
        recipe=request.recipe,
        seed=trial_seed(request.seed, index),
        cache=cache.path.resolve() if here else None,
        data=data,
        device=request.device,
        checkpoint=folder.checkpoints.resolve() / f"{index:05d}.pt" if here else None,
        home=request.home,
        time_limit=request.time_limit,
        compiled=request.compiled,
        exact=request.exact,
        run=run,
    )


def _select(folder: Run, request: Request, population: Population) -> tuple[list[int], list[Trial]]:
    """Return the indices to train, and the trials of earlier calls among those asked for."""
    size = len(population)
    asked = range(size) if request.indices is None else request.indices
    beyond = [index for index in asked if not 0 <= index < size]
    if beyond:
        raise InputError(
            f"model {beyond[0]} is not in {folder.path}, which has models 0 to {size - 1}"
        )
    trials = {trial.index: trial for trial in folder.trials()}
    for index, trial in trials.items():
        if trial.id != population.ids[index]:
            raise InputError(
                f"{folder.trials_file}: the trial of model {index} is of {trial.id}, the "
                f"population has {population.ids[index]} there: the journal is of another run"
            )
    if request.retry:
        trials = {i: t for i, t in trials.items() if t.state is not TrialState.FAILED}
    wanted = sorted(set(asked))
    return [i for i in wanted if i not in trials], [trials[i] for i in wanted if i in trials]
