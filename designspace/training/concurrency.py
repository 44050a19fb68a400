"""How many models a GPU trains at once: ever more, as long as that makes them faster together.

A small network leaves most of a GPU idle. How many fill it depends on the networks, the GPU and
the host, so it is measured on the models in training.
"""

import math
import threading
import time
from collections.abc import Callable, Hashable
from contextvars import ContextVar

MAX_AT_ONCE = 32
# Twice as many models must raise the steps per second of all together by this share.
_MIN_GAIN = 0.1
# Seconds of training for which each model is measured.
_MEASURED_SECONDS = 1.0
# For models that end before they are measured; 16 launch-bound networks fill an H200.
_UNMEASURED = 16
# Share of the memory that stays free for validation and for larger models.
_RESERVE = 0.1

StepsObserver = Callable[[int, float], None]
_OBSERVER: ContextVar[StepsObserver | None] = ContextVar("steps_observer", default=None)


def observe_steps(observer: StepsObserver) -> None:
    """Call `observer` with the steps of this thread's training, and the seconds that they took."""
    _OBSERVER.set(observer)


def report_steps(steps: int, seconds: float) -> None:
    """Report training steps that the device has finished."""
    observer = _OBSERVER.get()
    if observer is not None:
        observer(steps, seconds)


class Concurrency:
    """Chooses how many models one GPU trains at once.

    It starts with one, measures the rate of each, and doubles their number while there is memory
    and the total rate rises by 10 percent. Models differ, so each is compared with itself: if n
    models become m, and those that were there before slow down to a share s of their rate, the
    total rate rises by the factor s * m / n.

    The thread of each model calls it.

    Attributes:
        at_once: Models to train at once.
        reason: Why not more, once that is decided, else "".
    """

    def __init__(
        self,
        memory: Callable[[], tuple[int, int] | None],
        at_once: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to measure.

        Args:
            memory: Returns the free and the total bytes of the GPU, or None if they are unknown.
            at_once: Models to begin with.
            clock: Returns the time in seconds.
        """
        self.at_once, self.reason = at_once, ""
        self._memory, self._clock = memory, clock
        self._lock = threading.Lock()
        self._at_start, self._each = memory(), 1.0
        self._running: set[Hashable] = set()
        self._stepping: set[Hashable] = set()  # past their first steps
        self._before: dict[Hashable, float] = {}
        # Of so many at once: steps and seconds, since when all of them step, and models that ended.
        self._measured: dict[Hashable, tuple[int, float]] = {}
        self._full_since: float | None = None
        self._ended = 0

    def begin(self, model: Hashable) -> None:
        """A model has been started."""
        with self._lock:
            self._running.add(model)

    def steps(self, model: Hashable, steps: int, seconds: float) -> bool:
        """Take note of the last steps of a model; return whether the decision has changed."""
        with self._lock:
            return not self.reason and self._measure(model, steps, seconds)

    def end(self, model: Hashable, out_of_memory: bool = False) -> bool:
        """A model has ended; return whether the decision has changed."""
        with self._lock:
            others = len(self._running) - 1
            self._running.discard(model)
            if out_of_memory and 0 < others <= self.at_once:
                return self._settle(others, "one more was out of memory")
            self._stepping.discard(model)
            self._measured.pop(model, None)
            self._full_since = None
            self._ended += 1
            if self.reason or self._ended < 2 * self.at_once:
                return False
            most = max(self.at_once, min(_UNMEASURED, self._fitting()))
            return self._settle(most, "they end before their speed can be measured")

    def _measure(self, model: Hashable, steps: int, seconds: float) -> bool:
        now = self._clock()
        if model not in self._stepping:  # the first steps search, allocate, and are captured
            self._stepping.add(model)
            self._weigh()
        elif self._full_since is not None and now - seconds >= self._full_since:
            before = self._measured.get(model, (0, 0.0))
            self._measured[model] = (before[0] + steps, before[1] + seconds)
        if len(self._stepping) < self.at_once:
            return False
        if self._full_since is None:
            self._full_since = now
        done = [m for m, (_, took) in self._measured.items() if took >= _MEASURED_SECONDS]
        return len(done) == len(self._stepping) and self._decide()

    def _decide(self) -> bool:
        rates = {model: steps / took for model, (steps, took) in self._measured.items()}
        if self._before:
            faster = _total_gain(self._before, rates)
            if faster < _MIN_GAIN:
                how = f"{abs(faster):.0%} {'faster' if faster > 0 else 'slower'} together"
                return self._settle(len(self._before), f"{self.at_once} are {how}")
        if self.at_once >= MAX_AT_ONCE:
            return self._settle(MAX_AT_ONCE, "more are not tried")
        more = min(2 * self.at_once, MAX_AT_ONCE, self._fitting())
        if more <= self.at_once:
            return self._settle(self.at_once, "the GPU's memory holds no more")
        self._before, self.at_once = rates, more
        self._measured, self._full_since, self._ended = {}, None, 0
        return True

    def _weigh(self) -> None:
        """Note the memory of a model: the average of those in training, images included."""
        memory = self._memory()
        if memory is not None and self._at_start is not None:
            used = self._at_start[0] - memory[0]
            self._each = max(1.0, used / len(self._running))

    def _fitting(self) -> int:
        """Return how many models the GPU holds."""
        if self._at_start is None:
            return MAX_AT_ONCE
        free, total = self._at_start
        return math.floor((free - _RESERVE * total) / self._each)

    def _settle(self, at_once: int, reason: str) -> bool:
        self.at_once, self.reason = at_once, reason
        return True


def _total_gain(before: dict[Hashable, float], after: dict[Hashable, float]) -> float:
    """Return by which share the rate of all models together rose when their number changed."""
    common = [math.log(after[model] / before[model]) for model in after if model in before]
    if common:
        slowdown = math.exp(sum(common) / len(common))
    else:
        slowdown = (sum(after.values()) / len(after)) / (sum(before.values()) / len(before))
    return slowdown * len(after) / len(before) - 1
