"""When a worker's device counts as lost."""

from collections.abc import Hashable

from designspace.errors import DeviceError
from designspace.training.trial_task import Failure, Outcome, TrialTask

DEVICE_FAILURES = (Failure.DEVICE_UNUSABLE, Failure.DEVICE_ERROR)
# A worker on whose device so many different models fail in a row is retired.
_MAX_FAILED_MODELS = 3


class DeviceHealth:
    """Decides which workers to retire because of their device.

    A device error may be left over from an earlier one in the same process, or be caused by a
    model. So a worker is retired if its device fails before training even in a fresh process, or
    for several models in a row.
    """

    def __init__(self) -> None:
        """Start without failures."""
        self._failed: dict[Hashable, set[tuple[int, int]]] = {}
        self.reasons: dict[str, str] = {}

    def check(
        self, worker: Hashable, fresh: bool, task: TrialTask, outcome: Outcome
    ) -> tuple[bool, str]:
        """Return whether to retire a worker after a task, and a message for the user."""
        if outcome.failure not in DEVICE_FAILURES:
            self._failed.pop(worker, None)
            return False, ""
        failed = self._failed.setdefault(worker, set())
        failed.add(task.position)
        unusable = fresh and outcome.failure is Failure.DEVICE_UNUSABLE
        if not unusable and len(failed) < _MAX_FAILED_MODELS:
            return False, ""
        first = task.device not in self.reasons
        self.reasons[task.device] = outcome.trial.reason
        note = f"a worker on {task.device} is retired, as the device fails: {outcome.trial.reason}"
        return True, note if first else ""

    def no_worker_left(self, what: str = "device") -> DeviceError:
        """Return the error that ends training once all workers are retired."""
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())
        return DeviceError(
            f"no usable {what} is left ({reasons}); finished trials are kept, and the same call "
            "resumes"
        )
