"""Acceptance of training on one GPU, in about eight minutes; GPU_REHEARSAL=1: on the CPU, small."""

import copy
import os
import signal
import statistics
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu_work import (
    DEVICE,
    NAME,
    REHEARSAL,
    Silent,
    breaks_the_context,
    counts_steps,
    train_exactly,
)
from torch.nn import functional

import designspace as ds
from designspace.data.batches import Batches
from designspace.data.cache import build_cache
from designspace.data.datasets import Items, Source
from designspace.data.decode import geometries
from designspace.data.splits import split
from designspace.networks import build
from designspace.pretraining.crop_loader import make_ahead
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.multicrop import CropMaker, draw_crops
from designspace.pretraining.recipe import load_recipe as load_swav_recipe
from designspace.pretraining.swav_trainer import SwavTrainer
from designspace.runs import Run, TrialState, load_recipe
from designspace.training import device_setup, train_runs
from designspace.training.gpu_workers import GpuWorkers
from designspace.training.loky_workers import LokyWorkers
from designspace.training.static_step import GraphedSteps, StaticEpoch
from designspace.training.trainer import Trainer

GPU = torch.device(NAME)
pytestmark = pytest.mark.skipif(
    not (REHEARSAL or torch.cuda.is_available()), reason="no CUDA device; `make gpu` needs one GPU"
)
CIFAR = replace(load_recipe("cifar"), epochs=2, warmup_epochs=0.0)
SIDE, BUDGET = (8, "180K:220K") if REHEARSAL else (32, "10M:30M")
IMAGES, STEPS = (1_000, 4) if REHEARSAL else (50_000, 100)
# Seconds for which steps are counted, and for which a population trains.
COUNTED, TRAINED = (1.0, 5.0) if REHEARSAL else (8.0, 60.0)
PATH = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])


def synchronize():
    if not REHEARSAL:
        torch.cuda.synchronize()


@pytest.fixture(scope="session")
def source():
    """Images in ten classes, 45,000 of them to train on: a pattern of each class with noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, IMAGES)
    patterns = np.kron(rng.integers(40, 216, (10, SIDE // 4, SIDE // 4, 3)), np.ones((1, 4, 4, 1)))
    noise = rng.normal(0, 45, (IMAGES, SIDE, SIDE, 3)).astype(np.float32)
    pixels = (patterns[labels].astype(np.float32) + noise).clip(0, 255).astype(np.uint8)
    return Source(
        "digits", tuple("0123456789"), Items(labels.astype(np.int64), pixels=pixels), None
    )


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def train(folder, n, options, make_workers, space="AnyNetXA", budget=BUDGET, **more):
    """Train n models; return their trials, the notes and the seconds."""
    ds.sample(f"{space}@{SIDE}", n=n, flops=budget, seed=0, out=folder)
    run, observer = Run.open(folder), Silent()
    started = time.perf_counter()
    train_runs.train_runs([(run, options)], observer, make_workers=make_workers, **more)
    return Run.open(folder).trials(), observer.notes, time.perf_counter() - started


def options_of(home, **changes):
    return train_runs.TrainOptions(
        **{"data": "digits", "recipe": CIFAR, "device": DEVICE, "home": home, **changes}
    )


def on_gpu(work=train_runs.train_task, at_once=None):
    return lambda options, trials: GpuWorkers(at_once, work, (NAME,))


@pytest.mark.parametrize(
    ("space", "precision"),
    [*(("AnyNetXA", p) for p in ("fp32", "tf32", "bf16", "fp16")), ("RegNetX", "tf32")],
)
def test_a_graph_replays_the_eager_step(source, home, record, space, precision):
    recipe = CIFAR.at(SIDE)
    cache = build_cache(split(source, "held-out"), geometries(recipe), home / "images")
    model = ds.sample(f"{space}@{SIDE}", n=1, flops=BUDGET, seed=0)[0].at(classes=10)
    weights, times = [], {}
    for graphs in (False, True):
        autocast = device_setup.prepare(GPU, precision=precision, search=False)
        batches = Batches(cache, recipe, GPU)
        with device_setup.own_stream(GPU):
            trainer = Trainer(model, recipe, 0, GPU, autocast, static=True)
            epoch = StaticEpoch(batches, GPU, trainer._train_static)
            trainer._optimizer.param_groups[0]["lr"] = epoch.rate
            epoch.load(0, 0, [0.01] * batches.steps_per_epoch)
            trainer.network.train()
            steps = GraphedSteps(epoch.step, GPU, trainer._drop_gradients)
            steps._captures = graphs and not REHEARSAL
            steps.run(STEPS // 5 + 1)
            weights.append([p.detach().clone() for p in trainer.network.parameters()])
            synchronize()
            started = time.perf_counter()
            steps.run(STEPS)
            synchronize()
            seconds = time.perf_counter() - started
            times["graph" if graphs else "eager"] = 1000 * seconds / STEPS
            assert not steps.failure
    difference = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
    record("ms a step", space=space, precision=precision, batch=64, n=STEPS,
           difference=difference, **times)  # fmt: skip
    assert difference < 1e-4


def test_gradients_agree_with_float64(record):
    """With residual branches that start at zero, as in the recipe of CIFAR-10."""
    model = ds.sample(f"AnyNetXA@{SIDE}", n=1, flops=BUDGET, seed=0)[0].at(classes=10)
    torch.manual_seed(0)
    network = build(model, True)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(64, 3, SIDE // 4, SIDE // 4, generator=generator)
    images = functional.interpolate(images, size=SIDE, mode="bilinear")
    labels = torch.randint(0, 10, (64,), generator=generator)

    def gradient(network, images, device, autocast=None):
        with torch.autocast(device, dtype=autocast, enabled=autocast is not None):
            loss = functional.cross_entropy(network(images), labels.to(device))
        loss.backward()
        return torch.cat([p.grad.double().cpu().flatten() for p in network.parameters()])

    exact = gradient(copy.deepcopy(network).double(), images.double(), "cpu")
    least = {"fp32": 0.9999, "tf32": 0.99, "bf16": 0.95, "fp16": 0.99}
    cosines = {}
    for precision in least:
        autocast = device_setup.prepare(GPU, precision=precision, search=False)
        there = copy.deepcopy(network).to(GPU, memory_format=torch.channels_last)
        ours = gradient(there, images.to(GPU), GPU.type, autocast)
        cosines[precision] = functional.cosine_similarity(exact, ours, dim=0).item()
        distance = ((ours - exact).norm() / exact.norm()).item()
        record("first gradient against float64", precision=precision, cosine=cosines[precision],
               distance=distance)  # fmt: skip
    assert all(cosines[precision] > least[precision] for precision in least), cosines


class Busy:
    """Samples which share of the time a kernel runs on the GPU, as nvidia-smi counts it."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        query = ["--query-gpu=timestamp,utilization.gpu", "--format=csv,noheader,nounits"]
        command = ["true"] if REHEARSAL else ["nvidia-smi", *query, "-lms", "200"]
        self.stream = self.file.open("w")
        try:
            self.process = subprocess.Popen(command, stdout=self.stream)
        except OSError:
            self.process = subprocess.Popen(["true"], stdout=self.stream)
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait()
        self.stream.close()

    def between(self, first, last):
        """Return the mean percentage of a time, or None without samples."""
        shares = []
        for line in self.file.read_text().splitlines():
            when, _, share = line.partition(",")
            stamp = np.datetime64(when.strip().replace("/", "-").replace(" ", "T"))
            at = stamp.astype("datetime64[ms]").astype(float) / 1000 + time.timezone
            if first <= at <= last and share.strip().isdigit():
                shares.append(float(share))
        return statistics.mean(shares) if shares else None


@pytest.mark.parametrize("how", ["eager, 4 processes", 1, 4, 16, 32])
def test_steps_a_second_of_all_models_at_once(source, home, tmp_path, monkeypatch, record, how):
    """Counted once all of them train; 500 networks of 10 epochs are 3.5 million steps."""
    monkeypatch.setattr("designspace.data.prepare.load_source", lambda *_, **__: source)
    eager = isinstance(how, str)
    at_once = 4 if eager else min(how, 4) if REHEARSAL else how
    work = partial(counts_steps, models=1 if eager else at_once, seconds=COUNTED, eager=eager)
    workers = on_gpu(work, at_once)
    if eager:
        workers = lambda options, trials: LokyWorkers(4, work, (NAME,))  # noqa: E731
    with Busy(tmp_path / "busy.csv") as busy:
        trials, _, seconds = train(tmp_path / "run", at_once, options_of(home), workers)
    assert {(trial.state, trial.reason) for trial in trials} == {(TrialState.COMPLETE, "")}
    counts = [{k: float(t.versions[k]) for k in ("steps", "from", "to")} for t in trials]
    rate = sum(c["steps"] / (c["to"] - c["from"]) for c in counts)
    epoch = 9 * IMAGES // 10 // CIFAR.batch_size
    record(
        "steps a second of all models together",
        at_once=how,
        steps_a_second=rate,
        ms_a_step_effective=1000 / rate,
        models_an_hour_of_10_epochs=3600 * rate / (10 * epoch),
        minutes_for_500_models_of_10_epochs=500 * 10 * epoch / rate / 60,
        busy_percent=busy.between(max(c["from"] for c in counts), min(c["to"] for c in counts)),
        start_included=seconds,
    )


def test_models_an_hour_of_a_population(source, home, tmp_path, monkeypatch, record):
    """As many at once as prove fastest; start and validation included; stopped after a while."""
    monkeypatch.setattr("designspace.data.prepare.load_source", lambda *_, **__: source)
    end = time.monotonic() + TRAINED
    until = lambda: "enough" if time.monotonic() > end else None  # noqa: E731
    recipe = replace(CIFAR, epochs=1)
    trials, notes, seconds = train(
        tmp_path / "run", 100, options_of(home, recipe=recipe), on_gpu(), until=until
    )
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    record(
        "models an hour, 1 epoch, start included",
        models=len(trials),
        models_an_hour=3600 * len(trials) / seconds,
        seconds_a_trial=statistics.mean(trial.seconds for trial in trials),
        notes=[note for note in notes if " at once: " in note],
    )


def test_training_repeats_bit_for_bit_and_through_a_kill(home, tmp_path, record):
    for name in ("a", "b"):
        ds.sample("RegNetY@8", n=4, flops="200K:400K", seed=0, out=tmp_path / name)
    train_exactly(tmp_path / "a", home)
    command = [sys.executable, str(Path(__file__).parent / "gpu_work.py"), str(tmp_path / "b")]
    process = subprocess.Popen([*command, str(home)], start_new_session=True)
    files, started = tmp_path / "b" / "checkpoints", time.monotonic()
    while process.poll() is None and not list(files.glob("*.pt")):
        assert time.monotonic() - started < 60
        time.sleep(0.05)
    killed = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    train_exactly(tmp_path / "b", home)
    first, second = (Run.open(tmp_path / name).trials() for name in ("a", "b"))
    curves, again = ({t.index: t.curve for t in trials} for trials in (first, second))
    record("--exact, killed once", equal=curves == again, killed=killed, models=len(curves))
    assert killed
    assert curves == again


def test_one_of_twelve_models_that_breaks_the_context_fails_alone(home, tmp_path, record):
    options = options_of(home, recipe=load_recipe("quick").override(epochs=10), jobs=6)
    ds.sample("AnyNetXA@8", n=12, flops="180K:220K", seed=0, out=tmp_path / "run")
    started = time.perf_counter()
    run, observer = Run.open(tmp_path / "run"), Silent()
    train_runs.train_runs([(run, options)], observer, make_workers=on_gpu(breaks_the_context, 6))
    trials = run.trials()
    failed = [trial.index for trial in trials if trial.state is TrialState.FAILED]
    record("a device-side assert in model 3 of 12", failed=failed, models=len(trials),
           seconds=time.perf_counter() - started)  # fmt: skip
    assert len(trials) == 12
    assert failed == [3]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_pretraining(record, precision):
    """SwAV with crops of 224 and 96 pixels: at most two waits for the device an iteration."""
    recipe = load_swav_recipe("swav-small-batch").override(batch_size=2 if REHEARSAL else 64)
    model = ds.load_model("RegNetY-200MF" if REHEARSAL else "RegNetY-400MF")
    autocast = device_setup.prepare(GPU, precision=precision)
    trainer = SwavTrainer(model, recipe, 1000, 0, ProcessGroupInfo(GPU), autocast)
    trainer.network.train()
    n, (warm, timed) = recipe.batch_size, (1, 1) if REHEARSAL else (8, 20)
    records = torch.randint(0, 255, (n, 256, 256, 3), dtype=torch.uint8).to(GPU)
    maker = CropMaker(recipe, (120.0, 115.0, 100.0), (60.0, 58.0, 57.0), GPU)

    def make(step):
        return maker(records, draw_crops(recipe, 256, n, 0, step))

    def run(steps):
        ahead = map(make, steps) if REHEARSAL else make_ahead(make, steps, GPU)
        for crops in ahead:
            trainer.step(crops)
        synchronize()

    run(range(warm))
    started = time.perf_counter()
    run(range(warm, warm + timed))
    seconds = time.perf_counter() - started
    waits = None
    if not REHEARSAL:
        crops = make(0)
        with warnings.catch_warnings(record=True) as waited:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            make(1)
            trainer.step(crops)
            torch.cuda.set_sync_debug_mode("default")
        waited = [w for w in waited if "called a synchronizing" in str(w.message)]
        waits = [f"{Path(w.filename).name}:{w.lineno}" for w in waited]
    record("pretraining images a second", model=model.name, precision=precision, batch=n,
           images_a_second=n * timed / seconds, waits=waits)  # fmt: skip
    assert not waits or len(waits) <= 2


def test_a_process_group_of_one(tmp_path, record):
    command = [sys.executable, str(Path(__file__).parent / "one_rank.py"), NAME, str(tmp_path)]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": PATH}
    )
    print(result.stdout, result.stderr[-3000:])
    equal = result.stdout.endswith("equal\n")
    record("DDP, FSDP2 and their checkpoints on one rank", equal=equal)
    assert equal


def test_verbs(home, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "designspace", *map(str, arguments), "--device", DEVICE]
        return subprocess.run([*command, "--cache", str(home)], check=True)

    ds.sample("AnyNetXA@8", n=4, flops="180K:220K", seed=0, out=tmp_path / "run")
    run("train", tmp_path / "run", "--data", "digits", "--recipe", "quick", "--epochs", 2)
    trunk, one_thread = tmp_path / "trunk", ("--threads", 1)
    run("pretrain", f"{tmp_path}/run:best", "--data", "digits", "--recipe", "quick",
        "--epochs", 1 if REHEARSAL else 2, "--out", trunk, *one_thread)  # fmt: skip
    run("evaluate", trunk, "--task", "knn", *one_thread)
