"""The task of one trial, as sent to a worker, and its outcome; without torch, for the driver."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

import numpy as np

from designspace.arch import Block, Model
from designspace.arch.plugins import PluginFile
from designspace.runs import DataRecord, Recipe, Trial
from designspace.runs.image_results import BoolArray


@dataclass(frozen=True)
class TrialTask:
    """Everything that a worker needs to train one model.

    Attributes:
        id: Content hash of the model.
        index: Its index in the population.
        model: The network, with the data's number of classes.
        recipe: The recipe, with its resolution filled in.
        seed: Seed of initialisation and data order.
        cache: Folder of the decoded images, or None if the worker decodes its own.
        data: Source, split and hash of the images.
        device: Name of the device, or auto.
        checkpoint: File of the checkpoint, or None for one in `home`.
        home: Folder of the worker's own images and checkpoints; None is the user's cache folder.
        time_limit: Seconds of training after which the trial fails, or None.
        compiled: Use torch.compile.
        exact: On CUDA, use deterministic algorithms.
        image_results: Return which validation images the model classified correctly.
        run_index: Which of the runs that are trained together it belongs to.
        download: Download the data set if it is missing where the worker is.
        drawn: Settings of the recipe that were drawn for this model.
        block: The model's block if it was registered at run time, or its plugin: workers must
            repeat it.
    """

    id: str
    index: int
    model: Model
    recipe: Recipe
    seed: int
    cache: Path | None
    data: DataRecord
    device: str
    checkpoint: Path | None
    home: Path | None = None
    time_limit: float | None = None
    compiled: bool = False
    exact: bool = False
    image_results: bool = False
    run_index: int = 0
    download: bool = False
    block: Block | PluginFile | None = None
    drawn: Mapping[str, float] = field(default_factory=dict)

    @property
    def position(self) -> tuple[int, int]:
        """Index of its run and of its model; unique among the tasks in training."""
        return self.run_index, self.index

    @property
    def key(self) -> str:
        """Identifies the trial in its checkpoint."""
        import torch

        data = (self.data.content, self.data.split)
        recipe = {**self.recipe.to_dict(), "name": "", "about": ""}  # words change no training
        trial: list[object] = [self.id, self.model.skeleton.to_dict(), recipe, self.seed, data]
        if isinstance(self.block, PluginFile):
            trial.append(self.block.text)  # another network, perhaps
        return hashlib.sha256(json.dumps([trial, torch.__version__]).encode()).hexdigest()


class Failure(Enum):
    """A failure that need not be the model's fault.

    Attributes:
        OUT_OF_MEMORY: The trial may succeed alone.
        DEVICE_UNUSABLE: The device failed before training began.
        DEVICE_ERROR: The device failed during training.
        WORKER_UNREADY: The worker can't read the images, or load the model's block; the model was
            not trained.
    """

    OUT_OF_MEMORY = auto()
    DEVICE_UNUSABLE = auto()
    DEVICE_ERROR = auto()
    WORKER_UNREADY = auto()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task.

    Attributes:
        trial: The finished trial.
        failure: Why it failed, if another worker may succeed.
        notes: Messages for the user.
        correct: Which validation images a complete model classified correctly, (images,), if the
            task is to return them.
    """

    trial: Trial
    failure: Failure | None = None
    notes: tuple[str, ...] = ()
    correct: BoolArray | None = field(default=None, compare=False)


def trial_seed(seed: int, index: int) -> int:
    """Return the seed of model `index` in a run with `seed`."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint32)[0])
