"""TensorBoard event files of a pretraining."""

from pathlib import Path
from typing import Any

from designspace.training.tensorboard import summary_writer

# TensorBoard tags of the values of an epoch.
_EPOCH = {
    "loss": "epoch/loss",
    "knn": "epoch/knn",
    "prototypes_used": "watch/prototypes_used",
    "feature_std": "watch/feature_std",
    "crop_share": "watch/crop_share",
    "images_per_second": "speed/images_per_second",
}


class PretrainTensorBoard:
    """Writes loss and learning rate of each iteration, and the metrics of each epoch."""

    def __init__(self, folder: Path) -> None:
        """Import the writer.

        Args:
            folder: Of the event files.

        Raises:
            InputError: The package `tensorboard` is not installed.
        """
        self._writer_class, self._folder = summary_writer(), folder

    def begin(self, done: int) -> None:
        """Open a file, which replaces iterations after `done` in earlier files."""
        self._writer = self._writer_class(log_dir=str(self._folder), purge_step=done + 1)

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
