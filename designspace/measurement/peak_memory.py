"""Peak memory of a step, counted by its tensors.

On the CPU no allocator keeps count, and the memory of a process holds much beside a network.
So the step is run on `meta` tensors, which take no memory, and the bytes of all that live at once
are added up: weights, gradients, momentum, images, and what the backward pass needs. Scratch memory
inside of kernels isn't counted. The count doesn't depend on the machine.
"""

import weakref
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TENSORS = "tensors that live at once"
ALLOCATOR = "torch.cuda.max_memory_allocated"


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all storages that live, and their highest sum."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: set[int] = set()

    def add(self, value: Any) -> None:
        """Count a tensor's storage until it is freed."""
        if not isinstance(value, torch.Tensor):
            return
        storage = value.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            self.add(value)
        return result


def count_live_bytes(network: nn.Module, images: torch.Tensor, training: bool) -> int:
    """Return the peak bytes of tensors in a step; network and images lie on one device.

    Args:
        network: The network, on `meta` to take no memory.
        images: A batch, (n, channels, resolution, resolution).
        training: Whether to count a step of SGD with momentum.
    """
    counter = _LiveTensors()
    for tensor in (*network.parameters(), *network.buffers(), images):
        counter.add(tensor)
    if training:
        # SGD updates in place, so that of it only the momentum lives during a step.
        counter.live += sum(p.numel() * p.element_size() for p in network.parameters())
    with counter:
        if training:
            logits = network.train()(images)
            labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
        else:
            with torch.no_grad():
                network.eval()(images)
    return counter.peak
