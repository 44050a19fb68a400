"""Read files once, and again after they have changed."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

# A file changed this recently may change again without a new modification time.
_MTIME_RESOLUTION_NS = 50_000_000

T = TypeVar("T")


class CachedReads:
    """Results of reading files, by name."""

    def __init__(self) -> None:
        self._results: dict[str, tuple[object, Any]] = {}

    def read(self, key: str, files: Sequence[Path], read: Callable[[], T]) -> T:
        """Return the result of `read`, or the last one if the files have not changed since."""
        stamps = [_stamp(file) for file in files]
        if key in self._results and self._results[key][0] == stamps:
            return self._results[key][1]  # type: ignore[no-any-return]
        result = read()
        settled = time.time_ns() - _MTIME_RESOLUTION_NS
        if all(stamp is None or stamp[0] < settled for stamp in stamps):
            self._results[key] = (stamps, result)
        return result


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
