"""Time spent on crops and on training steps, by CUDA events where the device is asynchronous."""

import time

import torch


class StepTimer:
    """Measures iterations; reading the sums waits for the device.

    Attributes:
        iterations: Measured iterations.
        crop_seconds: Time spent on crops, including waiting for the host.
        step_seconds: Time spent on forward and backward passes and the optimizer.
    """

    def __init__(self, device: torch.device) -> None:
        """Prepare for a device."""
        self._on_gpu = device.type == "cuda"
        self.reset()

    def reset(self) -> None:
        """Start from zero."""
        self.iterations, self.crop_seconds, self.step_seconds = 0, 0.0, 0.0
        self._pending: list[tuple[torch.cuda.Event | float, ...]] = []

    def now(self) -> torch.cuda.Event | float:
        """Return the time at which the device has done what was launched so far."""
        if not self._on_gpu:
            return time.monotonic()
        event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def add(self, *times: torch.cuda.Event | float) -> None:
        """Add an iteration: its start, the end of its crops, and its end."""
        self._pending.append(times)

    def collect(self) -> None:
        """Add the pending iterations to the sums."""
        for start, cropped, end in self._pending:
            self.iterations += 1
            self.crop_seconds += _seconds(start, cropped)
            self.step_seconds += _seconds(cropped, end)
        self._pending.clear()

    @property
    def crop_share(self) -> float:
        """Fraction of the time spent on crops."""
        return self.crop_seconds / max(self.crop_seconds + self.step_seconds, 1e-9)


def _seconds(start: torch.cuda.Event | float, end: torch.cuda.Event | float) -> float:
    if isinstance(start, float) or isinstance(end, float):
        return float(end) - float(start)  # type: ignore[arg-type]
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
