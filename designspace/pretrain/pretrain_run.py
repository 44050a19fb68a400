"""The folder of a pretraining: what was asked, what happened, and where to go on."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from designspace.arch import Model
from designspace.arch.model_file import read_model, write_model
from designspace.errors import InputError
from designspace.io import journal
from designspace.io.files import (
    dump_yaml,
    make_folder,
    read_yaml,
    refuse_links_out,
    validate,
    write_text,
)
from designspace.pretrain import distributed_checkpoint as snapshot
from designspace.pretrain.distributed import ProcessGroupInfo
from designspace.pretrain.recipe import SwavRecipe, parse_recipe
from designspace.training import checkpoint

# What is written in the folder of a pretraining.
_OURS = ("model.yaml", "recipe.yaml", "steps.jsonl", "epochs.jsonl", "evaluation", ".lock")


class DataStamp(BaseModel):
    """The data that a trunk was pretrained on, as it stands in recipe.yaml.

    Attributes:
        source: How the person named it.
        images: Number of images.
        content: Hash of the images.
        mean: Mean of each channel, 0 to 255; what the trunk sees is normalised with it.
        std: Deviation of each channel.
        seed: Seed of weights, order and crops.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    source: str
    images: int = Field(ge=1)
    content: str
    mean: list[float] = Field(min_length=3, max_length=3)
    std: list[float] = Field(min_length=3, max_length=3)
    seed: int = Field(ge=0)


@dataclass(frozen=True)
class PretrainRun:
    """The files of one pretraining."""

    path: Path

    @property
    def lock_file(self) -> Path:
        """Held by the process that trains."""
        return self.path / ".lock"

    @property
    def steps_file(self) -> Path:
        """Loss and rate of each iteration; of an iteration done twice, the last line counts."""
        return self.path / "steps.jsonl"

    @property
    def epochs_file(self) -> Path:
        """One epoch a line."""
        return self.path / "epochs.jsonl"

    @property
    def trunk_file(self) -> Path:
        """The trunk's weights in torchvision's names, when training is through."""
        return self.path / "trunk.pt"

    @property
    def started(self) -> bool:
        """Whether a pretraining was begun here."""
        return (self.path / "recipe.yaml").is_file()

    def begin(self, model: Model, recipe: SwavRecipe, data: DataStamp) -> None:
        """Write what is to be done, or hold it against what was begun here before.

        Raises:
            InputError: Something else was begun here.
        """
        refuse_links_out(make_folder(self.path), _OURS)
        if not self.started:
            write_model(model, self.path / "model.yaml")
            written = {"recipe": recipe.to_dict(), "data": data.model_dump()}
            header = "How this trunk is pretrained, and on what."
            write_text(self.path / "recipe.yaml", dump_yaml(written, header))
            return
        before, old_recipe, old_data = self.model(), self.recipe(), self.data()
        wrong = (
            []
            if (before.body, before.skeleton) == (model.body, model.skeleton)
            else ["another trunk"]
        )
        wrong += recipe.differences(old_recipe)
        wrong += [
            f"{key}: {new}, {old}"
            for key in ("content", "images", "seed")
            if (new := getattr(data, key)) != (old := getattr(old_data, key))
        ]
        if wrong:
            raise InputError(
                f"{self.path} holds another pretraining ({'; '.join(wrong[:4])}; asked, there); "
                "choose another --out, or the options of the first time"
            )

    def model(self) -> Model:
        """Return the trunk."""
        return read_model(self.path / "model.yaml")

    def recipe(self) -> SwavRecipe:
        """Return how it is trained."""
        data = self._described()
        return parse_recipe(data.get("recipe") or {}, self.path / "recipe.yaml")

    def data(self) -> DataStamp:
        """Return what it is trained on."""
        data = self._described().get("data") or {}
        return validate(DataStamp, data, self.path / "recipe.yaml", "pretraining recipe: data")

    def save(self, state: dict[str, Any], world: ProcessGroupInfo) -> None:
        """Keep a state, and the one before it; every process must call it.

        One process writes one file, several write a folder together. Either kind is read by any
        number of processes, and goes when there are two of the other.

        Raises:
            InputError: The disk is full or not writable; the checkpoint before is kept.
        """
        together = world.group is not None
        now, before = self._kept(together)
        fresh = now.with_name(f"checkpoint.new{now.suffix}")
        try:
            if together:
                snapshot.write(fresh, self._key(), state, world)
            else:
                checkpoint.save(fresh, self._key(), state)
            if world.first:
                if now.exists():
                    _remove(before)
                    os.replace(now, before)
                os.replace(fresh, now)
                if before.exists():
                    for other in self._kept(not together):
                        _remove(other)
        except OSError as error:
            raise InputError(f"cannot write {fresh}: {error.strerror or error}") from None
        world.wait()

    def write_trunk(self, state: dict[str, torch.Tensor]) -> None:
        """Write the trunk's weights by themselves."""
        try:
            checkpoint.save(self.trunk_file, self._key(), {"state_dict": state})
        except OSError as error:
            raise InputError(f"cannot write {self.trunk_file}: {error.strerror or error}") from None

    def load(
        self,
        device: torch.device,
        like: dict[str, Any] | None = None,
        world: ProcessGroupInfo | None = None,
    ) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the newest whole state, if any, and what a person should know of it.

        Args:
            device: Where whole tensors go.
            like: A state whose tensors lie as the wanted ones may; None for whole tensors.
            world: The processes, each of which must call it; None for this one alone.
        """
        world, key = world or ProcessGroupInfo(device), self._key()
        alone = None
        alone_notes: list[str] = []
        for path in self._kept(together=False):
            alone = checkpoint.load(path, key, device)
            if alone is not None:
                break
            if path.exists():
                alone_notes.append(_damaged(path))
        newest = -1 if alone is None else int(alone["iteration"])
        notes: list[str] = []
        for path in self._kept(together=True):
            done = snapshot.iteration(path, key)
            if done is not None and done <= newest:
                break
            state = None if done is None else snapshot.read(path, like, world, device)
            if state is not None:
                return state, notes
            if path.exists():
                notes.append(_damaged(path))
        notes += alone_notes
        if notes and alone is None:
            notes.append("no whole checkpoint is left: training begins anew")
        return alone, notes

    def _kept(self, together: bool) -> tuple[Path, Path]:
        """The checkpoint of one process, or of several together, and the one before it."""
        suffix = "" if together else ".pt"
        return self.path / f"checkpoint{suffix}", self.path / f"checkpoint.before{suffix}"

    def append_steps(self, records: list[dict[str, Any]]) -> None:
        """Write iterations to the journal."""
        if records:
            journal.append(self.steps_file, records)

    def append_epoch(self, record: dict[str, Any]) -> None:
        """Write an epoch to the journal."""
        journal.append(self.epochs_file, [record])

    def steps(self) -> list[dict[str, Any]]:
        """Return the standing record of each iteration, in order."""
        records = journal.read(self.steps_file, "steps").records
        return [r for _, r in sorted({r["iteration"]: r for r in records}.items())]

    def epochs(self) -> list[dict[str, Any]]:
        """Return the standing record of each epoch, in order."""
        records = journal.read(self.epochs_file, "epochs").records
        return [r for _, r in sorted({r["epoch"]: r for r in records}.items())]

    def _described(self) -> dict[str, Any]:
        return read_yaml(self.path / "recipe.yaml", "pretraining recipe")

    def _key(self) -> str:
        data = self.data()
        told = [self.model().body.to_dict(), self.recipe().to_dict(), data.content, data.seed]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]


def _damaged(path: Path) -> str:
    return f"{path} is damaged or of another pretraining; the one before it is used"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
