"""Pretrain a trunk with SwAV: the public call, and the loop over iterations."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from designspace.arch import Model
from designspace.data.cache import Cache
from designspace.data.shards import ShardStream
from designspace.errors import Diverged, InputError, counted, name_some
from designspace.io.atomic_write import make_output_folder
from designspace.io.file_lock import lock
from designspace.pretraining.crop_loader import crop_loader
from designspace.pretraining.diagnostics import (
    non_finite_message,
    recipe_warnings,
    training_alarms,
)
from designspace.pretraining.distributed import ProcessGroupInfo, process_group
from designspace.pretraining.dtensor import all_finite, full_tensor
from designspace.pretraining.epoch_monitor import EpochMonitor
from designspace.pretraining.images import decode_images, is_stream, open_stream
from designspace.pretraining.initial_weights import load_initial_weights, resumed_start
from designspace.pretraining.lr_schedule import learning_rate
from designspace.pretraining.pretrain_log import PretrainLog
from designspace.pretraining.pretrain_run import DataStamp, PretrainRun
from designspace.pretraining.recipe import SwavRecipe, load_recipe
from designspace.pretraining.step_timer import StepTimer
from designspace.pretraining.swav_network import check_depth
from designspace.pretraining.swav_trainer import SwavTrainer
from designspace.runs.training_options import absolute_source, check_seed, check_threads
from designspace.training.device_setup import prepare
from designspace.training.devices import available_cores
from designspace.training.metric_logger import LoggerLike

# Iterations between writes to the journal.
_FLUSH_EVERY = 10
# Seconds between checkpoints within an epoch.
_SAVE_SECONDS = 300.0
# Iterations between alarm checks within an epoch: SEER's only epoch has 122,070.
_ALARMS_EVERY = 500
# Iterations between measurements of the features' rank within an epoch, which takes seconds.
_SPECTRUM_EVERY = 10_000
# What is timed in an epoch, which a call that goes on after it can't know.
_CLOCKED = ("images_per_second", "crop_share")


@dataclass(frozen=True)
class PretrainProgress:
    """Throughput of the current epoch, and time left at the average speed so far."""

    images_per_second: float
    seconds_left: float


class PretrainObserver(Protocol):
    """Receives the progress of a pretraining; subclasses may implement a part of it."""

    def note(self, text: str) -> None:
        """Report something that the user should know."""
        return

    def decoded(self, done: int, total: int) -> None:
        """Report the number of images in the cache."""
        return

    def begin(self, done: int, total: int) -> None:
        """Report that training starts, or resumes after `done` iterations."""
        return

    def steps(self, records: list[dict[str, Any]], total: int, progress: PretrainProgress) -> None:
        """Report iterations that were written to the journal."""
        return

    def alarms(self, alarms: dict[str, str]) -> None:
        """Report all current alarms by name; those no longer named are over."""
        return

    def epoch(self, record: dict[str, Any]) -> None:
        """Report an epoch that was written to the journal."""
        return


class _Silent(PretrainObserver):
    """Ignores progress."""


@dataclass(frozen=True)
class PretrainResult:
    """A finished pretraining.

    Attributes:
        folder: Of the run.
        record: Journal record of the last epoch: epoch, iteration, loss, prototypes_used, ...
    """

    folder: Path
    record: dict[str, Any]

    @property
    def trunk(self) -> Path:
        """File with the trunk's weights."""
        return PretrainRun(self.folder).trunk_file

    def __str__(self) -> str:
        epochs, loss = self.record["epoch"], self.record["loss"]
        text = (
            f"{self.folder}: loss {loss:.4f} after {counted(epochs, 'epoch')}; trunk in "
            f"{self.trunk}"
        )
        count = self.record.get("undecodable", 0)
        file = PretrainRun(self.folder).undecodable_file
        return f"{text}\n{counted(count, 'image')} could not be decoded: {file}" if count else text


def pretrain(
    model: Model,
    *,
    data: str,
    out: Path | str,
    recipe: SwavRecipe | Path | str = "quick",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    shard: bool | None = None,
    accumulate: int | None = None,
    weights: Path | str | None = None,
    compile: bool = False,
    seed: int = 0,
    log: Sequence[LoggerLike] = (),
    device: str = "auto",
    threads: int | None = None,
    download: bool = False,
    cache: Path | str | None = None,
    observer: PretrainObserver | None = None,
) -> PretrainResult | None:
    """Pretrain a trunk without labels; resume if the folder holds an unfinished run of the same.

    The arguments are those of `designspace.pretrain`; `observer` receives progress.

    Returns:
        The result, or None in processes of torchrun other than the first.

    Raises:
        InputError: An option is invalid, or doesn't fit the data, the folder or this machine.
        Diverged: The loss became non-finite.
    """
    recipe = load_recipe(recipe).override(epochs, batch_size, lr, shard, accumulate)
    check_depth(model, recipe)
    check_seed(seed)
    check_threads(threads)
    out, observer = Path(out), observer or _Silent()
    start = None if weights is None else resumed_start(PretrainRun(out), weights)
    initial = None
    if weights is not None and start is None:
        initial = load_initial_weights(weights, model, recipe)
        start = initial.start
    folder = None if cache is None else Path(cache)
    options = {"model": model.name, "data": data, **recipe.to_dict()}
    logs = PretrainLog(log, out, options, observer.note)
    with process_group(device) as group:
        group.check_batch(recipe.batch_size, recipe.accumulate)
        autocast = prepare(
            group.device, threads=threads or max(1, available_cores() // group.local_size)
        )
        created = [path for path in (out, *out.parents) if not path.exists()] if group.first else []
        run = PretrainRun(make_output_folder(out))
        locked = lock(run.lock_file, f"the folder {out}") if group.first else nullcontext()
        with locked, _removed_unless_begun(run, created):
            channels = model.skeleton.channels
            images = _decode_once(data, recipe, channels, folder, download, group, observer)
            per_epoch = images.train_images // recipe.batch_size
            trainer = SwavTrainer(model, recipe, per_epoch, seed, group, autocast, compile)
            more_notes = initial.notes if initial else ()
            if initial is not None:
                trainer.start_from(initial.state)
                initial = None  # as large as the network
            loop = _Loop(run, recipe, trainer, images, seed, group, observer, logs)
            # What does not go together was refused above, and left nothing in the folder.
            if group.first:
                run.begin(model, recipe, _stamp(data, seed, images), start)
                for text in more_notes:
                    observer.note(text)
            group.barrier()
            on_gpu = [group.device] if group.device.type == "cuda" else []
            try:
                with torch.random.fork_rng(devices=on_gpu):
                    record = loop.train()
            finally:
                logs.close()
    return PretrainResult(out, record) if record else None


class _Loop:
    """The loop over iterations."""

    def __init__(
        self,
        run: PretrainRun,
        recipe: SwavRecipe,
        trainer: SwavTrainer,
        images: Cache | ShardStream,
        seed: int,
        group: ProcessGroupInfo,
        observer: PretrainObserver,
        logs: PretrainLog,
    ) -> None:
        self._per_epoch = images.train_images // recipe.batch_size
        self._total = self._per_epoch * recipe.epochs
        self._run, self._recipe, self._trainer = run, recipe, trainer
        self._group, self._observer, self._logs = group, observer, logs
        self._channels = len(images.mean)
        self._loader = crop_loader(recipe, images, seed, group)
        self._monitor = EpochMonitor(recipe, images, seed, group)
        self._pending: list[tuple[int, Tensor, float]] = []
        self._started = self._saved_at = time.monotonic()
        self._first = 0
        self._timer = StepTimer(group.device)

    def train(self) -> dict[str, Any]:
        """Train to the end; return the last epoch's record, empty if not the first process."""
        trainer, first = self._trainer, self._group.first
        timed, notes = self._resume()
        if self._loader.undecodable is not None:
            self._loader.undecodable = self._run.undecodable()
        self._first = trainer.iteration
        if first:
            notes += self._run.extend(self._recipe.epochs)
            channels = self._channels
            for text in (*recipe_warnings(self._recipe, self._per_epoch, channels), *notes):
                self._observer.note(text)
            self._observer.begin(self._first, self._total)
            self._logs.begin(self._first)
        if self._first and self._first % self._per_epoch == 0:
            self._finish_saved_epoch(timed)
        while trainer.iteration < self._total:
            self._epoch()
        weights = {}
        for key, value in trainer.network.trunk.state_dict().items():
            tensor = full_tensor(value)  # collective
            if first:
                weights[key] = tensor.cpu()
        if not first:
            return {}
        self._run.write_trunk(weights)
        return self._run.epochs()[-1]

    def _resume(self) -> tuple[dict[str, float], list[str]]:
        """Restore the newest checkpoint, if there is one; collective.

        Its tensors are not kept: they are as large as the trainer's own.

        Returns:
            What was timed in the epoch that it ends with, and notes on damaged checkpoints.

        Raises:
            InputError: Epochs were trained, but there is no undamaged one.
        """
        # Whole tensors wait in the memory of the machine, not in that of a GPU.
        like = self._trainer.state() if self._group.handle is not None else None
        state, notes = self._run.load(torch.device("cpu"), like, self._group)
        if state is None and self._run.epochs():
            start = self._run.start()
            source = f" from {start.source}" if start else ""
            raise InputError(
                f"{self._run.path} has trained before, but no undamaged checkpoint is left; pass "
                f"another folder to start again{source}",
                "out",
            )
        # Older versions might end with a checkpoint that lacks what is timed.
        timed: dict[str, float] = dict.fromkeys(_CLOCKED, 0.0)
        if state is not None:
            self._trainer.restore(state)
            timed = state.get("epoch", timed)
        return timed, notes

    def _epoch(self) -> None:
        trainer, recipe = self._trainer, self._recipe
        epoch = trainer.epoch
        trainer.network.train()
        self._timer.reset()
        first, start = trainer.iteration, time.monotonic()
        crops = self._loader.epoch(epoch, first % self._per_epoch)
        for _ in range(first % self._per_epoch, self._per_epoch):
            self._iterate(crops)
            if len(self._pending) >= _FLUSH_EVERY:
                self._flush()
                if trainer.iteration % self._per_epoch and self._checkpoint_due():
                    self._save()
            done = trainer.iteration
            if done % _ALARMS_EVERY == 0 and done % self._per_epoch:
                record = self._epoch_metrics()
                if done % _SPECTRUM_EVERY == 0:
                    record |= self._spectrum()
                self._report_alarms(record)
        self._flush()
        seconds = time.monotonic() - start
        speed = recipe.batch_size * (trainer.iteration - first) / seconds
        record = self._epoch_metrics() | {"images_per_second": speed}
        # Measuring takes time and may fail: what was trained is saved before.
        self._save({"epoch": {key: record[key] for key in _CLOCKED}})
        self._finish_epoch(record)

    def _finish_saved_epoch(self, clocked: dict[str, float]) -> None:
        """Measure the epoch that a checkpoint ends with, unless an earlier call did; collective.

        Args:
            clocked: What the earlier call timed.
        """
        lacking = 0.0
        if self._group.first:
            epochs = {record["epoch"] for record in self._run.epochs()}
            lacking = float(self._first // self._per_epoch not in epochs)
        if self._group.sum(torch.tensor(lacking, device=self._group.device)).item():
            self._finish_epoch(self._epoch_metrics() | clocked)
        else:
            self._trainer.metrics.reset()

    def _finish_epoch(self, metrics: dict[str, Any]) -> None:
        """Measure a trained and saved epoch, and write its record; collective."""
        trainer = self._trainer
        epoch = trainer.iteration // self._per_epoch
        record = {"epoch": epoch, "iteration": trainer.iteration, **metrics}
        trainer.metrics.reset()
        if self._loader.undecodable is not None:
            record["undecodable"] = len(self._loader.undecodable)
        record |= self._monitor.measure(trainer.network, epoch, trainer.autocast)
        record["alarms"] = self._report_alarms(record)
        if self._group.first:
            self._run.append_epoch(record)
            self._observer.epoch(record)
            self._logs.epoch(record)

    def _epoch_metrics(self) -> dict[str, Any]:
        """Metrics of the epoch so far; collective."""
        self._timer.collect()
        return {**self._trainer.metrics.summary(), "crop_share": self._timer.crop_share}

    def _spectrum(self) -> dict[str, float]:
        """Rank of the features, measured within an epoch and logged; collective."""
        values = self._monitor.spectrum(self._trainer.network, self._trainer.autocast)
        if self._group.first:
            self._logs.measures(values, self._trainer.iteration)
        return values

    def _report_alarms(self, record: dict[str, Any]) -> dict[str, str]:
        alarms = training_alarms(self._recipe, self._per_epoch, self._trainer.iteration, record)
        if self._group.first:
            self._observer.alarms(alarms)
        return alarms

    def _iterate(self, crops: Iterator[list[Tensor]]) -> None:
        trainer = self._trainer
        start = self._timer.now()
        batch = next(crops)
        cropped = self._timer.now()
        loss, lr = trainer.step(batch)
        self._pending.append((trainer.iteration, loss, lr))
        # The first crops of a process may wait for the compiler.
        if trainer.iteration > self._first + 1:
            self._timer.add(start, cropped, self._timer.now())

    def _flush(self) -> None:
        """Write pending iterations to the journal, up to one whose loss is not finite.

        Raises:
            Diverged: There is one.
        """
        if not self._pending:
            return
        losses = torch.stack([loss for _, loss, _ in self._pending]).tolist()
        records = [
            {"iteration": iteration, "loss": value, "lr": lr}
            for (iteration, _, lr), value in zip(self._pending, losses, strict=True)
        ]
        bad = next((r for r in records if not math.isfinite(r["loss"])), None)
        self._write_steps(records[: records.index(bad)] if bad else records)
        if bad:
            raise Diverged(self._non_finite("loss", bad["iteration"], bad["lr"]))

    def _write_steps(self, records: list[dict[str, Any]]) -> None:
        self._pending.clear()
        self._timer.collect()
        if not self._group.first or not records:
            return
        self._run.append_steps(records)
        done = self._trainer.iteration
        per_iteration = (time.monotonic() - self._started) / (done - self._first)
        timer = self._timer
        seconds = max(timer.crop_seconds + timer.step_seconds, 1e-9)
        speed = self._recipe.batch_size * timer.iterations / seconds
        progress = PretrainProgress(speed, (self._total - done) * per_iteration)
        self._observer.steps(records, self._total, progress)
        self._logs.steps(records)

    def _checkpoint_due(self) -> bool:
        """Whether to save now; collective, as the clocks of processes differ."""
        late = float(time.monotonic() - self._saved_at > _SAVE_SECONDS)
        return self._group.sum(torch.tensor(late, device=self._group.device)).item() > 0

    def _collect_undecodable(self) -> None:
        """Write down and report what the processes could not decode; collective."""
        new = self._loader.new_undecodable()
        if new and self._group.first:
            self._run.append_undecodable(new)
            self._observer.note(
                f"{counted(len(new), 'image')} can't be decoded "
                f"({len(self._loader.undecodable or ())} so "
                f"far); another of the batch stands in for each: {name_some(new)}"
            )

    def _save(self, more: Mapping[str, Any] | None = None) -> None:
        """Save a checkpoint; collective.

        Args:
            more: Plain data to save with the trainer's state.

        Raises:
            Diverged: A weight is not finite: of the last step, whose loss still was.
        """
        self._collect_undecodable()
        trainer = self._trainer
        state = trainer.state() | dict(more or {})
        finite = all_finite(state["network"].values()).to(self._group.device, torch.float32)
        if self._group.sum(finite).item() < self._group.size:
            rate = learning_rate(self._recipe, trainer.iteration - 1, self._per_epoch)
            raise Diverged(self._non_finite("weights", trainer.iteration, rate))
        self._run.save(state, self._group)
        self._saved_at = time.monotonic()

    def _non_finite(self, what: str, iteration: int, rate: float) -> str:
        epoch = (iteration - 1) // self._per_epoch + 1
        return non_finite_message(what, iteration, epoch, rate, self._run.has_checkpoint)


def _decode_once(
    data: str,
    recipe: SwavRecipe,
    channels: int,
    folder: Path | None,
    download: bool,
    group: ProcessGroupInfo,
    observer: PretrainObserver,
) -> Cache | ShardStream:
    """Decode or count the images in the first process; the others wait, then open what it left."""
    if not group.first:
        group.wait_for_first()
    first = observer if group.first else None
    images: Cache | ShardStream
    if is_stream(data):
        images = open_stream(data, recipe, channels, folder, first)
        no_labels = "labels of shards are not read"
    else:
        load = download and group.first
        prepared = decode_images(data, recipe, channels, folder, load, first)
        images, no_labels = prepared.cache, prepared.source.no_labels
    if first and no_labels and recipe.knn_every:
        first.note(f"k-NN and the linear probe, which need labels, are left out: {no_labels}")
    if group.first:
        group.wait_for_first()
    if images.train_images < recipe.batch_size:
        raise InputError(
            f"batch_size is {recipe.batch_size}; data {data} has only "
            f"{counted(images.train_images, 'training image')}; choose a smaller batch, or add "
            "images",
            argument="batch_size",
        )
    return images


@contextmanager
def _removed_unless_begun(run: PretrainRun, created: Sequence[Path]) -> Iterator[None]:
    """Remove new folders, the innermost first, if nothing was written before an error."""
    try:
        yield
    except BaseException:
        if created and not run.started:
            with suppress(OSError):  # there is other content
                run.lock_file.unlink(missing_ok=True)
                for folder in created:
                    folder.rmdir()
        raise


def _stamp(data: str, seed: int, images: Cache | ShardStream) -> DataStamp:
    return DataStamp(
        source=absolute_source(data),
        images=images.train_images,
        content=images.content,
        mean=list(images.mean),
        std=list(images.std),
        seed=seed,
    )
