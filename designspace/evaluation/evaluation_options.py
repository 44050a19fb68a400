"""Options of an evaluation, validated before anything is loaded."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from designspace.errors import InputError
from designspace.evaluation.scores import Task
from designspace.runs.training_options import check_threads

SCHEDULES = ("auto", "small", "published")
# Fractions of the labels for low-shot learning, as in SwAV and SEER.
DEFAULT_SHARES = (0.01, 0.1)
_MAX_EPOCHS, _SEEDS = 100_000, 3
_CLASSIFIERS = (Task.KNN, Task.LINEAR, Task.LOWSHOT, Task.FINETUNE)
# Tasks that an option applies to; the others apply to all.
_APPLIES_TO = {
    "seeds": tuple(task for task in Task if task is not Task.FEATURES),
    "labels": (Task.LOWSHOT,),
    "supervised": _CLASSIFIERS,
    "scratch_epochs": _CLASSIFIERS,
    "supervised_pretraining": _CLASSIFIERS,
    "tune_lr": _CLASSIFIERS,
    "neighbors": (Task.KNN,),
    "temperature": (Task.KNN,),
    "schedule": (Task.DETECT,),
    "iterations": (Task.DETECT,),
    "lr": (Task.DETECT,),
}


class EvaluationObserver(Protocol):
    """Receives the progress of an evaluation; subclasses may implement a part of it."""

    def note(self, text: str) -> None:
        """Report what is being done."""
        return

    def decoded(self, done: int, total: int) -> None:
        """Report the number of images in the cache."""
        return

    def epochs(self, done: int, total: int, seconds_left: float) -> None:
        """Report the progress of one supervised training."""
        return


class SilentObserver(EvaluationObserver):
    """Ignores progress."""


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation.

    Attributes:
        task: What is measured.
        data: A data set, as `parse_source` takes it; for detection also coco:PATH or pasted:SOURCE
            (labelled images are pasted into scenes).
        seeds: Repetitions of each score; None for 3.
        labels: Fractions of the labels, for low-shot learning; None for 1 and 10 percent.
        supervised: Train the network from scratch for comparison; None does so for all tasks but
            k-NN, which takes seconds otherwise.
        scratch_epochs: Epochs of that training; None derives them from the number of images.
        supervised_pretraining: Compare with the same trunk pretrained with all labels of the
            training images, in as many passes as the pretraining. If it is trained further, its
            learning rates are chosen on images whose labels it has been trained with.
        tune_lr: Each network that is trained (fine-tuned or from scratch) takes its learning rates
            from the same grid, chosen on a held-out fifth of its own labels (of few labels, each
            fifth in turn); None does so, False takes those of the published protocols.
        neighbors: k-NN: number of neighbors; None for 200, fewer in small data sets.
        temperature: k-NN: of their weights exp(cosine similarity / temperature); None for 0.1.
        schedule: Detection: auto (published for COCO on a GPU, else small), small or published.
        iterations: Detection: overrides the schedule's.
        lr: Detection: overrides the schedule's peak learning rate.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; None for one per core.
        download: Download the data set if it is missing.
        cache: Folder of image caches and downloads; None for the user's cache folder.
    """

    task: Task
    data: str
    seeds: int | None = None
    labels: tuple[float, ...] | None = None
    supervised: bool | None = None
    scratch_epochs: int | None = None
    supervised_pretraining: bool | None = None
    tune_lr: bool | None = None
    neighbors: int | None = None
    temperature: float | None = None
    schedule: str | None = None
    iterations: int | None = None
    lr: float | None = None
    device: str = "auto"
    threads: int | None = None
    download: bool = False
    cache: Path | None = None

    def __post_init__(self) -> None:
        for name, tasks in _APPLIES_TO.items():
            if getattr(self, name) is not None and self.task not in tasks:
                raise InputError(
                    f"{name} has no effect on task {self.task}; it applies to {', '.join(tasks)}",
                    argument=name,
                )
        if self.scratch_epochs is not None and self.supervised is False:
            raise InputError(
                "scratch_epochs has no effect with supervised=False; leave one of them out",
                argument="scratch_epochs",
            )
        trained = self.task in (Task.LOWSHOT, Task.FINETUNE) or self.with_supervised
        if self.tune_lr is not None and not trained:
            raise InputError(
                f"tune_lr has no effect: task {self.task} trains no network without "
                "supervised=True",
                argument="tune_lr",
            )
        check_threads(self.threads)
        counts = ("seeds", None), ("iterations", None), ("neighbors", None)
        for name, most in (*counts, ("scratch_epochs", _MAX_EPOCHS)):
            value = getattr(self, name)
            if value is not None and (value < 1 or (most is not None and value > most)):
                limits = "at least 1" if most is None else f"from 1 to {most}"
                raise InputError(f"{name} is {value}; it must be {limits}", argument=name)
        if self.lr is not None and not 0 < self.lr <= 10:
            raise InputError(f"lr is {self.lr:g}; it must be above 0 and at most 10", argument="lr")
        if self.temperature is not None and not 0 < self.temperature <= 100:
            raise InputError(
                f"temperature is {self.temperature:g}; it must be above 0 and at most 100",
                argument="temperature",
            )
        if self.schedule not in (None, *SCHEDULES):
            raise InputError(
                f"schedule is {self.schedule!r}; it must be one of {', '.join(SCHEDULES)}",
                argument="schedule",
            )

    @property
    def repetitions(self) -> int:
        """Repetitions of each score."""
        return self.seeds or _SEEDS

    @property
    def with_supervised(self) -> bool:
        """Whether supervised training from scratch is part of the comparison."""
        if self.supervised is None:
            return self.task is not Task.KNN or self.scratch_epochs is not None
        return self.supervised


def parse_labels(labels: Iterable[str | float] | str | float | None) -> tuple[float, ...] | None:
    """Return fractions of the labels, written 0.01 or "1%".

    Raises:
        InputError: One is not in (0, 1], or is the ambiguous 1.
    """
    if labels is None:
        return None
    values = [labels] if isinstance(labels, str | int | float) else list(labels)
    return tuple(_fraction(str(value).strip()) for value in values) or None


def _fraction(text: str) -> float:
    if text in ("1", "+1"):
        raise InputError("labels is 1; write 1% for one percent, or 1.0 for all", argument="labels")
    number, percent, rest = text.partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not 0 < value <= 1:
        raise InputError(
            f"labels is {text}; it must be a fraction above 0 and at most 1, such as 0.01 or 1%",
            argument="labels",
        )
    return value
