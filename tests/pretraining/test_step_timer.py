"""Time of crops and steps on a device that works asynchronously, and metrics without waiting."""

import pytest
import torch

from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.recipe import load_recipe
from designspace.pretraining.step_timer import StepTimer
from designspace.pretraining.swav_trainer import EpochMetrics


class Event:
    """An event on an imitated device, which is busy until `busy_until` seconds."""

    busy_until = 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = Event.busy_until

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return 1000 * (end.at - self.at)


def test_crops_are_timed_on_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    timer = StepTimer(torch.device("cuda"))
    for _ in range(12):
        start = timer.now()
        Event.busy_until += 0.005
        cropped = timer.now()
        Event.busy_until += 0.2
        timer.add(start, cropped, timer.now())
    timer.collect()
    assert timer.iterations == 12
    assert timer.crop_share == pytest.approx(5 / 205)
    timer.reset()
    assert (timer.iterations, timer.crop_share) == (0, 0.0)


def test_a_cpu_is_timed_by_the_clock():
    timer = StepTimer(torch.device("cpu"))
    timer.add(1.0, 1.25, 2.0)
    timer.collect()
    assert (timer.crop_seconds, timer.step_seconds) == (0.25, 0.75)
    assert timer.now() <= timer.now()


def test_metrics_of_a_step_do_not_wait_for_the_device():
    recipe, meta = load_recipe("quick"), torch.device("meta")
    metrics = EpochMetrics(recipe, ProcessGroupInfo(meta))
    embeddings = torch.empty(8, recipe.head.dim, device=meta)
    metrics.add(
        torch.empty((), device=meta), embeddings, torch.empty(8, recipe.prototypes, device=meta)
    )
