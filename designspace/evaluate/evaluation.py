"""What a trunk has learned, beside the same trunk with random weights and supervised training.

Every score is written to a journal as soon as it is known: an evaluation that is interrupted goes
on where it was, and comparisons that were made before aren't made again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from designspace.data.batches import Arrays, Batches, open_arrays
from designspace.data.cache import Cache, build_cache, default_home
from designspace.data.decode import geometries
from designspace.data.sources import load_source
from designspace.data.splits import split_unseen
from designspace.errors import InputError
from designspace.evaluate.backbone import Backbone
from designspace.evaluate.finetune import Fit, fine_tuning, fit, from_scratch, low_shot
from designspace.evaluate.linear_probe import linear_accuracy
from designspace.evaluate.scores import (
    ACCURACY,
    PRETRAINED,
    RANDOM,
    SCRATCH,
    Line,
    Observer,
    Score,
    ScoreBook,
    check_task,
)
from designspace.io.files import write_text
from designspace.pretrain.features import extract, write_features
from designspace.pretrain.knn import knn_accuracy
from designspace.pretrain.multicrop import mixed_seed
from designspace.pretrain.swav_network import trunk_of
from designspace.runs import Recipe
from designspace.runs.options import check_threads
from designspace.training.devices import available_cores, prepare, resolve_devices

# Images of this side and more are cut at random boxes, and seen with a margin, as ImageNet's.
_LARGE = 64
# Share of the labelled images that each seed of k-NN draws as its bank, so that seeds differ.
_BANK = 0.9
# Shares of the labels that lowshot uses unless told, SEER's and SwAV's.
_SHARES = (0.01, 0.1)
_MOST_EPOCHS = 100_000


@dataclass(frozen=True)
class Options:
    """What a person asks of `designspace evaluate`.

    Attributes:
        task: One of TASKS.
        data: digits, cifar10, cifar100, folder:PATH or imagenet:PATH.
        seeds: Repetitions of each score.
        shares: Shares of the labels, for lowshot; None for 1 and 10 percent.
        scratch_epochs: Of supervised training, or None for what suits the number of images.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: On the CPU, or None for as many as cores.
        download: Fetch the data set when it is missing.
        home: Folder of image caches and downloads, or None for the user's cache folder.
    """

    task: str
    data: str
    seeds: int = 3
    shares: tuple[float, ...] | None = None
    scratch_epochs: int | None = None
    device: str = "auto"
    threads: int | None = None
    download: bool = False
    home: Path | None = None


class Evaluation:
    """A trunk, labelled images, and the scores so far."""

    def __init__(self, subject: Backbone, options: Options, out: Path, observer: Observer) -> None:
        """Decode the images.

        Args:
            subject: What is evaluated.
            options: How.
            out: Folder of the journal of scores and the lists of labelled images.
            observer: Told how it goes.

        Raises:
            InputError: An option is wrong, or doesn't fit the data or this machine.
        """
        _check(options)
        self._device = torch.device(resolve_devices(options.device)[0])
        prepare(self._device, threads=options.threads or available_cores())
        self._subject, self._options = subject, options
        self._observer = observer
        self._out, self._book = out, ScoreBook(out, options.seeds, observer.note)
        home = options.home or default_home()
        source = load_source(options.data, options.download, home / "data")
        self._classes = len(source.classes)
        parts = split_unseen(source)
        self._split = parts.words
        self._recipe = _images_of(subject.side)
        cache = build_cache(
            parts, geometries(self._recipe), home / "images", available_cores(), observer.decoded
        )
        # Whatever the data, images come to the trunk as they did in pretraining.
        self._cache: Cache = replace(cache, mean=subject.mean, std=subject.std)
        self._arrays: Arrays = open_arrays(cache.path, self._device)
        self._features: dict[str, tuple[Tensor, Tensor]] = {}

    def run(self) -> list[Score]:
        """Do the task; return its scores, the pretrained trunk's first."""
        scores = self._scores()
        self._book.keep(scores)
        return scores

    def save_features(self, file: Path) -> tuple[int, int]:
        """Write the features of all images, with their labels; return how many and how wide.

        Raises:
            InputError: The file can't be written.
        """
        known, told = self._trunk_features(self._subject.trunk(), "features")
        arrays = {
            "train": known,
            "train_labels": self._arrays.train_labels,
            "val": told,
            "val_labels": self._arrays.val_labels,
        }
        write_features(file, arrays)
        return len(known) + len(told), known.shape[1]

    def _scores(self) -> list[Score]:
        task = self._options.task
        if task == "lowshot":
            shares = self._options.shares or _SHARES
            return [s for share in shares for s in self._low_shot(share)]
        everything = {seed: self._labelled(1.0, seed) for seed in range(self._options.seeds)}
        count = len(everything[0])
        scratch = from_scratch(count, self._options.scratch_epochs)
        rows: list[tuple[str, Callable[[int], float]]]
        if task == "finetune":
            tuning = fine_tuning(count)
            rows = [
                (PRETRAINED, lambda seed: self._fit(True, everything[seed], tuning, seed)),
                (RANDOM, lambda seed: self._fit(False, everything[seed], tuning, seed)),
            ]
        else:
            judge = self._nearest if task == "knn" else self._linear
            rows = [
                (PRETRAINED, lambda seed: judge(True, everything[seed], seed)),
                (RANDOM, lambda seed: judge(False, everything[seed], seed)),
            ]
        rows.append(
            (
                f"{SCRATCH}, {scratch.epochs} epochs",
                lambda seed: self._fit(False, everything[seed], scratch, seed),
            )
        )
        return [self._score(task, 1.0, count, what, one) for what, one in rows]

    def _low_shot(self, share: float) -> list[Score]:
        labelled = {seed: self._labelled(share, seed) for seed in range(self._options.seeds)}
        count = len(labelled[0])
        for seed, rows in labelled.items():
            listed = "\n".join(str(row) for row in rows.tolist())
            write_text(self._out / f"labels-{share:g}-seed{seed}.txt", listed + "\n")
        tuning, scratch = low_shot(share, count), from_scratch(count, self._options.scratch_epochs)
        judged: list[tuple[str, Callable[[int], float]]] = [
            (
                f"{PRETRAINED}, fine-tuned",
                lambda seed: self._fit(True, labelled[seed], tuning, seed),
            ),
            (f"{PRETRAINED}, linear", lambda seed: self._linear(True, labelled[seed], seed)),
            (f"{RANDOM}, fine-tuned", lambda seed: self._fit(False, labelled[seed], tuning, seed)),
            (f"{RANDOM}, linear", lambda seed: self._linear(False, labelled[seed], seed)),
            (
                f"{SCRATCH}, {scratch.epochs} epochs",
                lambda seed: self._fit(False, labelled[seed], scratch, seed),
            ),
        ]
        return [self._score("lowshot", share, count, what, one) for what, one in judged]

    def _score(
        self, task: str, share: float, count: int, what: str, one: Callable[[int], float]
    ) -> Score:
        subject = self._subject
        who = subject.digest if what.startswith(PRETRAINED) else str(subject.model.body)
        # Supervised training is the same whatever it stands beside.
        kind = "" if what.startswith(SCRATCH) else task
        line = Line(
            task=task,
            data=self._options.data,
            share=share,
            labels=count,
            what=what,
            images=len(self._arrays.val),
            split=self._split,
            source=subject.source,
            identity=(kind, who, self._cache.content, self._split, subject.side),
        )
        (score,) = self._book.score(line, lambda seed: {ACCURACY: one(seed)})
        return score

    def _labelled(self, share: float, seed: int) -> Tensor:
        """Rows of the images whose labels are used: a share of each class, by the seed alone."""
        labels = self._arrays.train_labels.cpu()
        if share >= 1:
            return torch.arange(len(labels))
        generator = torch.Generator().manual_seed(mixed_seed(seed, 2))
        rows = []
        for label in range(self._classes):
            own = torch.nonzero(labels == label)[:, 0]
            order = torch.randperm(len(own), generator=generator)
            rows.append(own[order[: max(1, round(share * len(own)))]])
        return torch.cat(rows).sort().values

    def _linear(self, pretrained: bool, rows: Tensor, seed: int) -> float:
        known, told = self._features_of(pretrained, seed)
        rows = rows.to(known.device)
        labels = self._arrays.train_labels.to(known.device)
        return linear_accuracy(
            known[rows], labels[rows], told, self._arrays.val_labels, self._classes, seed
        )

    def _nearest(self, pretrained: bool, rows: Tensor, seed: int) -> float:
        known, told = self._features_of(pretrained, seed)
        generator = torch.Generator().manual_seed(mixed_seed(seed, 3))
        drawn = torch.randperm(len(rows), generator=generator)[: max(1, round(_BANK * len(rows)))]
        bank = rows[drawn].to(known.device)
        labels = self._arrays.train_labels.to(known.device)
        return knn_accuracy(known[bank], labels[bank], told, self._arrays.val_labels, self._classes)

    def _fit(self, pretrained: bool, rows: Tensor, schedule: Fit, seed: int) -> float:
        recipe = replace(self._recipe, batch_size=schedule.batch)
        some = None if len(rows) == len(self._arrays.train) else rows
        batches = Batches(self._cache, recipe, self._device, rows=some)
        model = self._subject.model.at(classes=self._classes)
        weights = self._subject.weights if pretrained else None
        epochs = self._observer.epochs
        return fit(model, weights, batches, schedule, seed, self._device, epochs)

    def _features_of(self, pretrained: bool, seed: int) -> tuple[Tensor, Tensor]:
        """Features of all images; random trunks are another for each seed."""
        if pretrained:
            return self._trunk_features(self._subject.trunk(), PRETRAINED)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trunk = trunk_of(self._subject.model)
        return self._trunk_features(trunk, f"{RANDOM} {seed}")

    def _trunk_features(self, trunk: nn.Module, name: str) -> tuple[Tensor, Tensor]:
        if name not in self._features:
            trunk.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            subject = self._subject
            known, told = (
                extract(trunk, records, subject.side, subject.mean, subject.std, self._device)
                for records in (self._arrays.train, self._arrays.val)
            )
            self._features[name] = (known, told)
        return self._features[name]


def _check(options: Options) -> None:
    check_task(options.task)
    if options.seeds < 1:
        raise InputError(f"--seeds is {options.seeds}; it must be at least 1")
    for share in options.shares or ():
        if not 0 < share <= 1:
            raise InputError(f"--labels {share:g}: it must be a share above 0, up to 1 (or 100%)")
    if options.scratch_epochs is not None and not 1 <= options.scratch_epochs <= _MOST_EPOCHS:
        raise InputError(
            f"--scratch-epochs is {options.scratch_epochs}; it must be from 1 to {_MOST_EPOCHS}"
        )
    check_threads(options.threads)


def _images_of(side: int) -> Recipe:
    """How images are decoded and augmented for a trunk that sees a side."""
    large = side >= _LARGE
    return Recipe(
        name="evaluation",
        epochs=1,
        batch_size=256,
        lr=0.1,
        augmentation="resized-crop-flip" if large else "crop-flip",
        pad=side // 8,
        resolution=side,
        eval_resize=8 / 7 if large else 1.0,
    )
