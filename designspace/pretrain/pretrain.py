"""A whole pretraining: data, iterations, journal, checkpoints, and going on where it was."""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from designspace.arch import Model
from designspace.data.batches import Arrays, open_arrays
from designspace.data.cache import Cache, default_home
from designspace.errors import InputError
from designspace.io.files import make_folder
from designspace.io.lock import lock
from designspace.pretrain.diagnostics import advice, alarms, not_finite
from designspace.pretrain.distributed import ProcessGroupInfo, join
from designspace.pretrain.dtensor import whole
from designspace.pretrain.features import extract
from designspace.pretrain.images import decoded
from designspace.pretrain.knn import knn_accuracy
from designspace.pretrain.multicrop import CropMaker, draw_crops, epoch_order
from designspace.pretrain.pretrain_run import DataStamp, PretrainRun
from designspace.pretrain.recipe import SwavRecipe
from designspace.pretrain.swav_network import check_depth
from designspace.pretrain.swav_trainer import Pretraining
from designspace.runs.options import absolute_source, check_seed, check_threads
from designspace.training.devices import available_cores, prepare

# Iterations that are written to the journal, and looked at, at once.
_FLUSH = 10
# Seconds between two checkpoints in a long epoch.
_SAVE_EVERY = 300.0
# Iterations after which a long epoch is looked at before its end: SEER's only one has 122,070.
_LOOK_EVERY = 500
# Images that k-NN accuracy is measured with while training, all of them training images.
_BANK, _QUERIES = 10_000, 2_000


class Diverged(Exception):
    """The loss became non-finite; the message says what to do."""


@dataclass(frozen=True)
class Progressed:
    """How it goes: images a second in this epoch, and time left as all went since the start."""

    images_per_second: float
    seconds_left: float


class Observer(Protocol):
    """Who is told how it goes; the command line draws it."""

    def note(self, text: str) -> None:
        """Something that a person should know."""

    def decoded(self, done: int, total: int) -> None:
        """So many images are in the cache."""

    def begin(self, done: int, total: int) -> None:
        """Training begins, or goes on after so many iterations."""

    def steps(self, records: list[dict[str, Any]], total: int, at: Progressed) -> None:
        """These iterations are in the journal."""

    def alarms(self, found: dict[str, str]) -> None:
        """What gives cause for alarm now, by name; what did before, and isn't named, is over."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch is in the journal."""


@dataclass(frozen=True)
class Request:
    """What a person asks of `designspace pretrain`.

    Attributes:
        model: The trunk.
        recipe: As chosen and overridden.
        data: digits, cifar10, cifar100, folder:PATH or imagenet:PATH.
        seed: Seed of weights, order and crops.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: On the CPU, or None for as many as cores (shared among local processes).
        download: Fetch the data set when it is missing.
        home: Folder of image caches and downloads, or None for the user's cache folder.
    """

    model: Model
    recipe: SwavRecipe
    data: str
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    download: bool = False
    home: Path | None = None


def pretrain_trunk(path: Path, request: Request, observer: Observer) -> dict[str, Any]:
    """Pretrain a trunk in a folder, from where it was left.

    Returns:
        The record of the last epoch; empty in processes other than the first.

    Raises:
        InputError: The request doesn't fit the data, the folder or this machine.
        Diverged: The loss became non-finite.
    """
    recipe = request.recipe
    check_depth(request.model, recipe)
    check_seed(request.seed)
    check_threads(request.threads)
    with join(request.device) as world:
        threads = request.threads or max(1, available_cores() // world.size)
        autocast = prepare(world.device, threads=threads)
        folder = PretrainRun(make_folder(path))
        held = lock(folder.lock_file, f"the folder {path}") if world.first else nullcontext()
        with held:
            cache = _cache(request, world, observer)
            if cache.train_images < recipe.batch_size:
                raise InputError(
                    f"data {request.data}: {cache.train_images} training images are fewer than a "
                    f"batch of {recipe.batch_size}; lower --batch-size"
                )
            per_epoch = cache.train_images // recipe.batch_size
            if world.first:
                folder.begin(request.model, recipe, _stamp(request, cache))
                for text in advice(recipe, per_epoch):
                    observer.note(text)
            world.wait()
            training = Pretraining(
                request.model,
                recipe,
                per_epoch,
                request.seed,
                world,
                autocast,
            )
            return _Run(folder, request, training, cache, world, observer).train()


class _Run:
    """The loop over iterations."""

    def __init__(
        self,
        folder: PretrainRun,
        request: Request,
        training: Pretraining,
        cache: Cache,
        world: ProcessGroupInfo,
        observer: Observer,
    ) -> None:
        self._folder, self._training, self._world = folder, training, world
        self._recipe, self._seed, self._observer = request.recipe, request.seed, observer
        self._arrays: Arrays = open_arrays(cache.path, world.device)
        self._cache = cache
        self._maker = CropMaker(self._recipe, cache.mean, cache.std)
        self._per_epoch = cache.train_images // self._recipe.batch_size
        self._total = self._per_epoch * self._recipe.epochs
        self._share = world.share(self._recipe.batch_size)
        self._pending: list[tuple[int, Tensor, float]] = []
        self._began = self._saved_at = time.monotonic()
        self._first = 0
        self._trained, self._cutting, self._stepping = 0, 0.0, 0.0

    def train(self) -> dict[str, Any]:
        """Train to the end; return the last epoch's record."""
        parted = self._training.state() if self._world.group is not None else None
        state, notes = self._folder.load(self._world.device, parted, self._world)
        for text in notes if self._world.first else ():
            self._observer.note(text)
        if state is not None:
            self._training.restore(state)
        self._first = self._training.iteration
        if self._world.first:
            self._observer.begin(self._first, self._total)
        while self._training.iteration < self._total:
            self._epoch()
        weights = {}
        for key, value in self._training.network.trunk.state_dict().items():
            tensor = whole(value)  # every process takes part
            if self._world.first:
                weights[key] = tensor.cpu()
        if not self._world.first:
            return {}
        self._folder.write_trunk(weights)
        return self._folder.epochs()[-1]

    def _epoch(self) -> None:
        training, recipe = self._training, self._recipe
        epoch = training.epoch
        order = epoch_order(len(self._arrays.train), recipe.batch_size, self._seed, epoch)
        training.network.train()
        self._trained, self._cutting, self._stepping = 0, 0.0, 0.0
        start, began = training.iteration, time.monotonic()
        for rows in order[start % self._per_epoch :]:
            self._iterate(rows[self._share])
            if len(self._pending) >= _FLUSH:
                self._flush()
                if self._overdue():
                    self._save()
            done = training.iteration
            if done % _LOOK_EVERY == 0 and done % self._per_epoch:
                self._alarms(self._seen())
        self._flush()
        seconds = time.monotonic() - began
        record = {"epoch": epoch + 1, "iteration": training.iteration, **self._seen()}
        record["images_per_second"] = recipe.batch_size * (training.iteration - start) / seconds
        training.watch.reset()
        if recipe.knn_every and ((epoch + 1) % recipe.knn_every == 0 or epoch + 1 == recipe.epochs):
            record["knn"] = self._knn()
        record["alarms"] = self._alarms(record)
        if self._world.first:
            self._folder.append_epoch(record)
            self._observer.epoch(record)
        self._save()

    def _seen(self) -> dict[str, Any]:
        """What the epoch so far shows; every process must call it."""
        share = self._cutting / max(self._cutting + self._stepping, 1e-9)
        return {**self._training.watch.summary(), "crop_share": share}

    def _alarms(self, record: dict[str, Any]) -> dict[str, str]:
        found = alarms(self._recipe, self._per_epoch, self._training.iteration, record)
        if self._world.first:
            self._observer.alarms(found)
        return found

    def _iterate(self, rows: Tensor) -> None:
        training, recipe = self._training, self._recipe
        before = time.monotonic()
        records = self._arrays.train[rows.to(self._arrays.train.device)].to(self._world.device)
        side = records.shape[1]
        drawn = draw_crops(recipe, side, recipe.batch_size, self._seed, training.iteration)
        crops = self._maker(records, [one.take(self._share) for one in drawn])
        cut = time.monotonic()
        loss, rate = training.step(crops)
        self._pending.append((training.iteration, loss, rate))
        # A process's first crops may wait for the compiler: that says nothing of the others.
        if training.iteration > self._first + 1:
            self._trained += 1
            self._cutting += cut - before
            self._stepping += time.monotonic() - cut

    def _flush(self) -> None:
        """Write iterations to the journal and look whether they are sound."""
        records = []
        for iteration, loss, rate in self._pending:
            value = loss.item()
            if not math.isfinite(value):
                epoch = (iteration - 1) // self._per_epoch
                raise Diverged(not_finite(iteration - 1, epoch, rate))
            records.append({"iteration": iteration, "loss": value, "lr": rate})
        self._pending.clear()
        if records and self._world.first:
            self._folder.append_steps(records)
            done = self._training.iteration
            each = (time.monotonic() - self._began) / (done - self._first)
            seconds = max(self._cutting + self._stepping, 1e-9)
            speed = self._recipe.batch_size * self._trained / seconds
            at = Progressed(speed, (self._total - done) * each)
            self._observer.steps(records, self._total, at)

    def _overdue(self) -> bool:
        """Whether a checkpoint is due; the processes' clocks differ, so they settle it together."""
        late = float(time.monotonic() - self._saved_at > _SAVE_EVERY)
        return self._world.sum(torch.tensor(late, device=self._world.device)).item() > 0

    def _save(self) -> None:
        self._folder.save(self._training.state(), self._world)
        self._saved_at = time.monotonic()

    def _knn(self) -> float:
        """Accuracy of k-NN, in percent, on training images that lie in a fixed random order.

        Each process extracts the features of its share of the images.
        """
        total, world = len(self._arrays.train), self._world
        queries = min(_QUERIES, total // 5)
        rows = min(total, queries + _BANK)
        trunk = self._training.network.trunk
        part = -(-rows // world.size)
        own = torch.arange(world.rank * part, (world.rank + 1) * part).clamp(max=rows - 1)
        shared = extract(
            trunk,
            self._arrays.train[own.to(self._arrays.train.device)],
            self._recipe.side,
            self._cache.mean,
            self._cache.std,
            world.device,
        )
        features = torch.cat(world.gather(shared))[:rows]
        trunk.train()
        labels = self._arrays.train_labels[:rows].to(features.device)
        classes = int(labels.max()) + 1
        return knn_accuracy(
            features[queries:], labels[queries:], features[:queries], labels[:queries], classes
        )


def _cache(request: Request, world: ProcessGroupInfo, observer: Observer) -> Cache:
    """Decode the images once; the other processes wait for the first."""
    home = request.home or default_home()

    def build() -> Cache:
        told = observer.decoded if world.first else None
        download = request.download and world.first
        return decoded(request.data, request.recipe, home, download, told)

    if world.first:
        cache = build()
        world.wait()
        return cache
    world.wait()
    return build()


def _stamp(request: Request, cache: Cache) -> DataStamp:
    return DataStamp(
        source=absolute_source(request.data),
        images=cache.train_images,
        content=cache.content,
        mean=list(cache.mean),
        std=list(cache.std),
        seed=request.seed,
    )
