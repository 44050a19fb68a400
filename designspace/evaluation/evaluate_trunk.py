"""Evaluate a pretrained trunk: one call for all tasks."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.arch import Model
from designspace.data.stored_source import choose_source
from designspace.errors import InputError, MissingLabels, check_types, counted
from designspace.evaluation.backbone import Backbone, load_backbone
from designspace.evaluation.evaluation_options import (
    EvaluationObserver,
    EvaluationOptions,
    SilentObserver,
    parse_labels,
)
from designspace.evaluation.scores import Score, Task, parse_task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FeaturesFile:
    """Features written to a file.

    Attributes:
        file: .npz or .safetensors.
        images: Number of images.
        width: Features per image.
    """

    file: Path
    images: int
    width: int


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation measured.

    Attributes:
        task: What was measured.
        data: Data set, as the user named it.
        source: Checkpoint in words.
        scores: The pretrained trunk first; empty for task features.
        features: Set for task features only.
        run: Folder of the pretraining that the scores are saved in; None if they are elsewhere.
    """

    task: Task
    data: str
    source: str
    scores: tuple[Score, ...] = ()
    features: FeaturesFile | None = None
    run: Path | None = None

    def to_dict(self) -> dict[str, Any] | list[dict[str, Any]]:
        """Return plain data: the scores, or where the features are."""
        if self.features is not None:
            return {**vars(self.features), "file": str(self.features.file)}
        return [score.to_dict() for score in self.scores]

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per score."""
        import pandas as pd

        return pd.DataFrame([score.to_dict() for score in self.scores])

    def _repr_html_(self) -> str:
        columns = ["task", "what", "labels", "metric", "mean", "low", "high"]
        return str(self.to_frame()[columns].round(1).to_html(index=False))

    def __str__(self) -> str:
        if self.features is not None:
            f = self.features
            return f"{f.file}: {counted(f.images, 'image')}, {f.width} features each"
        header = f"{self.source} on {self.scores[0].data}: "
        if self.task is Task.LABELFREE:
            header += f"{self.scores[0].images} images, mean and its 95 % interval over seeds"
        else:
            header += "percent, with the mean's 95 % interval over seeds"
        return "\n".join([header, *(f"  {score}" for score in self.scores)])


@check_types
def evaluate_trunk(
    checkpoint: Path | str,
    task: str | None = None,
    *,
    data: str | None = None,
    model: Model | None = None,
    side: int | None = None,
    seeds: int | None = None,
    labels: Iterable[str | float] | str | float | None = None,
    supervised: bool | None = None,
    scratch_epochs: int | None = None,
    supervised_pretraining: bool | None = None,
    tune_lr: bool | None = None,
    neighbors: int | None = None,
    temperature: float | None = None,
    schedule: str | None = None,
    iterations: int | None = None,
    lr: float | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    threads: int | None = None,
    download: bool = False,
    cache: Path | str | None = None,
    observer: EvaluationObserver | None = None,
) -> EvaluationResult:
    """Score a pretrained trunk next to a random trunk and supervised training from scratch.

    All see the same labels. Scores are kept in a journal, so that an interrupted call continues
    where it stopped.

    Args:
        checkpoint: Folder of a pretraining, or weights of another library.
        task: knn, linear, lowshot, finetune, detect, features or labelfree; None for knn, or for
            labelfree if the images have no labels.
        data: Data set; None for that of the pretraining.
        model: Architecture of weights of another library.
        side: Image side in pixels; None for the largest crop, or the model's resolution.
        seeds: See `EvaluationOptions` for this and the other options.
        labels: Fractions of the labels for lowshot, such as 0.01 or "1%".
        out: Folder of the scores, by default `evaluation` next to the checkpoint; for task
            features a .npz or .safetensors file.
        observer: Receives progress.

    Raises:
        InputError: An option is invalid, or doesn't fit the checkpoint, data or machine.
    """
    checkpoint, observer = Path(checkpoint), observer or SilentObserver()
    kind = parse_task(task or Task.KNN)
    fractions = parse_labels(labels)
    backbone = load_backbone(checkpoint, model, side)
    home = None if cache is None else Path(cache)
    data = choose_source(data, backbone.data, checkpoint, home)
    if data is None:
        raise InputError(
            "data is missing; pass digits, or folder:PATH for your own images", argument="data"
        )
    options = EvaluationOptions(
        task=kind,
        data=data,
        seeds=seeds,
        labels=fractions,
        supervised=supervised,
        scratch_epochs=scratch_epochs,
        supervised_pretraining=supervised_pretraining,
        tune_lr=tune_lr,
        neighbors=neighbors,
        temperature=temperature,
        schedule=schedule,
        iterations=iterations,
        lr=lr,
        device=device,
        threads=threads,
        download=download,
        cache=home,
    )
    for note in backbone.notes:
        observer.note(note)
    folder = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "evaluation"
    output = None if out is None else Path(out)
    if kind is Task.FEATURES:
        features = _save_features(backbone, options, output or folder / "features.npz", observer)
        return EvaluationResult(kind, data, backbone.source, features=features)
    try:
        scores = _measure(backbone, options, output or folder, observer)
    except MissingLabels:
        if task is not None:
            raise
        observer.note("the images have no labels: task labelfree")
        kind = Task.LABELFREE
        scores = _measure(backbone, replace(options, task=kind), output or folder, observer)
    run = checkpoint if output is None and checkpoint.is_dir() else None
    return EvaluationResult(kind, data, backbone.source, tuple(scores), run=run)


def _measure(
    backbone: Backbone, options: EvaluationOptions, folder: Path, observer: EvaluationObserver
) -> list[Score]:
    if options.task is Task.DETECT:
        from designspace.evaluation.detection.detection_task import Detection

        return Detection(backbone, options, observer).scores(folder)
    if options.task is Task.LABELFREE:
        from designspace.evaluation.label_free import LabelFree

        return LabelFree(backbone, options, observer).scores(folder)
    from designspace.evaluation.classification import Classification

    return Classification(backbone, options, observer).scores(folder)


def _save_features(
    backbone: Backbone, options: EvaluationOptions, file: Path, observer: EvaluationObserver
) -> FeaturesFile:
    from designspace.evaluation.classification import Classification
    from designspace.io.atomic_write import make_folder
    from designspace.pretraining.features import check_features_file, write_features

    if file.parent.name == "evaluation":
        make_folder(file.parent)
    check_features_file(file)
    features = Classification(backbone, options, observer).features()
    write_features(file, features.arrays(), features.files, len(features.train))
    count = len(features.train) + len(features.val)
    return FeaturesFile(file, count, features.train.shape[1])
