"""Sampling and training the populations of a study."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from designspace.api.population import Population, sample
from designspace.api.run import Run, choose_backend, choose_workers, parse_cluster_options, train
from designspace.errors import InputError
from designspace.runs import Recipe, TrialState
from designspace.runs.training_options import check_training_options
from designspace.runs.trial import training_seconds
from designspace.space import sample_prefix
from designspace.studies.check_begun import check_begun
from designspace.studies.shared_trials import share_trials
from designspace.studies.study_file import PopulationEntry, StepEntry, StudyFile
from designspace.studies.study_inputs import (
    OF_RECIPE,
    entry_recipe,
    population_space,
    study_budgets,
    study_data,
    study_recipe,
)
from designspace.studies.subset import choose_models, is_subset
from designspace.studies.toggle import may_leave_models_equal, toggled, toggled_hash, toggled_source


class StudyTraining:
    """Trains what a study file states and is missing."""

    def __init__(
        self,
        path: Path,
        folder: Path,
        file: StudyFile,
        data: str | None,
        progress: bool,
        options: dict[str, Any],
    ) -> None:
        """Refer to a study.

        Args:
            path: Its file.
            folder: Its results.
            file: What the file states.
            data: In place of the file's data, or None.
            progress: As of `designspace.train`.
            options: As of `designspace.train`, in place of the file's.
        """
        self._path, self._folder, self._file = path, folder, file
        stated = file.train.model_dump(exclude_none=True)
        overriding = {key: value for key, value in options.items() if value is not None}
        stated_data, cache = study_data(path, file), options.get("cache")
        if data is not None or stated_data is not None:
            from designspace.data.stored_source import choose_source

            data = choose_source(data, stated_data, path, None if cache is None else Path(cache))
        self._options = {**stated, **overriding, "data": data, "progress": progress}
        self._retried: set[tuple[Path, int]] = set()

    def check_begun(self) -> None:
        """Raise if the file states other than what was trained, derived or exported before.

        Raises:
            InputError: With the run or file, and what differs.
        """
        check_begun(self._folder, self._file, self._recipe, self._options, self._path)

    def check(self) -> None:
        """Raise what a later step would: for models that aren't there, or missing test images.

        Raises:
            InputError: A population can't be sampled or toggled as the file states, or the data
                have no images that a part of the study is validated on.
        """
        for name, entry in self._file.populations.items():
            if self._is_refined(self._file.base(name)) or self._is_sampled(name):
                continue
            with _naming(f"populations.{name}"):
                population = self._population(name, self._file.size(name))
                if entry.toggle is not None:
                    toggled(population, entry.toggle)
        parts = {self._file.val_of(entry) for entry in self._file.populations.values()}
        parts |= {self._file.derived_val} if self._file.derived_seeds else set()
        if "test" in parts and self._options["data"] is not None:
            from designspace.data.cache import default_cache_folder
            from designspace.data.prepare import split_data

            cache = self._options.get("cache")
            home = default_cache_folder() if cache is None else Path(cache)
            split_data(self._options["data"], home, "test", bool(self._options.get("download")))

    def run_step(self, step: StepEntry) -> None:
        """Train the populations of a step: those with one schedule together, in turns."""
        groups: dict[tuple[Any, ...], list[str]] = {}
        for name in step.populations:
            entry, n = self._file.entry(name), step.n or self._file.own_size(name)
            subset = name if is_subset(self._file, name) else ""
            groups.setdefault((entry.epochs, entry.seed, entry.val, n, subset), []).append(name)
        runs = {name: self.sample(name, step.n) for name in step.populations}
        # Subsets come last: they may depend on the errors of whole populations.
        ordered = sorted(groups.values(), key=lambda g: is_subset(self._file, g[0]))
        for group in ordered:
            entry, n = self._file.entry(group[0]), step.n or self._file.own_size(group[0])
            if not is_subset(self._file, group[0]):
                for names in self._waves(group):
                    together = [runs[name] for name in names]
                    # A folder may hold models of a later step already.
                    more = any(len(run) > n for run in together)
                    self.train(together, entry, range(n) if more else None)
            else:
                run = runs[group[0]]
                chosen = choose_models(self._file, group[0], self._folder)
                self.train([run], entry, [index for index in chosen if index < len(run)])

    def _waves(self, group: Sequence[str]) -> list[list[str]]:
        """Return populations in parts that train one after the other.

        Toggles that may leave models as they are come after what they repeat, whose trials are
        copied then.
        """
        later = [
            name
            for name in group
            if self._file.entry(name).same_as in group
            and may_leave_models_equal(self._file.entry(name).toggle)
        ]
        return [part for part in ([n for n in group if n not in later], later) if part]

    def train(
        self, runs: Sequence[Run], entry: PopulationEntry, indices: Sequence[int] | None = None
    ) -> None:
        """Train the models of some runs that have no trial yet, here or in another population.

        Args:
            runs: Run folders.
            entry: Their schedule.
            indices: Models to train, or None for all.

        Raises:
            InputError: The data are missing or are not those of the earlier training.
        """
        retry = bool(self._options.get("retry")) and self._retries(runs, indices)
        for run in runs:
            if not _finished(run, indices, retry):
                self._share(run, entry, indices, retry)
        if all(_finished(run, indices, retry) for run in runs):
            return
        if self._options["data"] is None and any(run.data() is None for run in runs):
            raise InputError("data is missing; try 'digits', or 'folder:PATH'", "data")
        try:
            train(
                runs,
                recipe=self._recipe,
                epochs=self._file.epochs_of(entry),
                seed=entry.seed,
                val=self._file.val_of(entry),
                only=indices,
                **{**self._options, "retry": retry},
            )
        except KeyboardInterrupt as stop:
            stop.args = ("stopped; the same call resumes",)
            raise

    def _retries(self, runs: Sequence[Run], indices: Sequence[int] | None) -> bool:
        """Return whether to retry failed trials of some models: not if all were retried before."""
        failed = {
            (run.path, trial.index)
            for run in runs
            for trial in run.trials()
            if trial.state is TrialState.FAILED and (indices is None or trial.index in indices)
        }
        untried = not failed or not failed <= self._retried
        self._retried |= failed
        return untried

    def _share(
        self, run: Run, entry: PopulationEntry, indices: Sequence[int] | None, retry: bool
    ) -> None:
        share_trials(
            run,
            {name: other for name, other in self._runs().items() if other.path != run.path},
            entry_recipe(self._recipe, self._file, entry, self._options),
            entry.seed,
            self._file.val_of(entry),
            data=self._options["data"],
            indices=indices,
            retry=retry,
        )

    def _runs(self) -> dict[str, Run]:
        """Return the existing run folders of populations and refinements, by name."""
        places = {name: self._folder / name for name in self._file.runs}
        return {
            name: Run.open(place)
            for name, place in places.items()
            if (place / "space.yaml").is_file()
        }

    def core_hours(self) -> float:
        """Return the hours of cores or GPUs that populations and refinements took to train."""
        # Copies in journals of earlier versions don't say that they are.
        trials = {
            (trial.id, trial.index, trial.seed, trial.curve, trial.seconds): trial
            for run in self._runs().values()
            for trial in run.trials()
            if not trial.copied_from
        }
        return training_seconds(trials.values()) / 3600

    def _is_refined(self, entry: PopulationEntry) -> bool:
        """Return whether a refinement writes the space of an entry."""
        space = str(entry.space).partition("@")[0]
        return space in {refinement.space for refinement in self._file.refinements}

    def _is_sampled(self, name: str) -> bool:
        place = self._folder / name
        return (place / "space.yaml").is_file() and len(Run.open(place)) >= self._file.size(name)

    @cached_property
    def _recipe(self) -> Recipe:
        return study_recipe(self._path, self._file)

    def _population(self, name: str, n: int) -> Population:
        """Sample n models of a population without its toggle, or more if the folder holds more."""
        place = self._folder / name
        if (place / "space.yaml").is_file():
            n = max(n, len(Run.open(place)))
        space = population_space(self._path, self._folder, self._file, name)
        costs: dict[str, Any] = self._file.budget_of(self._file.base(name))
        population: Population = sample(space, n, **costs, seed=self._file.seed)
        return population

    def most(self, name: str, n: int) -> int:
        """Return how many models of a population a search for n finds, at most n."""
        space = population_space(self._path, self._folder, self._file, name)
        budgets = study_budgets(self._file, name)
        return len(sample_prefix(space, n, budgets, self._file.seed).population)

    def sample(self, name: str, n: int | None = None) -> Run:
        """Sample n models of a population into its folder, or more if it holds more.

        Raises:
            InputError: Too few models fit the budget, or the folder holds other models.
        """
        entry = self._file.entry(name)
        original = self._population(name, n or self._file.own_size(name))
        if entry.toggle is None:
            return original.save(self._folder / name)
        population = toggled(original, entry.toggle)
        ((setting, value),) = entry.toggle.items()
        record = original.record()
        source = {
            **toggled_source(original.space.source, entry.toggle, population),
            "name": f"{original.space.name}-{setting}-{value}",
            "reason": f"The models of {entry.same_as} with {setting} = {value}.",
            "sample": {**record, "hash": toggled_hash(record["hash"], entry.toggle)},
        }
        return Run.create(self._folder / name, source, population)


def check_overrides(
    path: Path, file: StudyFile, data: str | None, options: Mapping[str, Any]
) -> None:
    """Raise for a wrong option of a study's training, also where nothing is trained.

    Args:
        path: The study's file.
        file: What it states. Its data may be elsewhere: reports need no images.
        data: In place of the file's data, or None.
        options: As of `designspace.train`, in place of the file's.

    Raises:
        InputError: For the first wrong one.
    """
    check_training_options(
        data=data or "digits",
        val=file.val,
        seed=file.seed,
        jobs=options.get("jobs"),
        device=options.get("device") or file.train.device,
        time_limit=options.get("time_limit"),
    )
    changes = {key: options.get(key) for key in OF_RECIPE}
    study_recipe(path, file).override(**changes)
    log, tensorboard = options.get("log") or (), bool(options.get("tensorboard"))
    if log or tensorboard:
        from designspace.training.metric_logger import check_loggers, chosen_loggers

        check_loggers(chosen_loggers(log, tensorboard))
    backend, scheduler, cluster = map(options.get, ("backend", "scheduler", "cluster"))
    of_cluster = parse_cluster_options(options.get("cluster_options") or ())
    if backend or scheduler or cluster or of_cluster:
        backend = choose_backend(backend, scheduler, cluster)
        choose_workers(backend, scheduler, cluster, of_cluster)


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Name the place in the study's file in errors."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _finished(run: Run, indices: Sequence[int] | None, retry: bool) -> bool:
    failed = TrialState.FAILED if retry else None
    trained = {trial.index for trial in run.trials() if trial.state is not failed}
    return trained.issuperset(range(len(run)) if indices is None else indices)
