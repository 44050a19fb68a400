"""Logs of trials: the error of each model after each epoch."""

from collections.abc import Sequence
from pathlib import Path

from designspace.runs import Trial
from designspace.training.metric_logger import LoggerLike, check_loggers, open_loggers


class TrialLog:
    """Sends finished trials to loggers, each as a training of its own.

    Objects of one's own stay open until `close`.
    """

    def __init__(self, log: Sequence[LoggerLike]) -> None:
        """Import what the loggers need.

        Raises:
            InputError: There is no such logger, or its package is not installed.
        """
        check_loggers(log)
        self._log = log
        self._own = [one for one in log if not isinstance(one, str)]

    def write(self, path: Path, trial: Trial) -> None:
        """Log the error curve and the state of a finished trial of a run folder.

        Raises:
            Exception: What the first logger raised that failed; the others have the trial.
        """
        about = {"id": trial.id, "state": str(trial.state), "seed": trial.seed}
        last = len(trial.curve)
        about_trial = f"model {trial.index} of {path.name}, {trial.id}: {trial.state}"
        failures: list[Exception] = []
        for one in self._log:
            try:
                (logger,) = open_loggers([one], path, f"{trial.index:05d}", about)
                try:
                    logger.text("trial", f"{about_trial} {trial.reason}".strip(), last)
                    for epoch, error in enumerate(trial.curve, start=1):
                        logger.scalars({"error": error}, epoch)
                    logger.scalars({"seconds": trial.seconds}, last)
                finally:
                    if logger not in self._own:
                        logger.close()
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Close the loggers that are objects of one's own."""
        for logger in self._own:
            logger.close()
