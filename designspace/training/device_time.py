"""The time of a device, divided among the models that it trains at once."""

import threading
import time
from collections.abc import Callable


class DeviceTime:
    """Charges the time of a device to the models that train on it at once.

    While n models train, each is charged 1/n of the time, so that the seconds of all models add up
    to those of the device, however their number changes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without models; `clock` returns the time in seconds."""
        self._clock, self._lock = clock, threading.Lock()
        self._models, self._charged, self._at = 0, 0.0, clock()

    def begin(self) -> float:
        """Begin the training of a model; return the reading of `seconds` at its beginning."""
        return self._advance(1)

    def end(self) -> None:
        """End the training of a model."""
        self._advance(-1)

    def seconds(self) -> float:
        """Return a reading: two of them differ by the seconds charged to a model in between."""
        return self._advance(0)

    def _advance(self, models: int) -> float:
        with self._lock:
            now = self._clock()
            self._charged += (now - self._at) / max(1, self._models)
            self._at = now
            self._models += models
            return self._charged
