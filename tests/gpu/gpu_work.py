"""What a GPU's process does in tests: importable by it."""

import threading
from dataclasses import replace

import torch

from designspace.training.run_task import run_task


def breaks_the_context(task):
    """Train; four seconds into model 3 an index out of range breaks the CUDA context."""
    if task.index != 3:
        return run_task(task)
    threading.Timer(4.0, _break).start()
    return run_task(replace(task, recipe=replace(task.recipe, epochs=2000)))


def _break():
    values = torch.zeros(4, device="cuda:0")
    values[torch.tensor([9], device="cuda:0")] += 1
    torch.cuda.synchronize()
