"""Progress of a pretraining, from its files alone."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from designspace.errors import InputError, counted, name_some
from designspace.io.file_lock import is_locked
from designspace.pretraining.pretrain_run import PretrainRun


@dataclass(frozen=True)
class PretrainingStatus:
    """Progress of a pretraining.

    Attributes:
        name: Of the folder.
        model: Name of the trunk.
        recipe: Name of the recipe.
        running: Whether a process is training it now.
        finished: Whether all epochs are trained, and the trunk's weights are written.
        iteration: Iterations done.
        iterations: Iterations in all.
        epoch: Epochs done.
        epochs: Epochs in all.
        loss: Mean loss of the last epoch, or of the last iteration before the first epoch's end;
            None before the first iteration.
        knn: Last measured k-NN accuracy on training images, in percent.
        alarms: Alarms of the last epoch, by name.
        undecodable: Reasons by name of the images that could not be decoded.
    """

    name: str
    model: str
    recipe: str
    running: bool
    finished: bool
    iteration: int
    iterations: int
    epoch: int
    epochs: int
    loss: float | None
    knn: float | None
    alarms: dict[str, str]
    undecodable: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def __str__(self) -> str:
        state = "running" if self.running else "not running"
        if self.finished:
            state = "finished"
        parts = [
            f"{self.name}: pretraining of {self.model} by {self.recipe}, {state}",
            f"epoch {self.epoch} of {self.epochs}, iteration {self.iteration} of {self.iterations}",
        ]
        if state == "not running":
            parts.append("the same `designspace pretrain` command resumes it")
        parts += [f"loss {self.loss:.4f}"] if self.loss is not None else []
        parts += [f"k-NN {self.knn:.1f} %"] if self.knn is not None else []
        if self.undecodable:
            names = name_some(self.undecodable)
            parts += [f"{counted(len(self.undecodable), 'image')} could not be decoded: {names}"]
        return "\n  ".join([*parts, *(f"ALARM ({k}): {v}" for k, v in self.alarms.items())])


def pretraining_status(folder: Path | str) -> PretrainingStatus:
    """Return the progress of a pretraining.

    Raises:
        InputError: The folder holds no pretraining.
    """
    run = PretrainRun(Path(folder))
    if not run.started:
        raise InputError(
            f"{folder} is not the folder of a pretraining: it has no model.yaml and recipe.yaml"
        )
    recipe, steps, epochs = run.recipe(), run.steps(), run.epochs()
    knn = [epoch["knn"] for epoch in epochs if "knn" in epoch]
    newest = (epochs or steps)[-1:]
    # The last iteration may be done and not yet measured; a finished run's files may be removed.
    written = run.trunk_file.is_file() or not run.has_checkpoint
    return PretrainingStatus(
        name=run.path.resolve().name,
        model=run.model().name,
        recipe=recipe.name,
        running=is_locked(run.lock_file),
        finished=len(epochs) == recipe.epochs and written,
        iteration=int(steps[-1]["iteration"]) if steps else 0,
        iterations=run.data().images // recipe.batch_size * recipe.epochs,
        epoch=len(epochs),
        epochs=recipe.epochs,
        loss=newest[0]["loss"] if newest else None,
        knn=knn[-1] if knn else None,
        alarms=dict(epochs[-1]["alarms"]) if epochs else {},
        undecodable=run.undecodable(),
    )
