"""The folder of a pretraining: recipe, model, journals and checkpoints."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from designspace.arch import Model
from designspace.arch.model_file import read_model, write_model
from designspace.errors import InputError, counted
from designspace.io import journal
from designspace.io.atomic_write import make_folder, write_text
from designspace.io.text_files import check_links
from designspace.io.validation import validate
from designspace.io.yaml_files import dump_yaml, read_yaml
from designspace.pretraining import distributed_checkpoint
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.recipe import SwavRecipe, parse_recipe
from designspace.runs.folder_kind import is_pretraining
from designspace.training import checkpoint

_FILES = (
    *("model.yaml", "recipe.yaml", "steps.jsonl", "epochs.jsonl", "undecodable.jsonl"),
    *("evaluation", ".lock"),
)


class DataStamp(BaseModel):
    """The data of a pretraining, as stored in recipe.yaml.

    Attributes:
        source: Data set, as the user named it.
        images: Number of images.
        content: Hash of the images.
        mean: Mean of each channel, 0 to 255.
        std: Standard deviation of each channel.
        seed: Seed of weights, order and crops.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    source: str
    images: int = Field(ge=1)
    content: str
    mean: list[float] = Field(min_length=1)
    std: list[float] = Field(min_length=1)
    seed: int = Field(ge=0)


class Start(BaseModel):
    """The weights that a pretraining starts from, as stored in recipe.yaml.

    Attributes:
        source: Checkpoint in words.
        digest: Hash of the weights.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    source: str
    digest: str


@dataclass(frozen=True)
class PretrainRun:
    """The files of a pretraining.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def lock_file(self) -> Path:
        """Locked by the process that trains."""
        return self.path / ".lock"

    @property
    def steps_file(self) -> Path:
        """Loss and learning rate per iteration; the last line of an iteration counts."""
        return self.path / "steps.jsonl"

    @property
    def epochs_file(self) -> Path:
        """One line per epoch."""
        return self.path / "epochs.jsonl"

    @property
    def undecodable_file(self) -> Path:
        """One line per image of a stream that could not be decoded."""
        return self.path / "undecodable.jsonl"

    @property
    def trunk_file(self) -> Path:
        """Weights of the trunk after the last epoch, in torchvision's names."""
        return self.path / "trunk.pt"

    @property
    def started(self) -> bool:
        """Whether the folder holds a pretraining."""
        return is_pretraining(self.path)

    def begin(
        self, model: Model, recipe: SwavRecipe, data: DataStamp, start: Start | None = None
    ) -> None:
        """Write model and recipe, or compare them with those in the folder.

        A finished run may continue if `recipe` differs from its own by more epochs alone; see
        `extend`.

        Raises:
            InputError: The folder holds another pretraining.
        """
        check_links(make_folder(self.path), _FILES)
        for name, kind in (("recipe.yaml", "a run folder"), ("import.yaml", "imported results")):
            if not self.started and (self.path / name).exists():
                raise InputError(f"out is {self.path}, {kind}; pass another folder", "out")
        if not self.started:
            write_model(model, self.path / "model.yaml")
            content = {"recipe": recipe.to_dict(), "data": data.model_dump()}
            self._write_recipe(content | ({"start": start.model_dump()} if start else {}))
            return
        own_model, own_data, own_recipe = self.model(), self.data(), self.recipe()
        more = recipe.epochs > own_recipe.epochs and len(self.epochs()) >= own_recipe.epochs
        same = (own_model.body, own_model.skeleton) == (model.body, model.skeleton)
        differences = [] if same else ["another trunk"]
        changed = recipe.differences(own_recipe)
        differences += [d for d in changed if not (more and d.startswith("epochs: "))]
        own_start = self.start()
        if (start and start.digest) != (own_start and own_start.digest):
            sources = (s.source if s else "random" for s in (start, own_start))
            differences.append(f"weights: {', '.join(sources)}")
        differences += [
            f"{key}: {new}, {old}"
            for key in ("content", "images", "seed")
            if (new := getattr(data, key)) != (old := getattr(own_data, key))
        ]
        if differences:
            raise InputError(
                f"out is {self.path}, which holds another pretraining "
                f"({'; '.join(differences[:4])}; new, existing); pass another folder, or the "
                "same options",
                argument="out",
            )

    def extend(self, epochs: int) -> list[str]:
        """Store a larger number of epochs of a finished run, whose state was restored.

        The learning rate follows the schedule of so many epochs from there on.

        Returns:
            Messages for the user.
        """
        before, content = self.recipe().epochs, self._yaml()
        if epochs <= before:
            return []
        content["recipe"] = content["recipe"] | {"epochs": epochs}
        content["epochs_before"] = [*content.get("epochs_before", []), before]
        notes = [
            f"a finished run of {counted(before, 'epoch')} continues to {epochs}: from here on the "
            f"learning rate is that of a schedule of {counted(epochs, 'epoch')}"
        ]
        if self.trunk_file.exists():  # it would be taken for the trunk of this schedule
            kept = self.path / f"trunk-{before}-epochs.pt"
            os.replace(self.trunk_file, kept)
            notes.append(f"the trunk of {counted(before, 'epoch')} is kept as {kept}")
        self._write_recipe(content)
        return notes

    def _write_recipe(self, content: dict[str, Any]) -> None:
        header = "How this trunk is pretrained, and on what."
        write_text(self.path / "recipe.yaml", dump_yaml(content, header))

    def model(self) -> Model:
        """Return the trunk."""
        return read_model(self.path / "model.yaml")

    def recipe(self) -> SwavRecipe:
        """Return the recipe."""
        return parse_recipe(self._yaml().get("recipe") or {}, self.path / "recipe.yaml")

    def data(self) -> DataStamp:
        """Return what the trunk is trained on."""
        data = self._yaml().get("data") or {}
        return validate(DataStamp, data, self.path / "recipe.yaml", "pretraining recipe: data")

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a state to resume from, damaged or not."""
        files = (*self._checkpoints(distributed=False), *self._checkpoints(distributed=True))
        return any(file.exists() for file in files)

    def start(self) -> Start | None:
        """Return the weights that the trunk started from; None for random ones."""
        start = self._yaml().get("start")
        where = self.path / "recipe.yaml"
        return validate(Start, start, where, "pretraining recipe: start") if start else None

    def save(self, state: dict[str, Any], group: ProcessGroupInfo) -> None:
        """Save a state and keep the one before it; collective.

        A single process writes a file, several write a folder together. Any number of processes
        can read either; the other kind is deleted once there are two of this one.

        Raises:
            InputError: The disk is full or not writable; the previous checkpoint is kept.
        """
        distributed = group.handle is not None
        newest, previous = self._checkpoints(distributed)
        fresh = newest.with_name(f"checkpoint.new{newest.suffix}")
        try:
            if distributed:
                distributed_checkpoint.write(fresh, self._key(), state, group)
            else:
                checkpoint.save(fresh, self._key(), state)
            if group.first:
                if newest.exists():
                    _remove(previous)
                    os.replace(newest, previous)
                os.replace(fresh, newest)
                if previous.exists():
                    for other in self._checkpoints(not distributed):
                        _remove(other)
        except OSError as error:
            raise InputError(f"cannot write {fresh}: {error.strerror or error}") from None
        group.barrier()

    def write_trunk(self, state: dict[str, torch.Tensor]) -> None:
        """Write the trunk's weights to `trunk_file`."""
        try:
            checkpoint.save(self.trunk_file, self._key(), {"state_dict": state})
        except OSError as error:
            raise InputError(f"cannot write {self.trunk_file}: {error.strerror or error}") from None

    def load(
        self,
        device: torch.device,
        like: dict[str, Any] | None = None,
        group: ProcessGroupInfo | None = None,
    ) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the newest undamaged state, if any, and notes on damaged ones; collective.

        Args:
            device: Of tensors that are not sharded.
            like: A state sharded like the result; None for whole tensors.
            group: The processes; None for this one alone.

        Raises:
            InputError: A checkpoint can't be read now.
        """
        group, key = group or ProcessGroupInfo(device), self._key()
        state, newest = None, -1
        file_notes: list[str] = []
        for path in self._checkpoints(distributed=False):
            state = checkpoint.load(path, key, device)
            if state is not None:
                newest = int(state["iteration"])
                break
            if path.exists():
                file_notes.append(_damaged(path))
        notes: list[str] = []
        for path in self._checkpoints(distributed=True):
            iteration = distributed_checkpoint.iteration(path, key)
            if iteration is not None:
                if iteration <= newest:
                    break
                sharded = distributed_checkpoint.read(path, like, group, device)
                if sharded is not None:
                    return sharded, notes
            if path.exists():
                notes.append(_damaged(path))
        notes += file_notes
        return state, notes

    def _checkpoints(self, distributed: bool) -> tuple[Path, Path]:
        """The newest checkpoint and the previous one."""
        suffix = "" if distributed else ".pt"
        return self.path / f"checkpoint{suffix}", self.path / f"checkpoint.before{suffix}"

    def append_steps(self, records: list[dict[str, Any]]) -> None:
        """Append iterations to the journal."""
        if records:
            journal.append(self.steps_file, records)

    def append_epoch(self, record: dict[str, Any]) -> None:
        """Append an epoch to the journal."""
        journal.append(self.epochs_file, [record])

    def append_undecodable(self, reasons: Mapping[str, str]) -> None:
        """Append images that could not be decoded to the journal."""
        records = [{"image": name, "reason": reason} for name, reason in reasons.items()]
        journal.append(self.undecodable_file, records)

    def undecodable(self) -> dict[str, str]:
        """Return reasons by name of the images that could not be decoded."""
        records = journal.read(self.undecodable_file, "undecodable images").records
        return {record["image"]: record["reason"] for record in records}

    def steps(self) -> list[dict[str, Any]]:
        """Return the valid record of each iteration, in order."""
        records = journal.read(self.steps_file, "steps").records
        return [r for _, r in sorted({r["iteration"]: r for r in records}.items())]

    def epochs(self) -> list[dict[str, Any]]:
        """Return the valid record of each epoch, in order."""
        records = journal.read(self.epochs_file, "epochs").records
        return [r for _, r in sorted({r["epoch"]: r for r in records}.items())]

    def _yaml(self) -> dict[str, Any]:
        return read_yaml(self.path / "recipe.yaml", "pretraining recipe")

    def _key(self) -> str:
        """Hash of what determines the weights."""
        data, recipe, start = self.data(), self.recipe().to_dict(), self.start()
        # A continued run keeps its key, and keys of earlier versions stay valid.
        recipe["epochs"] = self._yaml().get("epochs_before", [recipe["epochs"]])[0]
        if recipe["accumulate"] == 1:
            del recipe["accumulate"]
        parts = [self.model().body.to_dict(), recipe, data.content, data.seed]
        parts += [start.digest] if start else []
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _damaged(path: Path) -> str:
    return f"{path} is damaged or of another pretraining; the previous one is used"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
