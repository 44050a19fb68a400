"""Training and validation as steps without arguments, which a CUDA graph can replay.

All that differs between steps (rows, crops, flips, learning rate) lies on the device for a whole
epoch and is indexed by a counter there, so that a step neither copies from the host nor waits for
the device. The same steps run on a CPU.
"""

import gc
import threading
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from designspace.data.augmentation import Draw
from designspace.data.batches import Batches

# cuDNN and autograd allocate and choose algorithms in the first steps.
_EAGER_STEPS = 3
# Steps of one graph: each launch needs Python's lock, which the models of a process share.
UNROLL = 4
# Graphs in the queue of a model. 16 models that queued 50 steps each ran one after another (H200,
# torch 2.11); a launch into a full queue seems to block those of all other streams.
_AHEAD = 2
# Held by everything that is neither the launch of a graph nor the wait for one: CUDA forbids calls
# of other threads during a capture, and Python code gains nothing from several threads.
SETUP = threading.RLock()


class GraphedSteps:
    """Runs a step many times: the first few eagerly, then as CUDA graphs.

    On a CPU, and if the step can't be captured, all steps are eager.

    Attributes:
        failure: Why the step couldn't be captured, or "".
    """

    def __init__(self, step: Callable[[], None], device: torch.device, after: Callable[[], None]):
        """Prepare.

        Args:
            step: The step; it keeps its results in tensors that exist before the first call.
            device: Where it runs.
            after: Called after a failed capture, to drop tensors that the capture left.
        """
        self._step, self._after = step, after
        self._captures = device.type == "cuda"
        self._eager = 0
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._launched: deque[torch.cuda.Event] = deque()
        self.failure = ""

    def run(self, steps: int) -> None:
        """Run the step so many times."""
        while steps:
            if self._captures and self._eager >= _EAGER_STEPS:
                self._replay(steps)
                return
            with SETUP:
                self._step()
            self._eager += 1
            steps -= 1

    def _replay(self, steps: int) -> None:
        for unroll in (UNROLL, 1):
            repeats, steps = divmod(steps, unroll)
            if repeats and self._captures and unroll not in self._graphs:
                self._capture(unroll)
            if not self._captures:
                return self.run(repeats * unroll + steps)
            for _ in range(repeats):
                self._launch(self._graphs[unroll])
        return None

    def _launch(self, graph: torch.cuda.CUDAGraph) -> None:
        """Replay a graph once all but the last launches are through."""
        if len(self._launched) == _AHEAD:
            self._launched.popleft().synchronize()
        graph.replay()
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record()
        self._launched.append(event)

    def _capture(self, unroll: int) -> None:
        graph = torch.cuda.CUDAGraph()
        pool = next((other.pool() for other in self._graphs.values()), None)
        with SETUP:
            collects = gc.isenabled()
            gc.disable()  # a collected tensor or graph would call CUDA in the middle of the capture
            try:
                graph.capture_begin(pool, capture_error_mode="thread_local")
                try:
                    for _ in range(unroll):
                        self._step()
                finally:
                    graph.capture_end()
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self.failure = str(error).strip().splitlines()[0]
                self._captures = False
                self._after()
                return
            finally:
                if collects:
                    gc.enable()
        self._graphs[unroll] = graph


class StaticEpoch:
    """The training steps of one epoch.

    Attributes:
        rate: Learning rate of the current step; float32 on CUDA, whose kernels need it, else
            float64.
        finite: Whether all losses of the epoch so far are finite, (1,) bool.
    """

    def __init__(
        self,
        batches: Batches,
        device: torch.device,
        step: Callable[[Tensor, Tensor], Tensor],
        settings: Sequence[Tensor] = (),
    ) -> None:
        """Allocate the buffers.

        Args:
            batches: The data.
            device: Where they are trained on.
            step: Trains on images and labels, and returns the loss.
            settings: Scalars that have a value of their own in each step.
        """
        n = batches.steps_per_epoch
        self._settings = tuple(settings)
        self._values = torch.empty(n, len(self._settings), device=device)
        # CUDA's kernels need float32, and MPS has no float64.
        exact = torch.float64 if device.type == "cpu" else torch.float32
        self._batches, self._train = batches, step
        self._counter = torch.zeros(1, dtype=torch.int64, device=device)
        self._rows = torch.empty(n, batches.batch_size, dtype=torch.int64, device=device)
        self._boxes = torch.empty(n, batches.batch_size, 4, dtype=torch.int64, device=device)
        self._flips = torch.empty(n, batches.batch_size, dtype=torch.bool, device=device)
        self._rates = torch.empty(n, dtype=exact, device=device)
        self.rate = torch.zeros((), dtype=exact, device=device)
        self.finite = torch.ones(1, dtype=torch.bool, device=device)
        self._flipped = self._resized = False

    def load(self, seed: int, epoch: int, rates: list[float], values: Tensor | None = None) -> None:
        """Begin an epoch with the learning rate and the settings (n, …) of each of its steps."""
        rows, drawn = self._batches.draw_epoch(seed, epoch)
        wait(self._counter)
        with SETUP:
            self._load(rows, drawn, rates)
            if values is not None and self._settings:
                _fill(self._values, values)

    def _load(self, rows: Tensor, drawn: Draw, rates: list[float]) -> None:
        self._flipped, self._resized = drawn.flips is not None, drawn.resized
        _fill(self._rows, rows)
        _fill(self._boxes, drawn.boxes)
        if drawn.flips is not None:
            _fill(self._flips, drawn.flips)
        _fill(self._rates, torch.tensor(rates, dtype=torch.float64))
        self._counter.zero_()
        self.finite.fill_(True)

    def step(self) -> None:
        """Train on the next batch."""
        flips = self._now(self._flips) if self._flipped else None
        drawn = Draw(self._now(self._boxes), flips, self._resized)
        images, labels = self._batches.take(self._now(self._rows), drawn)
        self.rate.copy_(self._now(self._rates))
        if self._settings:
            values = self._now(self._values)
            for i, setting in enumerate(self._settings):
                setting.copy_(values[i])
        loss = self._train(images, labels)
        self.finite.logical_and_(torch.isfinite(loss))
        self._counter.add_(1)

    def _now(self, buffer: Tensor) -> Tensor:
        return buffer.index_select(0, self._counter)[0]


class StaticValidation:
    """The steps over all validation images.

    Attributes:
        steps: Number of steps.
    """

    def __init__(
        self, batches: Batches, device: torch.device, classify: Callable[[Tensor], Tensor]
    ) -> None:
        """Allocate the buffers; `classify` maps images to the predicted classes."""
        self._batches, self._classify = batches, classify
        size = batches.validation_batch
        self._n = batches.validation_size
        self.steps = -(-self._n // size)
        self._counter = torch.zeros(1, dtype=torch.int64, device=device)
        # The last batch is filled up with the last image: one shape for all.
        rows = torch.arange(self.steps * size).clamp_(max=self._n - 1).view(self.steps, size)
        self._rows = rows.to(device)
        self._hits = torch.zeros(self.steps, size, dtype=torch.bool, device=device)

    def begin(self) -> None:
        """Start from the first image."""
        with SETUP:
            self._counter.zero_()

    def step(self) -> None:
        """Classify the next batch."""
        rows = self._rows.index_select(0, self._counter)[0]
        images, labels = self._batches.take_validation(rows)
        hits = self._classify(images) == labels
        self._hits.index_copy_(0, self._counter, hits[None])
        self._counter.add_(1)

    def hits(self) -> Tensor:
        """Return which images were classified correctly, (n,) bool on the CPU."""
        return read(self._hits).view(-1)[: self._n]


def wait(tensor: Tensor) -> None:
    """Wait until the current stream has computed a tensor, while other threads go on."""
    if tensor.device.type == "cuda":
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record()
        event.synchronize()


def read(tensor: Tensor) -> Tensor:
    """Copy a tensor to the host once it is computed."""
    wait(tensor)
    with SETUP:
        return tensor.cpu()


def _fill(buffer: Tensor, values: Tensor) -> None:
    """Copy from the host, on CUDA without waiting."""
    values = values.view(buffer.shape).to(buffer.dtype)
    if buffer.device.type == "cuda":
        values = values.pin_memory()
    buffer.copy_(values, non_blocking=True)
