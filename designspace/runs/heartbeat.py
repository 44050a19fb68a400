"""What the driver of a run says of itself while it runs: running.json, for `designspace status`."""

import json
import time
from dataclasses import asdict, dataclass, field

from designspace.io.files import write_text
from designspace.io.lock import is_locked
from designspace.runs.run import Run

_FILE = "running.json"


@dataclass(frozen=True)
class Heartbeat:
    """A driver at work.

    Attributes:
        total: Models that it is to see finished.
        per_hour: Models finished an hour since it began.
        seconds_left: Its estimate, or None before the first model is finished.
        running: Index of each model in the hands of a worker, and when it went there (Unix time).
        written: When this was written (Unix time).
    """

    total: int
    per_hour: float
    seconds_left: float | None
    running: dict[int, float]
    written: float = field(default_factory=time.time)


def write_heartbeat(folder: Run, live: Heartbeat) -> None:
    """Replace running.json."""
    write_text(folder.path / _FILE, json.dumps(asdict(live)) + "\n")


def remove_heartbeat(folder: Run) -> None:
    """Remove running.json: the driver is through."""
    (folder.path / _FILE).unlink(missing_ok=True)


def read_heartbeat(folder: Run) -> Heartbeat | None:
    """Return what the driver last said, or None where no driver lives."""
    if not is_locked(folder.lock_file):
        return None
    try:
        data = json.loads((folder.path / _FILE).read_text(encoding="utf-8"))
        running = {int(index): float(since) for index, since in data["running"].items()}
        left = data["seconds_left"]
        return Heartbeat(
            total=int(data["total"]),
            per_hour=float(data["per_hour"]),
            seconds_left=None if left is None else float(left),
            running=running,
            written=float(data["written"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Heartbeat(total=0, per_hour=0.0, seconds_left=None, running={})
