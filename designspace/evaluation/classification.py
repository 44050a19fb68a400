"""Classification with a pretrained trunk, compared with a random trunk and supervised training."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from designspace.arch import Model
from designspace.data.augmentation import Normalizer
from designspace.data.batches import Arrays, Batches, open_arrays
from designspace.data.cache import Cache
from designspace.data.decode import geometries
from designspace.data.prepare import prepare_images
from designspace.errors import InputError
from designspace.evaluation.backbone import Backbone
from designspace.evaluation.evaluation_options import (
    DEFAULT_SHARES,
    EvaluationObserver,
    EvaluationOptions,
)
from designspace.evaluation.finetune import (
    FinetuneSchedule,
    finetune_schedule,
    low_shot_schedule,
    scratch_schedule,
    train_network,
    validation_accuracy,
)
from designspace.evaluation.learning_rates import LearningRates, split_labels
from designspace.evaluation.linear_probe import linear_accuracy
from designspace.evaluation.scores import ACCURACY, Score, ScoreBook, ScoreKey, ScoreKind, Task
from designspace.io.atomic_write import write_text
from designspace.networks.classifier import classifier_path
from designspace.pretraining.features import extract_features
from designspace.pretraining.float64 import as_float64
from designspace.pretraining.images import is_stream
from designspace.pretraining.knn import TEMPERATURE, knn_accuracy
from designspace.pretraining.multicrop import mixed_seed
from designspace.pretraining.swav_network import trunk_of
from designspace.runs import Recipe
from designspace.runs.training_options import absolute_source
from designspace.training import checkpoint
from designspace.training.device_setup import prepare
from designspace.training.devices import available_cores, resolve_devices

# From this side on, images are cropped at random boxes and evaluated with a margin, as ImageNet's.
_LARGE = 64
# Images that pass through a network, or are scored against all prototypes, at once.
_CHUNK = 512
# Fraction of the labelled images that each seed of k-NN draws as its bank.
_BANK = 0.9

# Accuracy in percent with the trunk of a kind, labelled rows and a seed.
_Measure = Callable[[ScoreKind, Tensor, int], float]


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features of a data set, (n, width) float32, and its labels, (n,) int64 (-1 for none).

    Attributes:
        files: Path of each image, those of `train` first; empty for data sets without files.
        prototype: Number of the nearest prototype of each image, in the same order; None if the
            trunk has none.
        similarity: Cosine similarity to it.
    """

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor
    files: tuple[str, ...] = ()
    prototype: Tensor | None = None
    similarity: Tensor | None = None

    def arrays(self) -> dict[str, Tensor]:
        """Return the arrays by name, those of prototypes in two parts as the features are."""
        arrays = {
            name: getattr(self, name) for name in ("train", "train_labels", "val", "val_labels")
        }
        for name in ("prototype", "similarity"):
            values = getattr(self, name)
            if values is not None:
                arrays[f"train_{name}"] = values[: len(self.train)]
                arrays[f"val_{name}"] = values[len(self.train) :]
        return arrays


class Classification:
    """A trunk on labelled images."""

    def __init__(
        self, backbone: Backbone, options: EvaluationOptions, observer: EvaluationObserver
    ) -> None:
        """Decode the images.

        Raises:
            InputError: The options don't fit this machine, or the data have one class only.
        """
        self._device = torch.device(resolve_devices(options.device)[0])
        self._autocast = prepare(self._device, threads=options.threads or available_cores())
        self._backbone, self._options, self._observer = backbone, options, observer
        self._recipe = _image_recipe(backbone.side)
        images = prepare_images(
            options.data,
            geometries(self._recipe, backbone.model.skeleton.channels),
            options.cache,
            labeled=options.task is not Task.FEATURES,
            download=options.download,
            observer=observer,
        )
        self._parts = (images.split.train, images.split.val)
        self._classes, self._split = len(images.source.classes), images.split.words
        same = absolute_source(options.data) == backbone.data
        if same and is_stream(options.data) and options.task is not Task.FEATURES:
            self._split += ", seen in pretraining"
            observer.note(
                "a pretraining on shards sees all of their images, without labels: the "
                "images of this test too. For a fair comparison pass data that it has not seen"
            )
        # The trunk sees images normalized as in pretraining, whatever the data.
        self._cache: Cache = images.cache
        if backbone.mean and backbone.std:
            self._cache = replace(images.cache, mean=backbone.mean, std=backbone.std)
        self._arrays: Arrays = open_arrays(self._cache.path, self._device)
        self._features: dict[str, ImageFeatures] = {}

    def features(self) -> ImageFeatures:
        """Return the features that the pretrained trunk extracts, with files and prototypes."""
        features = self._trunk_features(ScoreKind.PRETRAINED, 0)
        files = tuple(
            os.path.normpath(os.path.join(items.root, file))
            for items in self._parts
            for file in items.files
        )
        if self._backbone.prototypes is None:
            return replace(features, files=files)
        winners = [
            self._backbone.prototypes(chunk).max(dim=1)
            for part in (features.train, features.val)
            for chunk in torch.split(part, _CHUNK)
        ]
        similarity, prototype = (torch.cat([w[i].cpu() for w in winners]) for i in (0, 1))
        return replace(features, files=files, prototype=prototype, similarity=similarity)

    def pictures(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return decoded images, (n, side, side, channels), of rows in the order of `files`."""
        train, val = self._arrays.train, self._arrays.val
        centre = (train.shape[1] - val.shape[1]) // 2
        inside = slice(centre, centre + val.shape[1])
        images = [
            train[row, inside, inside] if row < len(train) else val[row - len(train)]
            for row in rows.tolist()
        ]
        return torch.stack(images).cpu().numpy()

    def scores(self, folder: Path) -> list[Score]:
        """Measure the task's scores, the pretrained trunk first.

        Args:
            folder: Of the score journal and the lists of labelled images.
        """
        book = ScoreBook(folder, self._options.repetitions, self._observer.note)
        self._folder, self._rates = folder, LearningRates(folder, self._observer.note)
        low_shot = self._options.task is Task.LOWSHOT
        shares = (self._options.labels or DEFAULT_SHARES) if low_shot else (1.0,)
        scores = [score for share in shares for score in self._at_share(share, book, folder)]
        book.save_table(scores)
        return scores

    def _at_share(self, share: float, book: ScoreBook, folder: Path) -> list[Score]:
        """Scores with a fraction of the labels."""
        task, seeds = self._options.task, range(self._options.repetitions)
        labelled = [self._labelled_rows(share, seed) for seed in seeds]
        count = len(labelled[0])
        if task is Task.LOWSHOT:
            for seed in seeds:
                rows = "\n".join(map(str, labelled[seed].tolist()))
                write_text(folder / f"labels-{share:g}-seed{seed}.txt", rows + "\n")
        # Part of the journal's keys: untuned scores of earlier versions are others.
        tuned = "" if self._options.tune_lr is False else ", tuned rates"
        by_task: dict[Task, list[tuple[str, _Measure]]] = {
            Task.KNN: [(self._neighbors_label, self._nearest)],
            Task.LINEAR: [("", self._linear)],
            Task.FINETUNE: [
                (tuned, partial(self._train, finetune_schedule(count), labelled[0])),
            ],
            Task.LOWSHOT: [
                (
                    f", fine-tuned{tuned}",
                    partial(self._train, low_shot_schedule(share, count), labelled[0]),
                ),
                (", linear", self._linear),
            ],
        }
        compared: list[tuple[ScoreKind, str, _Measure]] = [
            (kind, kind.label + self._backbone.side_words + method, measure)
            for kind in self._kinds()
            for method, measure in by_task[task]
        ]
        if self._options.with_supervised:
            scratch = scratch_schedule(count, self._options.scratch_epochs)
            who = ScoreKind.SCRATCH.label + self._backbone.side_words
            what = f"{who}, {scratch.epochs} epochs{tuned}"
            train = partial(self._train, scratch, labelled[0])
            compared.append((ScoreKind.SCRATCH, what, train))
        folds = "" if self._options.tune_lr is False else self._folds(labelled[0])
        bank = max(1, round(_BANK * count))
        if (self._options.neighbors or 1) > bank:
            raise InputError(
                f"neighbors is {self._options.neighbors}; it must be at most {bank}, the images "
                f"among which k-NN looks: {_BANK:.0%} of {count} labelled ones",
                "neighbors",
            )
        return [
            self._score(
                book,
                self._key(kind, what, share, count),
                measure,
                labelled,
                folds if what.endswith(tuned) else "",
            )
            for kind, what, measure in compared
        ]

    def _folds(self, rows: Tensor) -> str:
        """Say how often rates are compared; nothing of one fold, so that older keys stay valid."""
        number = len(split_labels(self._arrays.train_labels.cpu()[rows]))
        return f"; {number} folds" if number > 1 else ""

    def _kinds(self) -> tuple[ScoreKind, ...]:
        """Origins of the weights that are compared on every task."""
        if self._options.supervised_pretraining:
            return ScoreKind.PRETRAINED, ScoreKind.SUPERVISED, ScoreKind.RANDOM
        return ScoreKind.PRETRAINED, ScoreKind.RANDOM

    def _key(self, kind: ScoreKind, what: str, share: float, count: int) -> ScoreKey:
        return ScoreKey(
            task=self._options.task,
            data=self._options.data,
            share=share,
            labels=count,
            kind=kind,
            what=what,
            images=len(self._arrays.val),
            split=self._split,
            source=self._backbone.source,
        )

    def _score(
        self,
        book: ScoreBook,
        key: ScoreKey,
        measure: _Measure,
        labelled: list[Tensor],
        folds: str,
    ) -> Score:
        backbone, kind = self._backbone, key.kind
        network = self._network_identity(kind)
        # Supervised training is shared by all tasks.
        scope = "" if kind is ScoreKind.SCRATCH else key.task
        identity = (scope, network, self._cache.content, self._split, f"{backbone.side}{folds}")
        (score,) = book.score(
            key, identity, lambda seed: {ACCURACY: measure(kind, labelled[seed], seed)}
        )
        return score

    def _network_identity(self, kind: ScoreKind) -> str:
        """What determines the weights that a seed starts from."""
        network = self._backbone.network
        if kind is ScoreKind.PRETRAINED:
            return self._backbone.digest
        passes = f", {self._backbone.passes} passes"
        return f"{network}{passes}" if kind is ScoreKind.SUPERVISED else network

    def _labelled_rows(self, share: float, seed: int) -> Tensor:
        """Rows of the labelled images: a fraction of each class, which depends only on the seed."""
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

    def _linear(self, kind: ScoreKind, rows: Tensor, seed: int) -> float:
        f = self._trunk_features(kind, seed)
        train, labels = f.train, f.train_labels
        if len(rows) < len(train):
            rows = rows.to(train.device)
            train, labels = train[rows], labels[rows]
        return linear_accuracy(train, labels, f.val, f.val_labels, self._classes, seed)

    def _nearest(self, kind: ScoreKind, rows: Tensor, seed: int) -> float:
        f = self._trunk_features(kind, seed)
        generator = torch.Generator().manual_seed(mixed_seed(seed, 3))
        drawn = torch.randperm(len(rows), generator=generator)[: max(1, round(_BANK * len(rows)))]
        bank = rows[drawn].to(f.train.device)
        return knn_accuracy(
            *(f.train[bank], f.train_labels[bank], f.val, f.val_labels, self._classes),
            k=self._options.neighbors,
            temperature=self._options.temperature or TEMPERATURE,
        )

    @property
    def _neighbors_label(self) -> str:
        """What k-NN differs in from the default, in words that tell its scores apart."""
        k, temperature = self._options.neighbors, self._options.temperature
        changed = [f"{k} neighbors"] if k else []
        changed += [f"temperature {temperature:g}"] if temperature else []
        return "".join(f", {part}" for part in changed)

    def _train(
        self,
        schedule: FinetuneSchedule,
        first: Tensor,
        kind: ScoreKind,
        rows: Tensor,
        seed: int,
    ) -> float:
        """Train with labels; the rates are chosen once, with the labels of the first seed."""
        if self._options.tune_lr is not False:
            identity = (self._network_identity(kind), self._cache.content, self._backbone.side)
            # As the scores, the choice from scratch is shared by all tasks.
            scope = "" if kind is ScoreKind.SCRATCH else self._options.task
            key = "; ".join(map(str, (scope, kind, len(first), schedule, *identity)))
            key += self._folds(first)
            validate = partial(self._held_out_loss, kind, first)
            name = f"{kind.label}, {len(first)} labels"
            schedule = self._rates.choose(name, key, schedule, validate)
        network = self._network(self._weights(kind, seed), schedule, rows, seed)
        batches = self._batches(schedule, rows)
        return validation_accuracy(network, batches, self._device, self._autocast)

    def _network(
        self,
        weights: Mapping[str, Tensor] | None,
        schedule: FinetuneSchedule,
        rows: Tensor,
        seed: int,
    ) -> nn.Module:
        """Train with the labels of some rows."""
        batches = self._batches(schedule, rows)
        return train_network(
            *(self._classifier(), weights, batches, schedule, seed, self._device),
            self._observer.epochs,
            autocast=self._autocast,
        )

    def _classifier(self) -> Model:
        return self._backbone.model.at(classes=self._classes)

    def _batches(self, schedule: FinetuneSchedule, rows: Tensor) -> Batches:
        recipe = replace(self._recipe, batch_size=schedule.batch)
        subset = None if len(rows) == len(self._arrays.train) else rows
        return Batches(self._cache, recipe, self._device, rows=subset)

    def _held_out_loss(
        self, kind: ScoreKind, rows: Tensor, schedule: FinetuneSchedule
    ) -> tuple[float, float]:
        """Error and cross-entropy on a fifth of the labelled images after training on the rest.

        With few labels, of all folds together. A trunk of supervised pretraining has been trained
        with these labels too, so that it validates better than it would on unseen images.
        """
        outputs, held_out = [], []
        for fit, part in split_labels(self._arrays.train_labels.cpu()[rows]):
            network = self._network(self._weights(kind, 0), schedule, rows[fit], 0).eval()
            outputs.append(self._outputs(network, rows[part]))
            held_out.append(rows[part])
        logits = torch.cat(outputs)
        truth = self._arrays.train_labels[torch.cat(held_out).to(self._device)]
        error = float(as_float64(logits.argmax(1) != truth).mean())
        return error, float(functional.cross_entropy(logits, truth))

    def _outputs(self, network: nn.Module, rows: Tensor) -> Tensor:
        """Outputs for training images, seen without augmentation."""
        side, cache, records = self._backbone.side, self._cache, self._arrays.train
        normalize = Normalizer(cache.mean, cache.std, side, self._device)
        inside = slice((records.shape[1] - side) // 2, (records.shape[1] + side) // 2)
        with torch.inference_mode():
            outputs = [
                network(normalize(records[part, inside, inside].to(self._device)))
                for part in torch.split(rows.to(records.device), _CHUNK)
            ]
            return torch.cat(outputs).float()

    def _weights(self, kind: ScoreKind, seed: int) -> Mapping[str, Tensor] | None:
        """Weights of the trunk that a seed starts from; None for random ones."""
        if kind is ScoreKind.PRETRAINED:
            return self._backbone.weights
        return self._supervised_weights(seed) if kind is ScoreKind.SUPERVISED else None

    def _supervised_weights(self, seed: int) -> Mapping[str, Tensor]:
        """Train the trunk with all labels in as many passes as its pretraining, or read it."""
        file = self._folder / f"supervised-{seed}.pt"
        identity = (self._network_identity(ScoreKind.SUPERVISED), self._cache.content)
        key = "; ".join(map(str, (*identity, self._backbone.side)))
        state = checkpoint.load(file, key, torch.device("cpu"))
        if state is None:
            rows = torch.arange(len(self._arrays.train))
            schedule = scratch_schedule(len(rows), self._backbone.passes)
            self._observer.note(f"supervised pretraining: {schedule.epochs} passes, seed {seed}")
            network = self._network(None, schedule, rows, seed)
            head = f"{classifier_path(network, self._classifier())}."
            arrays = network.state_dict().items()
            weights = {k: v.cpu() for k, v in arrays if not k.startswith(head)}
            state = {"weights": weights}
            checkpoint.save(file, key, state)
        trunk: Mapping[str, Tensor] = state["weights"]
        return trunk

    def _trunk_features(self, kind: ScoreKind, seed: int) -> ImageFeatures:
        """Features of all images; each seed has a random and a supervised trunk of its own."""
        name = "pretrained" if kind is ScoreKind.PRETRAINED else f"{kind} {seed}"
        if name not in self._features:
            backbone, arrays = self._backbone, self._arrays
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                trunk = trunk_of(backbone.model)
            weights = self._weights(kind, seed)
            if weights is not None:
                trunk.load_state_dict(dict(weights))
            trunk.to(device=self._device, memory_format=torch.channels_last)
            train, val = (
                extract_features(
                    *(trunk, images, backbone.side, self._cache.mean, self._cache.std),
                    self._device,
                    autocast=self._autocast,
                )
                for images in (arrays.train, arrays.val)
            )
            self._features[name] = ImageFeatures(train, arrays.train_labels, val, arrays.val_labels)
        return self._features[name]


def _image_recipe(side: int) -> Recipe:
    """How images are decoded and augmented for a trunk that sees `side` pixels."""
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
