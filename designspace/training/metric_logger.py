"""Where the numbers of a training go besides its journals: TensorBoard, MLflow, Weights & Biases.

Each is a `MetricLogger`, opened for one training. Any object with these three methods will do.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from designspace.errors import InputError, nearest
from designspace.io.atomic_write import write_text

# The module of each logger, and the extra that installs it.
_MODULES = {
    "tensorboard": "torch.utils.tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
}
_PROJECT = "designspace"
_METHODS = ("scalars", "text", "close")


class MetricLogger(Protocol):
    """Receives the numbers of one training."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by name at a step, counted from 1."""

    def text(self, name: str, text: str, step: int) -> None:
        """Log a text at a step."""

    def close(self) -> None:
        """Write what is pending."""


LoggerLike = str | MetricLogger


def chosen_loggers(
    log: Sequence[LoggerLike] | LoggerLike, tensorboard: bool = False
) -> tuple[LoggerLike, ...]:
    """Return loggers as a tuple, each name once, TensorBoard too if it is wanted."""
    own = tuple(log) if isinstance(log, Iterable) and not isinstance(log, str) else (log,)
    own += ("tensorboard",) if tensorboard else ()
    return tuple(one for i, one in enumerate(own) if not isinstance(one, str) or one not in own[:i])


def check_loggers(log: Sequence[LoggerLike]) -> None:
    """Import what the named loggers need, before anything is computed.

    Raises:
        InputError: There is no such logger, its package is not installed, or an object lacks a
            method.
    """
    for name in log:
        if not isinstance(name, str):
            missing = [m for m in _METHODS if not callable(getattr(name, m, None))]
            if missing:
                raise InputError(
                    f"log has a {type(name).__name__}, which lacks {' and '.join(missing)}; a "
                    f"logger has the methods {', '.join(_METHODS)}",
                    "log",
                )
            continue
        if name not in _MODULES:
            raise InputError(f"log is {name!r}; {nearest(name, list(_MODULES))}", "log")
        try:
            import_module(_MODULES[name])
        except ImportError:
            raise InputError(
                f"{name} is not installed: pip install 'designspace-regnet[{name}]'", "log"
            ) from None


def open_loggers(
    log: Sequence[LoggerLike], folder: Path, name: str, options: Mapping[str, Any], done: int = 0
) -> list[MetricLogger]:
    """Open loggers for a training.

    Args:
        log: tensorboard, mlflow, wandb, or objects that receive the numbers.
        folder: Of the event files of TensorBoard, and of MLflow's and Weights & Biases' files if
            no server is configured (MLFLOW_TRACKING_URI, `wandb login`).
        name: Of the training.
        options: Its options, which servers show beside it.
        done: Steps of an earlier call; those after it are replaced.
    """
    classes: dict[str, Callable[[Path, str, Mapping[str, Any], int], MetricLogger]]
    classes = {"tensorboard": _TensorBoard, "mlflow": _MLflow, "wandb": _WeightsAndBiases}
    return [
        classes[one](folder, name, options, done) if isinstance(one, str) else one for one in log
    ]


class _TensorBoard:
    def __init__(self, folder: Path, name: str, options: Mapping[str, Any], done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = done + 1 if done else None
        self._writer: Any = SummaryWriter(str(folder / "tensorboard" / name), purge_step=purge)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def text(self, name: str, text: str, step: int) -> None:
        self._writer.add_text(name, text, step)

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    """Logs by a client, which leaves the active run of a notebook alone."""

    def __init__(self, folder: Path, name: str, options: Mapping[str, Any], done: int) -> None:
        # MLflow calls local files deprecated, but they need no server.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        local = None if "MLFLOW_TRACKING_URI" in os.environ else (folder / "mlflow").resolve()
        self._client, self._metric = MlflowClient(local.as_uri() if local else None), Metric
        experiment = self._client.get_experiment_by_name(_PROJECT)
        number = (
            experiment.experiment_id if experiment else self._client.create_experiment(_PROJECT)
        )
        key = _identifier(folder, name)
        runs = self._client.search_runs([number], f"tags.key = '{key}'", max_results=1)
        if runs:
            self._run = runs[0].info.run_id
        else:
            self._run = self._client.create_run(
                number, tags={"key": key}, run_name=name or folder.resolve().name
            ).info.run_id
            for option, value in options.items():
                self._client.log_param(self._run, option, str(value)[:500])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [self._metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def text(self, name: str, text: str, step: int) -> None:
        self._client.set_tag(self._run, name, f"{text} (step {step})")

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _WeightsAndBiases:
    def __init__(self, folder: Path, name: str, options: Mapping[str, Any], done: int) -> None:
        import wandb

        self._run = wandb.init(
            project=_PROJECT,
            name=name or folder.resolve().name,
            id=_identifier(folder, name),
            resume="allow",
            dir=str(folder),
            config=dict(options),
            reinit="create_new",
            settings=wandb.Settings(silent=True),
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        self._run.summary[name] = f"{text} (step {step})"

    def close(self) -> None:
        self._run.finish()


def _identifier(folder: Path, name: str) -> str:
    """Return the same identifier for a training that is resumed, and to no other.

    The folder keeps a random number: another machine, or a later training, may use the same path.
    """
    file = folder / "log_id"
    if not file.exists():
        write_text(file, uuid.uuid4().hex + "\n")
    own = file.read_text(encoding="utf-8").strip()
    return hashlib.sha256(f"{own}/{folder.resolve()}/{name}".encode()).hexdigest()[:12]
