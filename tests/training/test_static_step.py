"""Static steps, which CUDA graphs replay on a GPU, run on the CPU."""

import math
from dataclasses import replace

import pytest
import torch

import designspace as ds
from designspace.data.batches import Batches
from designspace.data.cache import build_cache
from designspace.data.datasets import load_source
from designspace.data.decode import geometries
from designspace.data.splits import split
from designspace.errors import Diverged
from designspace.training import checkpoint
from designspace.training.static_step import UNROLL, GraphedSteps
from designspace.training.trainer import Trainer

CPU = torch.device("cpu")


def make_batches(images, folder, recipe):
    parts = split(load_source(f"folder:{images}"), "test")
    return Batches(build_cache(parts, geometries(recipe), folder / "home"), recipe, CPU)


@pytest.fixture
def model(small_population):
    return small_population(2).model(1).at(classes=2)


def train(model, recipe, batches, static, epochs=2):
    trainer = Trainer(model, recipe, 5, CPU, static=static)
    for _ in range(epochs):
        trainer.run_epoch(batches, lambda: None)
    return trainer


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augmentation": "none"},
        {"augmentation": "crop"},
        {"augmentation": "resized-crop-flip"},
        {"ema_decay": 0.9, "label_smoothing": 0.1},
        {"warmup_epochs": 0.5, "momentum": 0.0, "zero_init_residual": True},
        {"nesterov": True, "decay_norms": False, "mixup": 0.2},
        {"ema_decay": 0.9, "ema_period": 2},
    ],
    ids=str,
)
def test_static_steps_give_the_weights_of_eager_steps(images, tmp_path, recipe, model, changes):
    recipe = replace(recipe, epochs=3, **changes)
    batches = make_batches(images, tmp_path, recipe)
    eager, static = (train(model, recipe, batches, static) for static in (False, True))
    assert static.curve == eager.curve
    for part in ("network", "average"):
        states = [trainer.state()[part] for trainer in (eager, static)]
        for key in states[1] or ():
            assert torch.equal(states[0][key], states[1][key]), key


def test_static_training_resumes_bit_identically(images, tmp_path, recipe, model):
    recipe = replace(recipe, epochs=3, ema_decay=0.9)
    batches = make_batches(images, tmp_path, recipe)
    whole = train(model, recipe, batches, True, epochs=3)
    first = train(model, recipe, batches, True, epochs=1)
    checkpoint.save(tmp_path / "x.pt", "key", first.state())
    second = Trainer(model, recipe, 5, CPU, static=True)
    second.restore(checkpoint.load(tmp_path / "x.pt", "key", CPU))
    for _ in range(2):
        second.run_epoch(batches, lambda: None)
    assert second.curve == whole.curve
    states = [trainer.state()["network"] for trainer in (whole, second)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_divergence_is_noticed(images, tmp_path, recipe, model):
    trainer = Trainer(model, recipe, 5, CPU, static=True)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match="became non-finite at most 50 steps before step"):
        trainer.run_epoch(make_batches(images, tmp_path, recipe), lambda: None)


@pytest.fixture
def graphs(monkeypatch):
    """Imitated CUDA graphs: how often they were replayed, and whether one is being captured."""

    class Graph:
        capturing, replays, queued = False, 0, 0

        def capture_begin(self, pool, capture_error_mode):
            assert capture_error_mode == "thread_local"
            Graph.capturing = True

        def capture_end(self):
            Graph.capturing = False

        def pool(self):
            return None

        def replay(self):
            Graph.replays += 1
            Graph.queued += 1

    class Event:
        def __init__(self, blocking):
            pass

        def record(self):
            pass

        def synchronize(self):
            Graph.queued -= 1

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    return Graph


def test_steps_are_replayed_a_few_at_a_time(graphs):
    eager, captured = [], []

    def step():
        (captured if graphs.capturing else eager).append(1)

    steps = GraphedSteps(step, torch.device("cuda"), lambda: None)
    steps.run(2)
    steps.run(12)
    steps.run(9)
    assert (len(eager), len(captured)) == (3, UNROLL + 1)
    # After three eager ones 2 * 4 + 3 of the second call, and 2 * 4 + 1 of the third.
    assert graphs.replays == 2 + 3 + 2 + 1
    assert graphs.queued == 2
    assert not steps.failure


def test_a_step_that_cannot_be_captured_stays_eager(graphs):
    """As one of a plug-in, whose control flow depends on values on the device."""
    calls, dropped = [], []

    def step():
        if graphs.capturing:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        calls.append(len(calls))

    steps = GraphedSteps(step, torch.device("cuda"), lambda: dropped.append(1))
    steps.run(10)
    steps.run(3)
    assert calls == list(range(13))
    assert steps.failure == "operation not permitted when stream is capturing"
    assert dropped == [1]


def test_memory_that_runs_out_during_a_capture_is_no_reason_to_stay_eager(graphs):
    def step():
        if graphs.capturing:
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        GraphedSteps(step, torch.device("cuda"), lambda: None).run(10)


@pytest.mark.parametrize(
    "space",
    ["RegNetY", "AnyNetVA", "AnyNetVRE", "RegNetR", "RegNetZ", "MobileNetV2-like", "ConvNeXt-like"],
)
def test_static_steps_train_every_block(images, tmp_path, recipe, space):
    recipe = replace(recipe, epochs=2, resolution=None).at(16)
    model = ds.sample(f"{space}@16", n=1, seed=0)[0].at(classes=2)
    batches = make_batches(images, tmp_path, recipe)
    eager, static = (train(model, recipe, batches, static, epochs=1) for static in (False, True))
    states = [trainer.state()["network"] for trainer in (eager, static)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
