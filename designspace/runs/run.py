"""A run folder: a resolved space, its population, the recipe, and the journal of trials."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, SupportsFloat

from designspace.arch import Model, Population, Skeleton, model_name
from designspace.errors import InputError, check_types
from designspace.io import journal
from designspace.io.atomic_write import (
    POPULATION_FILE,
    make_folder,
    remove_temporary_files,
    write_text,
)
from designspace.io.cached_reads import CachedReads
from designspace.io.file_lock import RETRY_SECONDS, lock, lock_holder
from designspace.io.fingerprint import seal, unseal
from designspace.io.text_files import check_links, check_regular_file
from designspace.io.yaml_files import dump_yaml, read_yaml
from designspace.runs.data_record import DataRecord, parse_data
from designspace.runs.dataframe import run_frame
from designspace.runs.execution import Execution, parse_execution
from designspace.runs.folder_kind import RUN_FILES, check_new_run, holds_records, not_a_run
from designspace.runs.heartbeat import Heartbeat
from designspace.runs.measurements import (
    MEASUREMENTS_FILE,
    Measurement,
    append_measurements,
    measured_columns,
    read_measurements,
    select_measurements,
    settings_of,
)
from designspace.runs.recipe import Recipe, parse_recipe
from designspace.runs.space_file import check_extends, read_population, read_space
from designspace.runs.status import RunStatus, unfinished_checkpoints
from designspace.runs.trial import UNSPECIFIED_SPLIT, Trial, TrialState, check_percent
from designspace.runs.trial_journal import current_trials, read_trials
from designspace.space.recipe_axis import draw_recipes

if TYPE_CHECKING:
    import pandas as pd

    from designspace.arch.body import FloatArray

# Seconds that `Run.record` waits for other processes, each of which records in a moment.
RECORD_SECONDS = 30.0


class Run:
    """A run folder.

    Files are read once, and again after they have changed.

    Attributes:
        path: The folder.
        space_file: The resolved space, and how the population was sampled from it.
        population_file: One model per line.
        recipe_file: The resolved training recipe, with the data and the seed.
        trials_file: One finished trial per line, append-only.
        measurements_file: One measurement of a model's speed per line, append-only.
        heartbeat_file: Progress of the process that trains this run.
        checkpoints: Folder with a checkpoint of each trial in training.
        lock_file: Locked by the one process that trains this run.
    """

    def __init__(self, path: Path | str) -> None:
        """Refer to a folder, which need not exist; see `open` and `create`."""
        self.path = path = Path(path)
        self.space_file = path / "space.yaml"
        self.population_file = path / POPULATION_FILE
        self.recipe_file = path / "recipe.yaml"
        self.trials_file = path / "trials.jsonl"
        self.measurements_file = path / MEASUREMENTS_FILE
        self.heartbeat_file = path / "running.json"
        self.checkpoints = path / "checkpoints"
        self.lock_file = path / ".lock"
        self._read = CachedReads().read

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def name(self) -> str:
        """Name of the folder, which reports use."""
        return self.path.resolve().name

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open an existing run folder.

        Raises:
            InputError: There is no such folder, it has no population, or as `check_files`.
        """
        run = cls(path)
        run.check_files()
        if not (run.space_file.is_file() and run.population_file.is_file()):
            raise not_a_run(path)
        return run

    @classmethod
    def create(cls, path: Path | str, space: dict[str, Any], population: Population) -> Self:
        """Write a population to a new folder, or extend the same population in an existing one.

        The first models of a population don't depend on its size, so a folder of the same space,
        budget and seed may grow; its trials stay valid.

        Args:
            path: The folder; created with its parents.
            space: The resolved space, with a `sample` map of n, budget, seed and hash.
            population: The sampled models.

        Raises:
            InputError: The folder holds another space, budget or seed, more models, or something
                else; or another process uses it.
        """
        check_new_run(Path(path))
        run = cls(make_folder(Path(path)))
        run.check_files()
        with run.lock():
            run._write_population(space, population)
        return run

    def lock(self, wait: float = RETRY_SECONDS) -> AbstractContextManager[None]:
        """Return a context in which this process alone writes to the folder.

        Args:
            wait: Seconds to wait for another process.

        Raises:
            InputError: On entry, if another process holds the lock.
        """
        return lock(self.lock_file, f"the run folder {self.path}", wait)

    def check_files(self) -> None:
        """Refuse links out of the folder, pipes and devices in place of the run's files.

        Raises:
            InputError: There is one; it is named.
        """
        check_links(self.path, RUN_FILES)
        for name in RUN_FILES:
            check_regular_file(self.path / name, "run folder")

    def _write_population(self, space: dict[str, Any], population: Population) -> None:
        remove_temporary_files(self.path)
        models = "".join(journal.encode(record) for record in population.records())
        if self.space_file.exists():
            before, now = self.space().get("sample", {}), space["sample"]
            if before.get("hash") != now["hash"]:
                raise InputError(
                    f"{self.path} holds another population (space, budget or seed differ); "
                    "choose another folder, or remove that one",
                    "out",
                )
            check_extends(self.path, int(before.get("n", 0)), now["n"])
        # A process killed between writing the two files leaves exactly `models`.
        elif (
            self.population_file.exists()
            and journal.read_text_lossy(self.population_file, "population") != models
        ):
            raise InputError(
                f"{self.path} holds a {POPULATION_FILE} of other models, and no space.yaml; choose "
                "another folder",
                "out",
            )
        write_text(self.population_file, models)
        header = "The resolved space and how it was sampled (written by designspace sample)."
        write_text(self.space_file, dump_yaml(seal(space), header))

    def space(self) -> dict[str, Any]:
        """Return the resolved space and its `sample` map as plain data.

        Raises:
            InputError: The file is damaged, or was edited after it was written.
        """
        files = [self.space_file]
        return copy.deepcopy(self._read("space", files, lambda: read_space(self.space_file)))

    def population(self) -> Population:
        """Return the population.

        Raises:
            InputError: A line is damaged, missing, out of order, or was edited.
        """
        return self._read(
            "population",
            [self.space_file, self.population_file],
            lambda: read_population(self.population_file, self.space(), self.space_file),
        )

    def recipe_draws(self) -> "dict[str, FloatArray]":
        """Return the settings of the training that were drawn for each model, each (n,)."""
        return draw_recipes(self.space(), len(self.population()))

    def skeleton(self) -> Skeleton:
        """Return input, stem and strides of all models, with the classes of the training data."""
        skeleton, data = self.population().skeleton, self.data()
        return skeleton if data is None else replace(skeleton, classes=data.classes)

    def _read_recipe_file(self) -> dict[str, Any]:
        return unseal(read_yaml(self.recipe_file, "recipe"), self.recipe_file, "recipe")

    def recipe(self) -> Recipe | None:
        """Return the recipe that this run is trained with, or None before the first training."""
        if not self.recipe_file.exists():
            return None
        plain = self._read("recipe", [self.recipe_file], self._read_recipe_file)
        own = {key: plain[key] for key in plain if key not in ("data", "execution")}
        return parse_recipe(own, self.recipe_file)

    def data(self) -> DataRecord | None:
        """Return the data that this run is trained on, or None before the first training."""
        if not self.recipe_file.exists():
            return None
        plain = self._read("recipe", [self.recipe_file], self._read_recipe_file).get("data")
        return parse_data(plain, self.recipe_file) if isinstance(plain, dict) else None

    def execution(self) -> Execution:
        """Return how the trials of this run were executed last."""
        if not self.recipe_file.exists():
            return Execution()
        plain = self._read("recipe", [self.recipe_file], self._read_recipe_file)
        return parse_execution(plain.get("execution") or {}, self.recipe_file)

    def begin_training(
        self, recipe: Recipe, data: DataRecord, execution: Execution | None = None
    ) -> None:
        """Write recipe.yaml at the first training; later, compare it with the options.

        Args:
            recipe: The recipe.
            data: Data, split and seed.
            execution: Remembered for the next time; it may differ from the earlier one.

        Raises:
            InputError: As `check_training`.
        """
        self.check_training(recipe, data)
        execution = execution or Execution()
        if not self.recipe_file.exists() or not self.begun:
            plain = {**recipe.to_dict(), "data": data.to_dict()}
        elif execution != self.execution():
            plain = self._read_recipe_file()
        else:
            return
        plain.pop("execution", None)
        if execution != Execution():
            plain["execution"] = execution.to_dict()
        header = "What this run is trained with (written by designspace train)."
        write_text(self.recipe_file, dump_yaml(seal(plain), header))

    def checkpoint(self, index: int) -> Path:
        """Return the file of a model's checkpoint, which need not exist."""
        return self.checkpoints / f"{index:05d}.pt"

    @property
    def begun(self) -> bool:
        """Whether there is a trial, or a checkpoint of one."""
        written = self.trials_file.exists() and self.trials_file.stat().st_size > 0
        return written or any(self.checkpoints.glob("*"))

    def check_training(self, recipe: Recipe, data: DataRecord | None = None) -> None:
        """Compare a recipe and data with those that this run was trained with before.

        Raises:
            InputError: Recipe, data, split or seed differ, so that errors would not be comparable.
        """
        if not self.begun:
            return
        before, before_data = self.recipe(), self.data()
        differences = before.differences(recipe) if before else []
        if data is not None:
            if before_data is not None:
                differences += before_data.differences(data)
            else:
                splits = self._splits() - {data.split, UNSPECIFIED_SPLIT}
                if splits and not before:
                    raise holds_records(self.path)
                differences += [f"split: {split}, {data.split}" for split in sorted(splits)]
        if differences:
            raise InputError(
                f"{self.path} was trained with other options ({self.recipe_file.name}, now): "
                f"{'; '.join(differences)}. Repeat the earlier ones, or sample the same population "
                "into another folder"
            )

    def trials(self) -> tuple[Trial, ...]:
        """Return the current trial of each model that has one, in sampled order.

        A later trial supersedes a failed one, and nothing else; the journal keeps every line.

        Raises:
            InputError: A line is damaged, or belongs to another population.
        """
        files = [self.space_file, self.population_file, self.trials_file]
        return self._read("trials", files, lambda: current_trials(self.every_trial()))

    def every_trial(self) -> list[Trial]:
        """Return all trials in the order of the journal, superseded ones too.

        Raises:
            InputError: As `trials`.
        """
        return read_trials(self.trials_file, self.population().ids)

    def ranked_trials(self) -> list[Trial]:
        """Return the complete trials by ascending error, equal ones in sampled order."""
        complete = [t for t in self.trials() if t.state is TrialState.COMPLETE]
        return sorted(complete, key=lambda trial: (trial.error, trial.index))

    def _splits(self) -> set[str]:
        return {trial.split for trial in self.trials()}

    def append_trials(self, trials: Sequence[Trial]) -> None:
        """Append finished trials to the journal; they are on disk when this returns."""
        journal.append(self.trials_file, [trial.to_record() for trial in trials])

    @check_types
    def record(
        self,
        index: int,
        error: SupportsFloat | None,
        *,
        state: str = "complete",
        seconds: float = 0.0,
        reason: str = "",
        curve: Sequence[float] = (),
        seed: int = 0,
        split: str = "own",
    ) -> None:
        """Append a trial that your own training loop measured.

        Errors of one run must be comparable, so all of its trials share one split: with the default
        `split`, a run holds either trials of your own or trials of a recipe. Several processes may
        record in one run: each waits for the others.

        Args:
            index: Number of the model in sampled order.
            error: Top-1 error in percent after the last epoch, or None for a failed trial.
            state: complete, diverged (with chance error) or failed.
            seconds: Training time.
            reason: Why it diverged or failed.
            curve: Error in percent after each epoch.
            seed: Seed of the training.
            split: Name of the images that the error was measured on.

        Raises:
            InputError: An argument is out of range, the model already has a trial that did not
                fail, the run's other trials have another split, or another process has used the
                run for 30 seconds, as one that trains it does.
        """
        population = self.population()
        if not 0 <= index < len(population):
            raise self._no_model(index, "index")
        record = {
            **{"id": population.ids[index], "index": index, "state": state, "reason": reason},
            **{"curve": list(curve), "seconds": seconds, "seed": seed, "split": split},
            "error": None if error is None else check_percent(error),
        }
        trial = Trial.from_record(record, "record")
        with self.lock(RECORD_SECONDS):
            before = {earlier.index: earlier for earlier in self.trials()}
            if index in before and before[index].state is not TrialState.FAILED:
                raise InputError(
                    f"index is {index}; that model already has a trial; to correct it, delete its "
                    f"line in {self.trials_file} first",
                    "index",
                )
            data = self.data() if self.begun else None
            splits = self._splits() | ({data.split} if data else set())
            if splits - {split}:
                raise InputError(
                    f"split is {split!r}; the errors in {self.path} were measured on "
                    f"{' and '.join(sorted(splits))!r} and are not comparable with it",
                    "split",
                )
            self.append_trials([trial])

    def _no_model(self, which: int | str, argument: str) -> InputError:
        last = len(self.population()) - 1
        return InputError(f"{argument} is {which}; {self.path} has models 0 to {last}", argument)

    def model(self, which: int | str) -> Model:
        """Return a model of the run with its provenance.

        Args:
            which: Its index in sampled order, or `"best"`: the lowest error of all complete trials,
                the first of equal ones.

        Raises:
            InputError: There is no such model, or no complete trial.
        """
        population = self.population()
        if which == "best":
            ranked = self.ranked_trials()
            if not ranked:
                raise InputError(f"{self.path}: no model has a complete trial yet, so none is best")
            index = ranked[0].index
        elif isinstance(which, Integral) and 0 <= which < len(population):
            index = int(which)
        else:
            raise self._no_model(which, "which")
        space = self.space()
        sample = space.get("sample") or {}
        provenance = {
            "run": str(self.path),
            "space": str(space.get("name", self.name)),
            **{key: str(sample[key]) for key in ("seed", "hash") if key in sample},
            "id": population.ids[index],
            "index": str(index),
            **{name: f"{drawn[index]:.10g}" for name, drawn in self.recipe_draws().items()},
        }
        body = population.bodies.body(index)
        return Model(
            model_name(self.name, index),
            body,
            self.skeleton().with_stages(body.num_stages),
            population.regnet(index),
            tuple(provenance.items()),
        )

    def status(self) -> RunStatus:
        """Return the status of the run: finished, running and failed models.

        Raises:
            InputError: A file of the run is damaged.
        """
        holder = lock_holder(self.lock_file)
        live = None if holder is None else Heartbeat.read(self.heartbeat_file, holder)
        trials = self.trials()
        done = {trial.index for trial in trials if trial.state is not TrialState.FAILED}
        if live is not None:  # models may have finished since the last heartbeat
            running = {index: since for index, since in live.running.items() if index not in done}
            live = replace(live, running=running)
        # A training process may be writing that line right now.
        torn = live is None and journal.read(self.trials_file, "trials").torn_line is not None
        saved = unfinished_checkpoints(self.checkpoints, done)
        about = (self.path, self.recipe_file.exists(), saved)
        return RunStatus(self.name, len(self.population()), trials, live, torn, *about)

    def measurements(self) -> tuple[Measurement, ...]:
        """Return the last measurement of each network and setting.

        Raises:
            InputError: A line of the journal is damaged.
        """
        file = self.measurements_file
        return self._read("measurements", [file], lambda: read_measurements(file))

    def append_measurements(self, measurements: Sequence[Measurement]) -> None:
        """Append those of a network and setting that has none; call it within `lock`."""
        recorded = {measurement.key for measurement in self.measurements()}
        added = [m for m in measurements if m.key not in recorded]
        append_measurements(self.measurements_file, added)

    def measured(self, **choice: Any) -> dict[str, Measurement]:
        """Return the measurements of one setting by the id of their models.

        Args:
            **choice: Fields of the setting, such as device="cpu", threads=1, batch=1,
                mode="training"; needed where the run was measured in several.

        Raises:
            InputError: No setting or several settings match; the message lists those there are.
        """
        return select_measurements(self.measurements(), self.path, **choice)

    def to_frame(self, **choice: Any) -> "pd.DataFrame":
        """Return a DataFrame with one row per model, indexed by its number.

        Columns: `id`; the parameters (`d1`, `w1`, … of an AnyNet, `d`, `w_0`, … of a RegNet);
        `flops` (multiply-adds), `params`, `acts`; settings of the training that the space draws for
        each model, such as `lr`; of its trial, NaN where there is none, `status`, `error`
        (percent), `epochs`, `seconds`, `seed`, `split`, `reason`, `device`; and of a measured run
        `latency`, `latency_low`, `latency_high` (seconds of a step) and `memory` (bytes).

        Args:
            **choice: The setting of the measurements, as of `measured`. Without it a run that was
                measured in several settings has no columns of them.

        Raises:
            InputError: A file of the run is damaged, or no single setting matches the choice.
        """
        frame = run_frame(self.population(), self.trials(), self.recipe_draws())
        if choice or len(settings_of(self.measurements())) == 1:
            columns = measured_columns(self.population().ids, self.measured(**choice))
            frame = frame.assign(**columns)
        return frame
