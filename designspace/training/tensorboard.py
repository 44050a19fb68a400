"""TensorBoard event files: the error of each model after each epoch."""

from pathlib import Path
from typing import Any

from designspace.errors import InputError
from designspace.runs import Trial


def summary_writer() -> Any:
    """Return torch's class that writes event files.

    Raises:
        InputError: The `tensorboard` package, which torch writes with, is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "--tensorboard needs TensorBoard: pip install 'designspace-regnet[tensorboard]'"
        ) from None
    return SummaryWriter


class TrialTensorBoard:
    """Writes a folder of events for each model, so that TensorBoard lists them as runs."""

    def __init__(self) -> None:
        """Find the writer.

        Raises:
            InputError: The `tensorboard` package is not installed.
        """
        self._make = summary_writer()

    def write(self, path: Path, trial: Trial) -> None:
        """Write the curve of a finished trial, and how it ended, below a folder."""
        with self._make(log_dir=str(path / f"{trial.index:05d}")) as writer:
            for epoch, error in enumerate(trial.curve, start=1):
                writer.add_scalar("error", error, epoch)
            writer.add_scalar("seconds", trial.seconds, len(trial.curve))
            writer.add_text("trial", f"{trial.id}: {trial.state} {trial.reason}".strip())
