"""Detection with a pretrained trunk: COCO metrics, compared with the same trunk random."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from designspace.data.batches import open_arrays
from designspace.data.decode import Geometry
from designspace.data.prepare import prepare_images
from designspace.errors import InputError, MissingLabels
from designspace.evaluation.backbone import Backbone
from designspace.evaluation.detection.average_precision import METRICS, average_precision
from designspace.evaluation.detection.coco_dataset import read_coco
from designspace.evaluation.detection.detector_training import (
    Schedule,
    detect,
    published_schedule,
    small_schedule,
    train_detector,
)
from designspace.evaluation.detection.pasted_scenes import PasteOptions, paste_scenes
from designspace.evaluation.detection.scenes import Scenes, require_pycocotools
from designspace.evaluation.evaluation_options import EvaluationObserver, EvaluationOptions
from designspace.evaluation.scores import Score, ScoreBook, ScoreKey, ScoreKind
from designspace.training.device_setup import prepare
from designspace.training.devices import available_cores, resolve_devices

# Pasted scenes: numbers for training and validation, and the side of a scene and of the pasted
# images relative to the side that the trunk was trained with.
_SCENES = (512, 128)
_SIDE, _SMALLEST, _LARGEST = 3, 0.75, 1.5


class Detection:
    """A trunk on annotated scenes."""

    def __init__(
        self, backbone: Backbone, options: EvaluationOptions, observer: EvaluationObserver
    ) -> None:
        """Read or generate the scenes, and report the schedule.

        Raises:
            InputError: The data are invalid, or pycocotools is missing.
        """
        require_pycocotools()
        if (channels := backbone.model.skeleton.channels) != 3:
            raise InputError(
                f"{backbone.model.name} takes images of {channels} channels; torchvision's "
                "detectors take 3",
                "task",
            )
        self._device = torch.device(resolve_devices(options.device)[0])
        self._autocast = prepare(self._device, threads=options.threads or available_cores())
        # Image sizes vary, so timing cuDNN's algorithms doesn't pay.
        torch.backends.cudnn.benchmark = False
        self._backbone, self._options, self._observer = backbone, options, observer
        kind, _, rest = options.data.partition(":")
        if kind == "coco":
            if not rest:
                raise InputError("data coco: give the folder, as in coco:PATH", argument="data")
            self._data, self._split = options.data, read_coco(Path(rest))
        else:
            source = (rest if kind == "pasted" else options.data) or "digits"
            self._data = f"pasted:{source}"
            self._split = _pasted(source, options, backbone.side, observer)
        self._schedule = self._choose_schedule(kind == "coco")
        observer.note(self._described())

    def scores(self, folder: Path) -> list[Score]:
        """Train and measure detectors on the pretrained and on a random trunk.

        Args:
            folder: Of the score journal.
        """
        book = ScoreBook(folder, self._options.repetitions, self._observer.note)
        backbone, (train, val) = self._backbone, self._split
        scores: list[Score] = []
        options = self._options
        chosen = "" if options.lr is None else f", rate {options.lr:g}"
        chosen += f", {options.schedule}" if options.schedule in ("small", "published") else ""
        for kind in (ScoreKind.PRETRAINED, ScoreKind.RANDOM):
            # Detectors train the whole trunk, so a random one is supervised from scratch.
            pretrained = kind is ScoreKind.PRETRAINED
            who = kind.label if pretrained else f"{kind.label} (= {ScoreKind.SCRATCH.label})"
            key = ScoreKey(
                task=self._options.task,
                data=self._data,
                share=1.0,
                labels=len(train),
                kind=kind,
                what=f"{who}{backbone.side_words}, {self._schedule.iterations} iterations{chosen}",
                images=len(val),
                split=val.name,
                source=backbone.source,
            )
            network = backbone.digest if pretrained else backbone.network
            identity = ("detect", network, train.content, val.content, self._schedule.digest)
            weights = backbone.weights if pretrained else None
            scores += book.score(key, identity, partial(self._one, weights), METRICS)
        book.save_table(scores)
        return scores

    def _one(self, weights: Mapping[str, torch.Tensor] | None, seed: int) -> Mapping[str, float]:
        train, val = self._split
        backbone, schedule = self._backbone, self._schedule
        assert backbone.mean is not None
        assert backbone.std is not None
        network = train_detector(
            backbone.model,
            weights,
            train,
            schedule,
            (backbone.mean, backbone.std),
            seed,
            self._device,
            self._observer.note,
            self._autocast,
        )
        detections = detect(network, val, schedule.batch, self._device, self._autocast)
        return average_precision(val, detections)

    def _choose_schedule(self, coco: bool) -> Schedule:
        options = self._options
        on_gpu = self._device.type == "cuda"
        auto = options.schedule in (None, "auto") and coco and on_gpu
        published = options.schedule == "published" or auto
        base = published_schedule() if published else small_schedule(_SIDE * self._backbone.side)
        return replace(
            base, iterations=options.iterations or base.iterations, lr=options.lr or base.lr
        )

    def _described(self) -> str:
        (train, val), schedule = self._split, self._schedule
        size = schedule.size
        sides = " to ".join(str(side) for side in sorted({size.shorter[0], size.shorter[-1]}))
        return (
            f"Mask R-CNN with FPN, {schedule.name}: {schedule.iterations} iterations of "
            f"{schedule.batch} images, shorter side {sides}, learning rate {schedule.lr:g}, "
            f"{size.channels} channels; {self._data}: {len(train)} training images, {len(val)} "
            "validation images"
        )


def _pasted(
    source: str, options: EvaluationOptions, side: int, observer: EvaluationObserver
) -> tuple[Scenes, Scenes]:
    """Paste the training images of a source into scenes for training, the others for validation."""
    largest = round(_LARGEST * side)
    square = Geometry(largest, largest)
    try:
        images = prepare_images(
            source,
            (square, square),
            options.cache,
            labeled=True,
            download=options.download,
            observer=observer,
        )
    except MissingLabels:
        raise InputError(
            f"data is {options.data!r}, images without labels; task detect takes annotated images, "
            "coco:PATH, or labelled ones that it pastes into scenes: pasted:digits, "
            "pasted:folder:PATH (with train/CLASS/IMAGE), …",
            "data",
        ) from None
    arrays = open_arrays(images.cache.path, torch.device("cpu"))
    paste = PasteOptions(
        side=_SIDE * side,
        smallest=round(_SMALLEST * side),
        largest=largest,
        most=4,
        ink=source == "digits",
    )
    parts = (
        ("training", arrays.train, arrays.train_labels),
        ("validation", arrays.val, arrays.val_labels),
    )
    train, val = (
        paste_scenes(
            records.numpy(),
            labels.numpy(),
            images.source.classes,
            count,
            paste,
            part,
            f"scenes made by pasting {name} images of {source} ({images.split.words})",
        )
        for part, (count, (name, records, labels)) in enumerate(zip(_SCENES, parts, strict=True))
    )
    return train, val
