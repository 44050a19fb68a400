"""What a GPU's process does in tests: importable by it."""

import os
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from designspace.runs import Run, TrialState, load_recipe
from designspace.training import run_task as module
from designspace.training.concurrency import observe_steps
from designspace.training.gpu_workers import GpuWorkers
from designspace.training.train_runs import TrainOptions, train_runs
from designspace.training.trainer import Trainer

REHEARSAL = bool(os.environ.get("GPU_REHEARSAL"))
# The device of options, and of a process.
DEVICE, NAME = ("cpu", "cpu") if REHEARSAL else ("cuda", "cuda:0")


class Silent:
    """Prints notes, and keeps them."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)
        print(text)

    def decoded(self, done, total):
        pass

    def trial(self, run, trial, progress):
        pass

    def tick(self, progress):
        pass


def breaks_the_context(task):
    """Train; after the first steps of model 3 an index out of range breaks the CUDA context."""
    if task.index == 3:
        observe_steps(lambda steps, seconds: _break())
    return module.run_task(task)


def _break():
    if REHEARSAL:
        os.abort()
    values = torch.zeros(4, device=NAME)
    values[torch.tensor([9], device=NAME)] += 1
    torch.cuda.synchronize()


class _Enough(Exception):
    """The steps have been counted."""


class _Steady:
    """Counts the steps of models while all of a process train beside each other."""

    def __init__(self):
        self.lock, self.begun, self.since = threading.Lock(), set(), None

    def all_since(self, model, models):
        """Return since when all models have trained, or None."""
        with self.lock:
            self.begun.add(model)
            if len(self.begun) == models and self.since is None:
                self.since = time.time()
            return self.since


STEADY = _Steady()


def counts_steps(task, models, seconds, eager=False):
    """Train until all models of the process have trained beside each other for some seconds.

    The trial's versions have the steps of that time, and its beginning and end.
    """
    if eager:  # as before CUDA graphs
        module.Trainer = partial(Trainer, static=False)
    counted = {"steps": 0, "from": 0.0, "to": 0.0}

    def observe(steps, took):
        since, now = STEADY.all_since(task.index, models), time.time()
        if since is not None and now - took >= since:
            counted["steps"] += steps
            counted["from"] = counted["from"] or now - took
            counted["to"] = now
            if now - since > seconds:
                raise _Enough

    observe_steps(observe)
    outcome = module.run_task(replace(task, recipe=replace(task.recipe, epochs=1000)))
    if not outcome.trial.reason.startswith("_Enough"):
        return outcome
    versions = {**outcome.trial.versions, **{key: str(n) for key, n in counted.items()}}
    trial = replace(
        outcome.trial, state=TrialState.COMPLETE, error=0.0, reason="", versions=versions
    )
    return replace(outcome, trial=trial)


def saves_often(task):
    """Train with a checkpoint after each epoch."""
    module._SAVE_SECONDS = 0.0
    return module.run_task(task)


def train_exactly(folder, home):
    """Train four models with deterministic algorithms, with checkpoints after each epoch."""
    recipe = load_recipe("quick").override(epochs=4 if REHEARSAL else 40)
    options = TrainOptions("digits", recipe, exact=True, jobs=4, device=DEVICE, home=home)
    workers = lambda *_: GpuWorkers(4, saves_often, (NAME,))  # noqa: E731
    train_runs([(Run.open(folder), options)], Silent(), make_workers=workers)


if __name__ == "__main__":
    train_exactly(*map(Path, sys.argv[1:]))
