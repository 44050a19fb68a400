"""TensorBoard event files: the error of each model after each epoch."""

from pathlib import Path
from typing import Any

from designspace.errors import InputError
from designspace.runs import Trial


def summary_writer() -> Any:
    """Return torch's SummaryWriter class.

    Raises:
        InputError: The `tensorboard` package, which it needs, is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "tensorboard is not installed: pip install 'designspace-regnet[tensorboard]'",
            "tensorboard",
        ) from None
    return SummaryWriter


class TrialTensorBoard:
    """Writes one folder of events per model, which TensorBoard lists as runs."""

    def __init__(self) -> None:
        """Import the writer.

        Raises:
            InputError: The `tensorboard` package is not installed.
        """
        self._writer_class = summary_writer()

    def write(self, path: Path, trial: Trial) -> None:
        """Write the error curve and the state of a finished trial below a folder."""
        with self._writer_class(log_dir=str(path / f"{trial.index:05d}")) as writer:
            for epoch, error in enumerate(trial.curve, start=1):
                writer.add_scalar("error", error, epoch)
            writer.add_scalar("seconds", trial.seconds, len(trial.curve))
            writer.add_text("trial", f"{trial.id}: {trial.state} {trial.reason}".strip())
