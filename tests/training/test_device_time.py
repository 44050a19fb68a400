"""The seconds of a trial: those of its device, which models share that train at once."""

from collections import defaultdict
from functools import partial

import pytest
import torch

from designspace.training import run_task as module
from designspace.training.device_time import DeviceTime


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "_GPU_TIMES", defaultdict(partial(DeviceTime, clock)))
    monkeypatch.setattr(module, "DeviceTime", partial(DeviceTime, clock))
    return clock


def charged(task, clock, device):
    """Train model a from 2 s to 16 s and model b from 10 s to 20 s; return their seconds."""
    a, b = module._Progress(task), module._Progress(task)
    clock.now = 2.0
    a.start_clock(torch.device(device))
    clock.now = 10.0
    assert a.seconds == 8.0
    b.start_clock(torch.device(device))
    clock.now = 16.0
    seconds = a.seconds
    a.stop_clock()
    clock.now = 20.0
    return seconds, b.seconds


def test_models_that_train_at_once_share_the_time_of_a_gpu(make_task, clock):
    assert charged(make_task(0), clock, "cuda:0") == (8 + 6 / 2, 6 / 2 + 4)


def test_each_model_has_a_cpu_core_of_its_own(make_task, clock):
    assert charged(make_task(0), clock, "cpu") == (14.0, 10.0)


def test_other_gpus_do_not_count(make_task, clock):
    a, b = module._Progress(make_task(0)), module._Progress(make_task(1))
    a.start_clock(torch.device("cuda:0"))
    b.start_clock(torch.device("cuda:1"))
    clock.now = 5.0
    assert (a.seconds, b.seconds) == (5.0, 5.0)


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        pytest.param({"seconds": 60.0, "device_seconds": 20.0}, 27.0, id="shared"),
        pytest.param({"seconds": 60.0}, 67.0, id="of an earlier version"),
    ],
)
def test_the_seconds_before_an_interruption_count(make_task, clock, state, seconds):
    progress = module._Progress(make_task(0))
    progress.start_clock(torch.device("cuda:0"))
    progress.restore(state)
    clock.now = 7.0
    assert progress.seconds == seconds
    assert progress.to_state()["device_seconds"] == seconds
    assert progress.elapsed >= 60.0
