"""running.json: the progress that a training process publishes for `designspace status`."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from designspace.io.atomic_write import write_text
from designspace.io.file_lock import process_name


@dataclass(frozen=True)
class Heartbeat:
    """Progress of a training process.

    Attributes:
        total: Models to train.
        per_hour: Models finished per hour since the process started.
        seconds_left: Estimated time left, or None before the first model is finished.
        running: Start time of each model in training, by index (Unix time).
        written: When this was written (Unix time).
        lost: Why no model trains on a device any more, by its name.
        writer: The process that wrote it, which holds the run's lock.
    """

    total: int
    per_hour: float
    seconds_left: float | None
    running: dict[int, float]
    written: float = field(default_factory=time.time)
    lost: dict[str, str] = field(default_factory=dict)
    writer: str = field(default_factory=process_name)

    def write(self, path: Path) -> None:
        """Replace running.json."""
        write_text(path, json.dumps(asdict(self)) + "\n")

    @staticmethod
    def read(path: Path, holder: str) -> "Heartbeat":
        """Read running.json.

        Args:
            path: The file.
            holder: The process that holds the run's lock.

        Returns:
            The heartbeat; one without progress if the file is missing or damaged, or if another
            process left it when it was killed.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            left = data["seconds_left"]
            if data.get("writer", holder) != holder:  # earlier versions did not write it
                raise ValueError
            return Heartbeat(
                total=int(data["total"]),
                per_hour=float(data["per_hour"]),
                seconds_left=None if left is None else float(left),
                running={int(i): float(since) for i, since in data["running"].items()},
                written=float(data["written"]),
                lost={str(name): str(why) for name, why in data.get("lost", {}).items()},
                writer=holder,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return Heartbeat(total=0, per_hour=0.0, seconds_left=None, running={}, writer=holder)
