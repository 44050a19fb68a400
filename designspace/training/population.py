"""Training a population: what is asked for, held against what is there, then driven to its end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from designspace.errors import InputError
from designspace.files import make_folder
from designspace.runs import DataRecord, Recipe, RunFolder, Trial, TrialState
from designspace.runs.live import remove_live
from designspace.runs.lock import lock
from designspace.training import devices
from designspace.training.cache import Cache, Progress, build_cache, default_home
from designspace.training.decode import geometries
from designspace.training.driver import Driver, Observer, Snapshot
from designspace.training.sources import load_source
from designspace.training.splits import Split, split
from designspace.training.task import TrialTask, run_task, trial_seed
from designspace.training.workers import LokyWorkers, Work, Workers


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
        download: Fetch the data set when it is missing.
        home: Folder of image caches and downloads, or None for the user's cache folder.
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
    download: bool = False
    home: Path | None = None


def train_population(
    folder: RunFolder,
    request: Request,
    observer: Observer,
    cache_progress: Progress | None = None,
    work: Work = run_task,
    make_workers: Callable[[int, Work, tuple[str, ...]], Workers] = LokyWorkers,
) -> Snapshot:
    """Train the models of a run folder that have no trial yet.

    Args:
        folder: Holds the population; gets recipe.yaml and trials.jsonl.
        request: What is asked for.
        observer: Told how it goes.
        cache_progress: Told how many images are decoded.
        work: What a worker does with a task.
        make_workers: Makes the workers, given their number, their work and the devices.

    Raises:
        InputError: The request doesn't fit the data, the folder or this machine; or the journal
            can't be written. Every trial that was finished before is kept.
    """
    if request.seed < 0:
        raise InputError(f"--seed is {request.seed}; it must be 0 or more")
    if request.jobs is not None and request.jobs < 1:
        raise InputError(f"--jobs is {request.jobs}; it must be at least 1")
    places = devices.find_devices(request.device)
    jobs = request.jobs or devices.default_jobs(places)
    with lock(folder.lock_file, f"the run folder {folder.path}"):
        population = folder.population()
        recipe = request.recipe.at(population.frame.resolution)
        todo, done = _select(folder, request, len(population))
        home = request.home or default_home()
        source = load_source(request.data, request.download, home / "data")
        parts = split(source, request.val)
        decoders = devices.available_cores()
        cache = build_cache(parts, geometries(recipe), home / "images", decoders, cache_progress)
        record = _record(request, parts, cache, len(source.classes))
        folder.begin_training(recipe, record)
        folder.append_trials([])
        make_folder(folder.checkpoints)

        def task(index: int) -> TrialTask:
            return TrialTask(
                id=population.ids[index],
                index=index,
                model=population.model(index).at(classes=record.classes),
                recipe=recipe,
                seed=trial_seed(request.seed, index),
                cache=cache.path.resolve(),
                content=cache.content,
                split=parts.words,
                device=places[0],
                checkpoint=folder.checkpoints.resolve() / f"{index:05d}.pt",
                time_limit=request.time_limit,
                compiled=request.compiled,
            )

        flops = dict(enumerate(population.cost.flops.tolist()))
        workers = make_workers(min(jobs, max(1, len(todo))), work, places)
        tasks = [task(index) for index in todo]
        try:
            return Driver(folder, tasks, flops, done, workers, observer).run()
        finally:
            workers.close()
            remove_live(folder)


def _select(folder: RunFolder, request: Request, size: int) -> tuple[list[int], list[Trial]]:
    """Return the indices to train, and the trials of earlier calls among those asked for."""
    asked = range(size) if request.indices is None else request.indices
    beyond = [index for index in asked if not 0 <= index < size]
    if beyond:
        raise InputError(
            f"model {beyond[0]} is not in {folder.path}, which has models 0 to {size - 1}"
        )
    trials = {trial.index: trial for trial in folder.trials()}
    if request.retry:
        trials = {i: t for i, t in trials.items() if t.state is not TrialState.FAILED}
    wanted = sorted(set(asked))
    return [i for i in wanted if i not in trials], [trials[i] for i in wanted if i in trials]


def _record(request: Request, parts: Split, cache: Cache, classes: int) -> DataRecord:
    spec = request.data
    kind, colon, path = spec.partition(":")
    if colon:
        spec = f"{kind}:{Path(path).expanduser().resolve()}"
    return DataRecord(
        source=spec,
        val=parts.choice,
        split=parts.words,
        seed=request.seed,
        classes=classes,
        train_images=cache.train_images,
        val_images=cache.val_images,
        content=cache.content,
    )


def parse_indices(text: str) -> tuple[int, ...]:
    """Read model numbers as people write them: 0-249, 7,12-15.

    Raises:
        InputError: It is not such a list.
    """
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        low = int(first) if first.isdecimal() else -1
        high = (int(last) if last.isdecimal() else -1) if dash else low
        if not 0 <= low <= high < 10**7:
            raise InputError(
                f"--only {text!r}: {part!r} is not a number or a range low-high, as in 0-249,300"
            )
        found += range(low, high + 1)
    return tuple(found)


def first_indices(limit: int, indices: tuple[int, ...] | None, size: int) -> tuple[int, ...]:
    """Return the first `limit` of the models asked for."""
    if limit < 1:
        raise InputError(f"--limit is {limit}; it must be at least 1")
    return tuple(sorted(set(range(size) if indices is None else indices)))[:limit]


def asked_again(folder: RunFolder, request: Request) -> Request:
    """Return the request with the seed and split that the folder was trained with before."""
    before = folder.data()
    return request if before is None else replace(request, val=before.val, seed=before.seed)
