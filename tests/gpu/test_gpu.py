"""Acceptance of training on one GPU, in about eight minutes."""

import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from gpu_work import breaks_the_context

import designspace as ds
from designspace.data.batches import Batches
from designspace.data.cache import build_cache
from designspace.data.decode import geometries
from designspace.data.sources import Items, Source
from designspace.data.splits import split
from designspace.runs import Run, TrialState, load_recipe
from designspace.training import device_setup, train_runs
from designspace.training.static_step import GraphedSteps, StaticEpoch
from designspace.training.trainer import Trainer

GPU = torch.device("cuda:0")
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device; `make gpu` needs one GPU"
)
CIFAR = replace(load_recipe("cifar"), epochs=2, warmup_epochs=0.0)


class Silent:
    def note(self, text):
        print(text)

    def trial(self, run, trial, progress):
        pass

    def tick(self, progress):
        pass


@pytest.fixture(scope="session")
def source():
    """50,000 images of 32 pixels in ten classes: a pattern of each class with noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 50_000)
    patterns = np.kron(rng.integers(40, 216, (10, 8, 8, 3)), np.ones((1, 4, 4, 1)))
    noise = rng.normal(0, 45, (50_000, 32, 32, 3)).astype(np.float32)
    pixels = (patterns[labels].astype(np.float32) + noise).clip(0, 255).astype(np.uint8)
    return Source(
        "digits", tuple("0123456789"), Items(labels.astype(np.int64), pixels=pixels), None
    )


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def train(folder, n, options, space="AnyNetXA@32", flops="10M:30M", make_workers=None):
    ds.sample(space, n=n, flops=flops, seed=0, out=folder)
    run = Run.open(folder)
    workers = make_workers or train_runs.local_workers
    started = time.perf_counter()
    train_runs.train_runs([(run, options)], Silent(), make_workers=workers)
    return Run.open(folder).trials(), time.perf_counter() - started


def options_of(home, **changes):
    return train_runs.TrainOptions(
        **{"data": "digits", "recipe": CIFAR, "device": "cuda", "home": home, **changes}
    )


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("space", ["AnyNetXA@32", "RegNetX@32"])
def test_a_graph_replays_the_eager_step(source, home, record, space, precision):
    recipe = CIFAR.at(32)
    cache = build_cache(split(source, "held-out"), geometries(recipe), home / "images")
    model = ds.sample(space, n=1, flops="10M:30M", seed=0)[0].at(classes=10)
    weights, times = [], {}
    for graphs in (False, True):
        autocast = device_setup.prepare(GPU, precision=precision, search=False)
        batches = Batches(cache, recipe, GPU)
        with device_setup.own_stream(GPU):
            trainer = Trainer(model, recipe, 0, GPU, autocast)
            epoch = StaticEpoch(batches, GPU, trainer._train_static)
            trainer._optimizer.param_groups[0]["lr"] = epoch.rate
            epoch.load(0, 0, [0.01] * batches.steps_per_epoch)
            trainer.network.train()
            steps = GraphedSteps(epoch.step, GPU, trainer._drop_gradients)
            steps._captures = graphs
            steps.run(20)
            weights.append([p.detach().clone() for p in trainer.network.parameters()])
            torch.cuda.synchronize()
            started = time.perf_counter()
            steps.run(100)
            torch.cuda.synchronize()
            times["graph" if graphs else "eager"] = 10 * (time.perf_counter() - started)
            assert not steps.failure
    difference = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
    assert difference < 1e-4
    record("ms a step", space=space, precision=precision, batch=64, n=100, **times)


@pytest.mark.parametrize("at_once", [1, 4, 16, 32])
def test_models_an_hour(source, home, tmp_path, monkeypatch, record, at_once):
    monkeypatch.setattr(train_runs, "load_source", lambda *_, **__: source)
    n = max(3, 2 * at_once)
    trials, seconds = train(tmp_path / "run", n, options_of(home, jobs=at_once))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    record(
        "models an hour, 2 epochs of 45,000 images, start included",
        at_once=at_once,
        models=n,
        seconds=seconds,
        models_an_hour=3600 * n / seconds,
        seconds_a_trial=statistics.mean(trial.seconds for trial in trials),
    )


def test_training_repeats_bit_for_bit_and_through_a_kill(home, tmp_path, record):
    recipe = load_recipe("quick").override(epochs=30)
    options = options_of(home, recipe=recipe, exact=True, jobs=4)
    first, _ = train(tmp_path / "a", 4, options, "RegNetY@8", "200K:400K")
    ds.sample("RegNetY@8", n=4, flops="200K:400K", seed=0, out=tmp_path / "b")
    command = [
        sys.executable,
        "-m",
        "designspace",
        "train",
        str(tmp_path / "b"),
        "--data",
        "digits",
    ]
    command += ["--recipe", "quick", "--epochs", "30", "--device", "cuda", "--jobs", "4", "--exact"]
    process = subprocess.Popen([*command, "--cache", str(home)], start_new_session=True)
    time.sleep(25)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(command, check=True)
    second = Run.open(tmp_path / "b").trials()
    equal = [trial.curve for trial in first] == [trial.curve for trial in second]
    record("--exact, killed once", equal=equal, models=4)
    assert equal


def test_one_of_twelve_models_that_breaks_the_context_fails_alone(home, tmp_path, record):
    options = options_of(home, recipe=load_recipe("quick").override(epochs=10), jobs=6)
    workers = partial(train_runs.local_workers, work=breaks_the_context)
    trials, seconds = train(tmp_path / "run", 12, options, "AnyNetXA@8", "180K:220K", workers)
    failed = [trial.index for trial in trials if trial.state is TrialState.FAILED]
    record("a device-side assert in model 3 of 12", failed=failed, seconds=seconds)
    assert failed == [3]


def test_verbs(home, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "designspace", *map(str, arguments), "--device", "cuda"]
        return subprocess.run([*command, "--cache", str(home)], check=True)

    ds.sample("AnyNetXA@8", n=4, flops="180K:220K", seed=0, out=tmp_path / "run")
    run("train", tmp_path / "run", "--data", "digits", "--recipe", "quick", "--epochs", 2)
    trunk = tmp_path / "trunk"
    run("pretrain", f"{tmp_path}/run:best", "--data", "digits", "--recipe", "quick",
        "--epochs", 2, "--out", trunk)  # fmt: skip
    run("evaluate", trunk, "--task", "knn")
