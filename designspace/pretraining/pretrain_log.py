"""Logs of a pretraining: loss and learning rate of iterations, and measures of epochs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    """Sends a pretraining to loggers.

    A logger that fails, such as a server that can't be reached, doesn't end the pretraining: the
    journals have all numbers.
    """

    def __init__(
        self,
        log: Sequence[LoggerLike],
        folder: Path,
        options: Mapping[str, Any],
        note: Callable[[str], None],
    ) -> None:
        """Import what the loggers need.

        Args:
            log: tensorboard, mlflow, wandb, or objects that receive the numbers.
            folder: Of the pretraining.
            options: What servers show beside it.
            note: Receives the first failure of each logger.

        Raises:
            InputError: There is no such logger, or its package is not installed.
        """
        check_loggers(log)
        self._log, self._folder, self._options, self._note = log, folder, options, note
        self._loggers: list[tuple[str, MetricLogger]] = []
        self._failed: set[str] = set()

    def begin(self, done: int) -> None:
        """Open the loggers; iterations after `done` replace those of an earlier call."""
        for number, one in enumerate(self._log):
            name = one if isinstance(one, str) else f"{type(one).__name__} (log[{number}])"
            with self._noting(name):
                (logger,) = open_loggers([one], self._folder, "", self._options, done)
                self._loggers.append((name, logger))

    def steps(self, records: list[dict[str, Any]]) -> None:
        """Log iterations."""
        for name, logger in self._loggers:
            with self._noting(name):
                for record in records:
                    values = {f"step/{key}": record[key] for key in ("loss", "lr")}
                    logger.scalars(values, record["iteration"])

    def measures(self, values: Mapping[str, Any], iteration: int) -> None:
        """Log measures that have a tag."""
        named = {tag: float(values[key]) for key, tag in _EPOCH.items() if key in values}
        for name, logger in self._loggers:
            with self._noting(name):
                logger.scalars(named, iteration)

    def epoch(self, record: dict[str, Any]) -> None:
        """Log an epoch at its last iteration, alarms as text."""
        largest = max(record["prototype_shares"])
        self.measures(record | {"largest_prototype": largest}, record["iteration"])
        for name, logger in self._loggers:
            with self._noting(name):
                for alarm, text in record["alarms"].items():
                    logger.text(f"alarm/{alarm}", text, record["iteration"])

    def close(self) -> None:
        """Write what is pending."""
        for name, logger in self._loggers:
            with self._noting(name):
                logger.close()

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Note the first error of a logger and ignore the others: messages may differ each time."""
        try:
            yield
        except Exception as error:
            if name not in self._failed:
                failure = f"{type(error).__name__}: {error}"
                self._note(f"{name} does not log everything, but the journals do: {failure}")
            self._failed.add(name)
