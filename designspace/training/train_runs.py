"""Train the populations of run folders."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from designspace.arch import body_axes
from designspace.arch.plugins import block_for_workers
from designspace.data.cache import LARGE, Cache
from designspace.data.decode import Geometry, geometries, median_side
from designspace.data.prepare import prepare_images
from designspace.errors import InputError
from designspace.io.atomic_write import make_folder, remove_temporary_files
from designspace.runs import DataRecord, Execution, Recipe, Run, Trial, TrialState
from designspace.runs.image_results import MAX_IMAGES
from designspace.runs.training_options import absolute_source, check_training_options
from designspace.space.recipe_axis import settings_of
from designspace.training import devices
from designspace.training.driver import Driver, Observer, RunPlan, RunProgress
from designspace.training.gpu_workers import GpuWorkers
from designspace.training.loky_workers import LokyWorkers, Work, Workers
from designspace.training.train_task import import_trainer, train_task
from designspace.training.trial_task import TrialTask, trial_seed

# Images are said to be downscaled from this factor; common photographs at 224 pixels stay below.
_MIN_DOWNSCALING = 3


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training.

    Attributes:
        data: A data set, as `parse_source` takes it.
        recipe: The recipe; its resolution may be None.
        val: held-out or test.
        seed: Seed of the run.
        indices: Models to train, or None for all.
        jobs: Trials at once, or None for the devices' default; on GPUs, as many as prove fastest.
        device: auto, cpu, cuda, cuda:N or mps.
        retry: Train failed models again.
        time_limit: Seconds that a trial may train, or None.
        compiled: Use torch.compile.
        exact: On CUDA, use deterministic algorithms.
        image_results: Keep which validation images each model classified correctly, or None to do
            so for up to `MAX_IMAGES` images.
        download: Download the data set if it is missing.
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
    image_results: bool | None = None
    download: bool = False
    home: Path | None = None
    elsewhere: bool = False

    @property
    def execution(self) -> Execution:
        """The options that the run remembers besides the recipe."""
        return Execution(
            self.device, self.exact, self.compiled, self.time_limit, self.image_results
        )


def local_workers(options: TrainOptions, trials: int, work: Work = train_task) -> Workers:
    """Start workers for up to `options.jobs` trials at once, but no more than there are."""
    names = devices.resolve_devices(options.device)
    if names[0].startswith("cuda") and not options.compiled:
        jobs = min(options.jobs or trials, trials)
        per_device = None if options.jobs is None else -(-jobs // len(names))
        return GpuWorkers(per_device, work, names[:jobs], options.jobs)
    jobs = min(options.jobs or devices.default_jobs(names, options.compiled), trials)
    return LokyWorkers(jobs, work, names, import_trainer)


def train_runs(
    runs: Sequence[tuple[Run, TrainOptions]],
    observer: Observer,
    make_workers: Callable[[TrainOptions, int], Workers] = local_workers,
    until: Callable[[], str | None] = lambda: None,
) -> tuple[RunProgress, ...]:
    """Train the models of one or more runs that have no trial yet, the runs in turns.

    Args:
        runs: Run folders with their options; `jobs` is that of the first, and `device` and
            `compiled` are those of all.
        observer: Receives messages and progress.
        make_workers: Starts the workers, given options and the number of trials.
        until: Called after each trial; a returned text is shown and ends the training.

    Returns:
        The final progress of each run.

    Raises:
        InputError: The options don't match the data, the run or this machine, runs differ in
            options that all workers share, or the images can't be read or a journal written.
            Finished trials are kept.
    """
    _check_distinct([run for run, _ in runs])
    for _, options in runs:
        _check(options)
    with ExitStack() as stack:
        for run, _ in runs:
            stack.enter_context(run.lock())
            run.heartbeat_file.unlink(missing_ok=True)  # of a driver that was killed
        selections = [_select(run, options) for run, options in runs]
        for run, _ in runs:
            for folder in (run.path, make_folder(run.checkpoints)):
                remove_temporary_files(folder)
        trials = sum(len(indices) for indices, _ in selections)
        if not trials and all(_names_the_same_training(run, options) for run, options in runs):
            # Finished runs may have come from a machine with other devices and paths.
            return tuple(_progress(done) for _, done in selections)
        _check_together(runs)
        for _, options in runs:
            _check_precision(options)

        def start() -> Workers:
            return stack.enter_context(closing(make_workers(runs[0][1], trials)))

        # Processes here start while the driver prepares the images; workers elsewhere may cost.
        workers = None if runs[0][1].elsewhere else start()
        images = _Images(observer)
        plans = [
            _plan(i, run, options, images, *selection)
            for i, ((run, options), selection) in enumerate(zip(runs, selections, strict=True))
        ]
        try:
            return Driver(plans, workers or start(), observer, until).run()
        finally:
            for run, _ in runs:
                run.heartbeat_file.unlink(missing_ok=True)


def _plan(
    run_index: int,
    run: Run,
    options: TrainOptions,
    images: "_Images",
    indices: Sequence[int],
    done: Sequence[Trial],
) -> RunPlan:
    """Check the options against a run folder and begin the training of some of its models."""
    population = run.population()
    body_axes(population.bodies.block)  # refuse a block that isn't there before anything is written
    options = replace(options, recipe=options.recipe.at(population.skeleton.resolution))
    try:
        cache, data = images.prepare(options, population.skeleton.channels)
    except InputError as error:
        earlier = run.data() if run.begun else None
        if earlier is None or earlier.source == options.data:
            raise
        words = f"{error}; {run.path} was trained on {earlier.source}"
        raise InputError(words, error.argument) from None
    if run.recipe_draws():
        drawn = ", ".join(run.recipe_draws())
        images.observer.note(f"{run.path}: each model trains with the {drawn} that it drew")
    run.begin_training(options.recipe, data, options.execution)
    run.append_trials([])
    local, draws, keep_images = not options.elsewhere, run.recipe_draws(), options.image_results
    if keep_images is None:
        keep_images = data.val_images <= MAX_IMAGES
    tasks = [
        TrialTask(
            id=population.ids[index],
            index=index,
            model=population.model(index).at(classes=data.classes),
            recipe=options.recipe.with_settings(settings_of(draws, index)),
            drawn=settings_of(draws, index),
            seed=trial_seed(options.seed, index),
            cache=cache.path.resolve() if local else None,
            data=data,
            device=options.device,
            checkpoint=run.checkpoint(index).resolve() if local else None,
            home=options.home and options.home.absolute(),
            time_limit=options.time_limit,
            compiled=options.compiled,
            exact=options.exact,
            image_results=keep_images,
            run_index=run_index,
            download=options.download,
            block=block_for_workers(population.bodies.block),
        )
        for index in indices
    ]
    return RunPlan(run, tasks, done, population.cost.flops.tolist())


def _names_the_same_training(run: Run, options: TrainOptions) -> bool:
    """Whether the options name the images, split and seed that the run was trained with."""
    record = run.data()
    return record is not None and (record.source, record.val, record.seed) in (
        (options.data, options.val, options.seed),
        (absolute_source(options.data), options.val, options.seed),
    )


def _progress(done: Sequence[Trial]) -> RunProgress:
    """Return the progress of a run with nothing to train."""
    states = Counter(trial.state for trial in done)
    ended = (states[TrialState.COMPLETE], states[TrialState.DIVERGED], states[TrialState.FAILED])
    return RunProgress(len(done), *ended, running=0, per_hour=0.0, seconds_left=None)


def _check_distinct(runs: list[Run]) -> None:
    paths = [run.path.resolve() for run in runs]
    for i, path in enumerate(paths):
        if path in paths[:i]:
            raise InputError(f"runs has the run folder {runs[i].path} twice", "runs")


def _check(options: TrainOptions) -> None:
    check_training_options(
        data=options.data,
        val=options.val,
        seed=options.seed,
        jobs=options.jobs,
        device=options.device,
        time_limit=options.time_limit,
    )


def _check_precision(options: TrainOptions) -> None:
    if not options.elsewhere and options.recipe.precision not in (None, "fp32"):
        import torch

        from designspace.training import device_setup

        for name in devices.resolve_devices(options.device):
            device_setup.check_precision(torch.device(name), options.recipe.precision)


def _check_together(runs: Sequence[tuple[Run, TrainOptions]]) -> None:
    """Raise if runs that share workers need different ones, or settings of a whole process."""
    (first, settings), *others = runs
    for run, options in others:
        for argument, one, other in (
            ("device", _devices(settings), _devices(options)),
            ("compile", settings.compiled, options.compiled),
        ):
            if one != other:
                raise InputError(
                    f"runs that train together share their workers, but {argument} is {one} for "
                    f"{first.path} and {other} for {run.path}; choose one "
                    f"{argument} for both, or train them one after the other",
                    "runs",
                )
    every = [options for _, options in runs]
    if not any(_on_cuda(options) for options in every):
        return
    if len({(options.recipe.precision == "fp32", options.exact) for options in every}) > 1:
        raise InputError(
            "runs has some that train in fp32 or exactly, and some that do not; train them one "
            "after the other",
            "runs",
        )


def _on_cuda(options: TrainOptions) -> bool:
    return options.elsewhere or _devices(options).startswith("cuda")


def _devices(options: TrainOptions) -> str:
    """Return the devices of the workers; those elsewhere decide what auto stands for."""
    here = not options.elsewhere
    return ", ".join(devices.resolve_devices(options.device)) if here else options.device


class _Images:
    """Finds, splits and decodes images, once for all runs that train on the same ones."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._prepared: dict[tuple[object, ...], tuple[Cache, DataRecord]] = {}

    def prepare(self, options: TrainOptions, channels: int) -> tuple[Cache, DataRecord]:
        """Return the decoded images for some options, and their record."""
        sizes = geometries(options.recipe, channels)
        key = (options.data, options.download, options.val, options.home, sizes)
        if key not in self._prepared:
            self._prepared[key] = self._decode(options, sizes)
        cache, record = self._prepared[key]
        return cache, replace(record, seed=options.seed)

    def _decode(
        self, options: TrainOptions, sizes: tuple[Geometry, Geometry]
    ) -> tuple[Cache, DataRecord]:
        images = prepare_images(
            options.data,
            sizes,
            options.home,
            val=options.val,
            download=options.download,
            observer=self.observer,
        )
        parts, cache = images.split, images.cache
        side, resolution = median_side(parts.train), options.recipe.resolution
        if resolution is not None and side >= _MIN_DOWNSCALING * resolution:
            self.observer.note(
                f"training at {resolution} pixels on images of about {side} pixels; "
                "sample the space at a larger resolution (SPACE@SIZE) to use their detail"
            )
        if cache.train_bytes > LARGE:
            self.observer.note(
                f"{cache.train_bytes / 1e9:.0f} GB of training images: read from {cache.path} in "
                "shuffled chunks"
            )
        record = DataRecord(
            source=absolute_source(options.data),
            val=parts.choice,
            split=parts.words,
            seed=options.seed,
            classes=len(images.source.classes),
            train_images=cache.train_images,
            val_images=cache.val_images,
            content=cache.content,
        )
        return cache, record


def _select(run: Run, options: TrainOptions) -> tuple[list[int], list[Trial]]:
    """Return the indices to train, and the earlier trials of the other selected models.

    Raises:
        InputError: There are no such models, or the run was begun with another recipe.
    """
    run.check_training(options.recipe.at(run.population().skeleton.resolution))
    n = len(run.population())
    selected = sorted(set(range(n) if options.indices is None else options.indices))
    outside = [index for index in selected if not 0 <= index < n]
    if outside:
        raise InputError(f"indices has {outside[0]}; {run.path} has models 0 to {n - 1}", "indices")
    draws = run.recipe_draws()
    for index in selected if draws else ():
        drawn = settings_of(draws, index)
        try:
            options.recipe.with_settings(drawn)
        except InputError as error:
            values = ", ".join(f"{key} {value:g}" for key, value in drawn.items())
            raise InputError(f"{run.path}: model {index} drew {values}: {error}") from None
    trials = {trial.index: trial for trial in run.trials()}
    if options.retry:
        trials = {i: t for i, t in trials.items() if t.state is not TrialState.FAILED}
    return [i for i in selected if i not in trials], [trials[i] for i in selected if i in trials]
