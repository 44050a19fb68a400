"""`designspace evaluate --task detect`: COCO metrics of a trunk, beside the same trunk random."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from designspace.data.batches import open_arrays
from designspace.data.cache import Progress, build_cache, default_home
from designspace.data.decode import Geometry
from designspace.data.sources import load_source
from designspace.data.splits import split_unseen
from designspace.errors import InputError
from designspace.evaluate.backbone import Backbone
from designspace.evaluate.detection.average_precision import METRICS, average_precision
from designspace.evaluate.detection.coco_dataset import read_coco
from designspace.evaluate.detection.detector_training import (
    Schedule,
    detect,
    published_schedule,
    small_schedule,
    train_detector,
)
from designspace.evaluate.detection.pasted_scenes import Pasting, paste_scenes
from designspace.evaluate.detection.scenes import Scenes, need_pycocotools
from designspace.evaluate.scores import PRETRAINED, UNTRAINED, Line, Observer, Score, ScoreBook
from designspace.runs.options import check_threads
from designspace.training.devices import available_cores, prepare, resolve_devices

SCHEDULES = ("auto", "small", "published")
# Pasted scenes: how many, their side and that of what is pasted, over the side that the trunk saw.
_SCENES = (512, 128)
_SIDE, _SMALLEST, _LARGEST = 3, 0.75, 1.5


@dataclass(frozen=True)
class DetectOptions:
    """What a person asks of `designspace evaluate --task detect`.

    Attributes:
        data: coco:PATH, pasted:SOURCE, or a source of labelled images, which are pasted.
        seeds: Trainings of each detector.
        schedule: auto (published for COCO on a GPU, small otherwise), small or published.
        iterations: In place of the schedule's.
        lr: In place of the schedule's.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: On the CPU, or None for as many as cores.
        download: Fetch the data set when it is missing.
        home: Folder of image caches and downloads, or None for the user's cache folder.
    """

    data: str
    seeds: int = 3
    schedule: str = "auto"
    iterations: int | None = None
    lr: float | None = None
    device: str = "auto"
    threads: int | None = None
    download: bool = False
    home: Path | None = None


class Detection:
    """A trunk, scenes, and the scores so far."""

    def __init__(
        self,
        subject: Backbone,
        options: DetectOptions,
        out: Path,
        observer: Observer,
    ) -> None:
        """Read or make the scenes, and say by which schedule detectors will be trained.

        Args:
            subject: What is evaluated.
            options: How.
            out: Folder of the journal of scores.
            observer: Told how it goes.

        Raises:
            InputError: An option is wrong, the data are, or pycocotools is missing.
        """
        _check(options)
        need_pycocotools()
        self._device = torch.device(resolve_devices(options.device)[0])
        threads = options.threads or available_cores()
        # Images differ in size: timing algorithms doesn't pay.
        prepare(self._device, exact=True, threads=threads)
        self._subject, self._told = subject, observer.note
        kind, _, rest = options.data.partition(":")
        if kind == "coco":
            if not rest:
                raise InputError("data coco: give the folder, as in coco:PATH")
            self._data, self._parts = options.data, read_coco(Path(rest))
        else:
            source = rest if kind == "pasted" else options.data
            self._data = f"pasted:{source or 'digits'}"
            self._parts = _pasted(source or "digits", options, subject.side, observer.decoded)
        self._schedule = _schedule(options, kind, self._device, subject.side)
        self._told(_described(self._schedule, self._data, self._parts))
        self._book = ScoreBook(out, options.seeds, self._told)

    def run(self) -> list[Score]:
        """Train and measure; return the scores, the pretrained trunk's first."""
        scores = [
            *self._score(PRETRAINED, lambda seed: self._one(True, seed)),
            *self._score(UNTRAINED, lambda seed: self._one(False, seed)),
        ]
        self._book.keep(scores)
        return scores

    def _score(self, what: str, one: Callable[[int], Mapping[str, float]]) -> list[Score]:
        subject, (train, val) = self._subject, self._parts
        who = subject.digest if what == PRETRAINED else str(subject.model.body)
        line = Line(
            task="detect",
            data=self._data,
            share=1.0,
            labels=len(train),
            what=f"{what}, {self._schedule.iterations} iterations",
            images=len(val),
            split=val.name,
            source=subject.source,
            identity=("detect", who, train.content, val.content, self._schedule.digest),
        )
        return self._book.score(line, one, METRICS)

    def _one(self, pretrained: bool, seed: int) -> Mapping[str, float]:
        train, val = self._parts
        subject, schedule = self._subject, self._schedule
        network = train_detector(
            subject.model,
            subject.weights if pretrained else None,
            train,
            schedule,
            (subject.mean, subject.std),
            seed,
            self._device,
            self._told,
        )
        return average_precision(val, detect(network, val, schedule.batch, self._device))


def _check(options: DetectOptions) -> None:
    if options.schedule not in SCHEDULES:
        raise InputError(f"--schedule {options.schedule}: it is {', '.join(SCHEDULES)}")
    check_threads(options.threads)
    for name in ("seeds", "iterations"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}; it must be at least 1")
    if options.lr is not None and not 0 < options.lr <= 10:
        raise InputError(f"--lr is {options.lr:g}; it must be above 0 and up to 10")


def _schedule(options: DetectOptions, kind: str, device: torch.device, side: int) -> Schedule:
    published = options.schedule == "published" or (
        options.schedule == "auto" and kind == "coco" and device.type == "cuda"
    )
    made = published_schedule() if published else small_schedule(_SIDE * side)
    return replace(made, iterations=options.iterations or made.iterations, lr=options.lr or made.lr)


def _described(schedule: Schedule, data: str, parts: tuple[Scenes, Scenes]) -> str:
    train, val = parts
    size = schedule.size
    sides = " to ".join(str(side) for side in sorted({size.shorter[0], size.shorter[-1]}))
    return (
        f"Mask R-CNN with FPN, {schedule.name}: {schedule.iterations} iterations of "
        f"{schedule.batch} images, shorter side {sides}, rate {schedule.lr:g}, {size.channels} "
        f"channels; {data}: {len(train)} images to train on, {len(val)} to measure on"
    )


def _pasted(
    source: str, options: DetectOptions, side: int, progress: Progress
) -> tuple[Scenes, Scenes]:
    """Scenes of a source: training images are pasted for training, the others for measuring."""
    home = options.home or default_home()
    found = load_source(source, options.download, home / "data")
    parts = split_unseen(found)
    largest = round(_LARGEST * side)
    square = Geometry(largest, largest)
    sizes, cores = (square, square), available_cores()
    cache = build_cache(parts, sizes, home / "images", cores, progress)
    arrays = open_arrays(cache.path, torch.device("cpu"))
    how = Pasting(
        side=_SIDE * side,
        smallest=round(_SMALLEST * side),
        largest=largest,
        most=4,
        ink=source == "digits",
    )
    told = (
        ("training", arrays.train, arrays.train_labels),
        ("validation", arrays.val, arrays.val_labels),
    )
    made = [
        paste_scenes(
            records.numpy(),
            labels.numpy(),
            found.classes,
            count,
            how,
            part,
            f"scenes made by pasting {name} images of {source} ({parts.words})",
        )
        for part, (count, (name, records, labels)) in enumerate(zip(_SCENES, told, strict=True))
    ]
    return made[0], made[1]
