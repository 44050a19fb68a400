"""TensorBoard event files of a pretraining."""

from pathlib import Path
from typing import Any

from designspace.training.tensorboard import summary_writer

# What an epoch's record holds, and how TensorBoard groups it.
_EPOCH = {
    "loss": "epoch/loss",
    "knn": "epoch/knn",
    "prototypes_used": "watch/prototypes_used",
    "feature_std": "watch/feature_std",
    "crop_share": "watch/crop_share",
    "images_per_second": "speed/images_per_second",
}


class PretrainTensorBoard:
    """Writes loss and rate of each iteration, and what is watched of each epoch."""

    def __init__(self, folder: Path) -> None:
        """Find the writer.

        Args:
            folder: Where event files will lie.

        Raises:
            InputError: The `tensorboard` package, which torch writes with, is not installed.
        """
        self._make, self._folder = summary_writer(), folder

    def begin(self, done: int) -> None:
        """Open a file; what earlier ones say of iterations after `done` doesn't count."""
        self._writer = self._make(log_dir=str(self._folder), purge_step=done + 1)

    def steps(self, records: list[dict[str, Any]]) -> None:
        """Write iterations."""
        for record in records:
            for name in ("loss", "lr"):
                self._writer.add_scalar(f"step/{name}", record[name], record["iteration"])
        self._writer.flush()

    def epoch(self, record: dict[str, Any]) -> None:
        """Write an epoch at its last iteration, alarms as text."""
        for name, tag in _EPOCH.items():
            if name in record:
                self._writer.add_scalar(tag, record[name], record["iteration"])
        for name, text in record["alarms"].items():
            self._writer.add_text(f"alarm/{name}", text, record["iteration"])
        self._writer.flush()
