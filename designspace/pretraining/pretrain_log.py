"""Logs of a pretraining: loss and learning rate of iterations, and measures of epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.training.metric_logger import (
    LoggerLike,
    MetricLogger,
    check_loggers,
    open_loggers,
)

# Tags of the measures of an epoch.
_EPOCH = {
    "loss": "epoch/loss",
    "knn": "epoch/knn",
    "linear": "epoch/linear",
    "rankme": "watch/rankme",
    "lidar": "watch/lidar",
    "alpha": "watch/alpha",
    "prototypes_used": "watch/prototypes_used",
    "largest_prototype": "watch/largest_prototype",
    "feature_std": "watch/feature_std",
    "crop_share": "watch/crop_share",
    "undecodable": "watch/undecodable",
    "images_per_second": "speed/images_per_second",
}


class PretrainLog:
    """Sends a pretraining to loggers."""

    def __init__(self, log: Sequence[LoggerLike], folder: Path, options: Mapping[str, Any]) -> None:
        """Import what the loggers need.

        Args:
            log: tensorboard, mlflow, wandb, or objects that receive the numbers.
            folder: Of the pretraining.
            options: What servers show beside it.

        Raises:
            InputError: There is no such logger, or its package is not installed.
        """
        check_loggers(log)
        self._log, self._folder, self._options = log, folder, options
        self._loggers: list[MetricLogger] = []

    def begin(self, done: int) -> None:
        """Open the loggers; iterations after `done` replace those of an earlier call."""
        self._loggers = open_loggers(self._log, self._folder, "", self._options, done)

    def steps(self, records: list[dict[str, Any]]) -> None:
        """Log iterations."""
        for logger in self._loggers:
            for record in records:
                values = {f"step/{name}": record[name] for name in ("loss", "lr")}
                logger.scalars(values, record["iteration"])

    def measures(self, values: Mapping[str, Any], iteration: int) -> None:
        """Log measures that have a tag."""
        named = {tag: float(values[name]) for name, tag in _EPOCH.items() if name in values}
        for logger in self._loggers:
            logger.scalars(named, iteration)

    def epoch(self, record: dict[str, Any]) -> None:
        """Log an epoch at its last iteration, alarms as text."""
        largest = max(record["prototype_shares"])
        self.measures(record | {"largest_prototype": largest}, record["iteration"])
        for logger in self._loggers:
            for name, text in record["alarms"].items():
                logger.text(f"alarm/{name}", text, record["iteration"])

    def close(self) -> None:
        """Write what is pending."""
        for logger in self._loggers:
            logger.close()
