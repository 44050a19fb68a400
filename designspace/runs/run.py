"""A run folder: the space as resolved, its population, the recipe, and the journal of trials."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from designspace.arch import BodyBatch, Cost, Population, RegNetParams, RegNetParamsBatch, Skeleton
from designspace.arch.body import Body
from designspace.errors import InputError
from designspace.io import journal
from designspace.io.files import (
    dump_yaml,
    make_folder,
    read_yaml,
    refuse_links_out,
    refuse_odd,
    remove_half_written,
    seal,
    unseal,
    validate,
    write_text,
)
from designspace.io.lock import lock
from designspace.runs.data_record import DataRecord, parse_data
from designspace.runs.recipe import Recipe, parse_recipe
from designspace.runs.trial import Trial, TrialState

# What is written, or removed, in a run folder.
_OURS = (
    "space.yaml",
    "population.jsonl",
    "recipe.yaml",
    "trials.jsonl",
    "checkpoints",
    "running.json",
    "tensorboard",
    ".lock",
)


class _Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Range(_Loose):
    measure: str
    low: float = Field(ge=0)
    high: float = Field(ge=0)


class _Sampled(_Loose):
    n: int | None = Field(default=None, ge=1, le=10**7)
    seed: int | None = None
    hash: str | None = None
    budget: list[_Range] = []


class _Resolved(_Loose):
    """What everything here relies on in space.yaml; the rest is the business of room space."""

    name: str = Field(min_length=1)
    family: Literal["anynet", "regnet"]
    input: dict[str, Any]
    sample: _Sampled = _Sampled()


@dataclass(frozen=True)
class Run:
    """The files of one run; see the README for what each holds."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's own name, which reports use."""
        return self.path.resolve().name

    @property
    def space_file(self) -> Path:
        """The space as resolved, with what was sampled from it."""
        return self.path / "space.yaml"

    @property
    def population_file(self) -> Path:
        """One model a line."""
        return self.path / "population.jsonl"

    @property
    def recipe_file(self) -> Path:
        """The training recipe as resolved, with the data and the seed."""
        return self.path / "recipe.yaml"

    @property
    def trials_file(self) -> Path:
        """One finished trial a line, append-only."""
        return self.path / "trials.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the trials in flight: a checkpoint each, removed when the trial is finished."""
        return self.path / "checkpoints"

    @property
    def lock_file(self) -> Path:
        """Held by the one process that trains this run."""
        return self.path / ".lock"

    @staticmethod
    def open(path: Path | str) -> "Run":
        """Return an existing run folder.

        Raises:
            InputError: There is no such folder, it holds no population, or as `check_files`.
        """
        folder = Run(Path(path))
        folder.check_files()
        if not folder.path.is_dir():
            raise InputError(f"no run folder {path}; `designspace sample … --out {path}` makes one")
        for file in (folder.space_file, folder.population_file):
            if not file.is_file():
                raise InputError(
                    f"{path} is not a run folder: it has no {file.name}; "
                    f"`designspace sample … --out {path}` makes one"
                )
        return folder

    @staticmethod
    def create(path: Path | str, space: dict[str, Any], population: Population) -> "Run":
        """Write a sampled population into a new folder, or extend the same one.

        A population's first models don't depend on how many were asked for, so a folder of the same
        space, budget and seed may grow; trials that it holds keep their meaning.

        Args:
            path: The folder; parents are made.
            space: The resolved space, with a `sample` map of n, budget, seed and hash.
            population: What was sampled.

        Raises:
            InputError: The folder holds another space, budget or seed, or more models than these;
                or another process is at work in it.
        """
        folder = Run(make_folder(Path(path)))
        folder.check_files()
        with lock(folder.lock_file, f"the run folder {folder.path}"):
            folder._create(space, population)
        return folder

    def check_files(self) -> None:
        """Refuse a folder whose files are no files of its own.

        Raises:
            InputError: There is a link to another place among them, a pipe or a device.
        """
        refuse_links_out(self.path, _OURS)
        for name in _OURS:
            refuse_odd(self.path / name, "run folder")

    def _create(self, space: dict[str, Any], population: Population) -> None:
        folder, path = self, self.path
        remove_half_written(path)
        models = "".join(journal.encode(record) for record in population.records())
        if folder.space_file.exists():
            before, now = folder.space().get("sample", {}), space["sample"]
            if before.get("hash") != now["hash"]:
                raise InputError(
                    f"{path} holds another population (space, budget or seed differ); "
                    "choose another --out, or remove that folder"
                )
            if int(before.get("n", 0)) > now["n"]:
                raise InputError(
                    f"{path} already holds {before['n']} models of this population; "
                    f"ask for at least as many, or choose another --out"
                )
        elif folder.population_file.exists():
            # A process that was killed between the two files has left just what we would write.
            found = journal.read_text_lossy(folder.population_file, "population")
            if found != models:
                raise InputError(
                    f"{path} holds a population.jsonl of other models, and no space.yaml; choose "
                    "another --out"
                )
        write_text(folder.population_file, models)
        header = (
            "The space as resolved, and what was sampled from it (written by designspace sample)."
        )
        write_text(folder.space_file, dump_yaml(seal(space), header))

    def space(self) -> dict[str, Any]:
        """Return the resolved space and its `sample` map as plain data.

        Raises:
            InputError: The file is damaged, or was edited after it was written.
        """
        data = unseal(read_yaml(self.space_file, "space"), self.space_file, "space")
        validate(_Resolved, data, self.space_file, "space")
        return data

    def skeleton(self) -> Skeleton:
        """Return what lies around the stages of every model here."""
        around = self.space()["input"]
        try:
            return Skeleton.from_dict(around)
        except InputError as error:
            raise InputError(f"{self.space_file}: input: {error}") from None

    def population(self) -> Population:
        """Read the population.

        Raises:
            InputError: A line is damaged, missing, out of order, or changed by hand.
        """
        skeleton = self.skeleton()
        records = journal.read(self.population_file, "population").records
        stated = self.space().get("sample", {}).get("n", len(records))
        if len(records) != stated or not records:
            raise InputError(
                f"{self.population_file} holds {len(records)} models, {self.space_file.name} says "
                f"{stated}; run the same `designspace sample` again to restore it"
            )
        bodies: list[Body] = []
        regnets: list[RegNetParams] = []
        for i, record in enumerate(records):
            where = f"{self.population_file}, line {i + 1}"
            try:
                body = Body.from_dict(record["arch"])
                if record["id"] != body.id or record["index"] != i:
                    raise InputError("id or index does not fit the arch: the line was edited")
                if body.num_stages != skeleton.num_stages:
                    raise InputError(
                        f"{body.num_stages} stages; the space has {skeleton.num_stages}"
                    )
                bodies.append(body)
                if "regnet" in record:
                    regnets.append(RegNetParams(**record["regnet"]))
                for key in ("flops", "params", "acts"):
                    record[key] = int(record[key])
                    if not 0 <= record[key] < 2**63:
                        raise InputError(f"{key} is {record[key]:g}, which no network has")
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise InputError(
                    f"{where}: {error!r}; a model has id, index, arch, flops, params, acts; "
                    "run the same `designspace sample` again to restore it"
                ) from None
        if regnets and len(regnets) != len(bodies):
            raise InputError(f"{self.population_file}: only {len(regnets)} lines have a regnet")
        counts = {
            k: np.array([r[k] for r in records], np.int64) for k in ("flops", "params", "acts")
        }
        return Population(
            skeleton=skeleton,
            bodies=BodyBatch.from_bodies(bodies),
            cost=Cost(**counts),
            regnets=RegNetParamsBatch.from_list(regnets) if regnets else None,
        )

    def recipe(self) -> Recipe | None:
        """Return the recipe that this run is trained with, or None before the first training."""
        if not self.recipe_file.exists():
            return None
        plain = unseal(read_yaml(self.recipe_file, "recipe"), self.recipe_file, "recipe")
        plain.pop("data", None)
        return parse_recipe(plain, self.recipe_file)

    def data(self) -> DataRecord | None:
        """Return what this run is trained on, or None before the first training."""
        if not self.recipe_file.exists():
            return None
        plain = read_yaml(self.recipe_file, "recipe").get("data")
        return parse_data(plain, self.recipe_file) if isinstance(plain, dict) else None

    def begin_training(self, recipe: Recipe, data: DataRecord) -> None:
        """Write recipe.yaml at the first training; later, hold it against what is asked for.

        Raises:
            InputError: As `check_training`.
        """
        self.check_training(recipe, data)
        if not self.recipe_file.exists() or not self.begun:
            header = "What this run is trained with (written by designspace train)."
            plain = {**recipe.to_dict(), "data": data.to_dict()}
            write_text(self.recipe_file, dump_yaml(seal(plain), header))

    @property
    def begun(self) -> bool:
        """Whether anything of the training is worth keeping: a trial, or a checkpoint of one."""
        journal_file, checkpoints = self.trials_file, self.path / "checkpoints"
        return (journal_file.exists() and journal_file.stat().st_size > 0) or (
            checkpoints.is_dir() and any(checkpoints.iterdir())
        )

    def check_training(self, recipe: Recipe, data: DataRecord | None = None) -> None:
        """Hold what is asked for against what this run was trained with before.

        Raises:
            InputError: It was trained with another recipe, other data, split or seed: its errors
                could not be compared. The message says what differs.
        """
        if not self.begun:
            return
        before, before_data = self.recipe(), self.data()
        differing = before.differences(recipe) if before else []
        if before_data is not None and data is not None:
            differing += before_data.differences(data)
        if differing:
            raise InputError(
                f"{self.path} is trained otherwise ({self.recipe_file.name}, now): "
                f"{'; '.join(differing)}. Repeat what it was trained with, or sample the same "
                "population into another folder"
            )

    def trials(self) -> tuple[Trial, ...]:
        """Return the standing trial of each model that has one, in sampled order.

        A failed trial that was tried again is superseded by the later line; every line stays in the
        journal.

        Raises:
            InputError: A line is damaged, or is not of this population.
        """
        sizes = self.space().get("sample", {}).get("n")
        standing: dict[int, Trial] = {}
        records = journal.read(self.trials_file, "trials").records
        for number, record in enumerate(records, start=1):
            where = f"{self.trials_file}, record {number}"
            trial = Trial.from_record(record, where)
            if sizes is not None and not 0 <= trial.index < sizes:
                raise InputError(
                    f"{where}: index {trial.index} is not in the population of {sizes}"
                )
            before = standing.get(trial.index)
            if before is None or before.state is TrialState.FAILED:
                standing[trial.index] = trial
        return tuple(standing[index] for index in sorted(standing))

    def append_trials(self, trials: list[Trial]) -> None:
        """Append finished trials to the journal; on return they are on disk."""
        journal.append(self.trials_file, [trial.to_record() for trial in trials])
