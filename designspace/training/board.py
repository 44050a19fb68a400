"""TensorBoard event files of a run: the error of each model after each epoch."""

from pathlib import Path
from typing import Any

from designspace.errors import InputError
from designspace.runs import Trial


class Board:
    """Writes a folder of events for each model, so that TensorBoard lists them as runs."""

    def __init__(self, path: Path) -> None:
        """Write below a folder.

        Raises:
            InputError: The `tensorboard` package, which torch writes with, is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError(
                "--tensorboard needs TensorBoard: pip install 'designspace-regnet[tensorboard]'"
            ) from None
        self._make: Any = SummaryWriter
        self._path = path

    def write(self, trial: Trial) -> None:
        """Write the curve of a finished trial, and how it ended."""
        with self._make(log_dir=str(self._path / f"{trial.index:05d}")) as writer:
            for epoch, error in enumerate(trial.curve, start=1):
                writer.add_scalar("error", error, epoch)
            writer.add_scalar("seconds", trial.seconds, len(trial.curve))
            writer.add_text("trial", f"{trial.id}: {trial.state} {trial.reason}".strip())
