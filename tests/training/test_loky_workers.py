"""Real worker processes."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from work_for_tests import (
    always_crashes,
    at_once,
    claims_a_device,
    dies_once,
    hangs,
    on_a_broken_device,
)

from designspace.errors import DeviceError, InputError
from designspace.io.process_pool import pool
from designspace.training import devices
from designspace.training import loky_workers as module
from designspace.training.device_health import DeviceHealth
from designspace.training.devices import default_jobs, resolve_devices
from designspace.training.loky_workers import LokyWorkers
from designspace.training.run_task import Failure, Outcome
from designspace.training.train_runs import local_workers


def test_a_killed_worker_is_replaced_and_the_others_do_not_notice(
    make_run, request_of, train_one, observer
):
    folder = make_run(n=5)
    end = train_one(
        folder, request_of(jobs=2), observer, make_workers=partial(local_workers, work=dies_once)
    )
    assert end.complete == 5
    assert [note for note in observer.notes if "model 0" in note and "retrying" in note]
    assert len(observer.notes) == 1
    # The other worker trained its models in one process, undisturbed.
    processes = [trial.versions["process"] for trial in folder.trials()]
    assert len(set(processes)) <= 2
    assert processes[1] != processes[0] or len(set(processes)) == 1


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_its_slot_used_again(tmp_path, make_task):
    workers = LokyWorkers(1, hangs)
    try:
        workers.submit(make_task(0))
        while not (tmp_path / "0.hangs").exists():
            assert workers.wait(0.05) == []
        workers.kill(make_task(0))
        (done,) = workers.wait(30)
        assert done.outcome is None
        assert done.death.startswith("its worker")
        workers.submit(make_task(1))
        (done,) = workers.wait(60)
        assert done.outcome.trial.index == 1
    finally:
        workers.close()


@pytest.mark.slow
def test_a_worker_that_is_killed_between_two_tasks_is_replaced(make_task):
    workers = LokyWorkers(1, at_once)
    try:
        workers.submit(make_task(0))
        (done,) = workers.wait(60)
        (executor,) = workers._executors
        (process,) = executor._processes
        os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while executor._flags.broken is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers.submit(make_task(1))
        (done,) = workers.wait(60)
        assert done.outcome.trial.index == 1
    finally:
        workers.close()


def test_processes_end_with_the_one_that_started_them_though_they_have_nothing_to_do():
    code = """
import os, time
from designspace.io.process_pool import pool
print(pool(1).submit(os.getpid).result(), flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as driver:
        worker = int(driver.stdout.readline())
        os.kill(worker, 0)
        driver.kill()
    deadline = time.monotonic() + 60
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(process):
    """Whether a process runs; one that has ended may wait for its parent to ask how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Threads(ThreadPoolExecutor):
    """Threads in the place of loky's processes."""

    def shutdown(self, wait, kill_workers):
        super().shutdown(wait)


def test_trials_are_spread_over_the_devices(make_task, monkeypatch):
    monkeypatch.setattr(module, "pool", Threads)
    workers = LokyWorkers(3, at_once, ("cuda:0", "cuda:1"))
    for index in range(3):
        workers.submit(make_task(index))
    done = []
    while len(done) < 3:
        done += workers.wait(5)
    workers.close()
    places = {d.task.index: d.outcome.trial.versions["device"] for d in done}
    assert places == {0: "cuda:0", 1: "cuda:1", 2: "cuda:0"}


@pytest.mark.parametrize(
    ("count", "text", "found"),
    [
        (0, "auto", ("cpu",)),
        (0, "cpu", ("cpu",)),
        (2, "auto", ("cuda:0", "cuda:1")),
        (2, "cuda", ("cuda:0", "cuda:1")),
        (2, "cuda:1", ("cuda:1",)),
        (2, "cpu", ("cpu",)),
    ],
)
def test_devices_as_people_name_them(monkeypatch, count, text, found):
    monkeypatch.setattr(devices, "_may_have_gpu", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_devices(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cuda", 'finds no CUDA device here; use device="cpu"'),
        ("cuda:0", "finds no CUDA device"),
        ("mps", "no Apple GPU"),
        ("gpu", "it must be auto, cpu, cuda, cuda:N or mps"),
        ("cuda:x", "it must be auto, cpu"),
    ],
)
def test_devices_that_are_not_there(monkeypatch, text, said):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=said):
        resolve_devices(text)


def test_trials_at_once_suit_the_devices(monkeypatch):
    monkeypatch.setattr(devices, "available_cores", lambda: 16)
    assert default_jobs(("cpu",)) == 16
    assert default_jobs(("mps",)) == 1
    assert default_jobs(("cuda:0", "cuda:1")) == 32
    assert default_jobs(("cuda:0", "cuda:1"), compiled=True) == 8
    monkeypatch.setattr(devices, "available_cores", lambda: 2)
    assert default_jobs(("cuda:0", "cuda:1", "cuda:2"), compiled=True) == 3


def test_a_worker_without_a_usable_device_is_retired(
    make_run, request_of, train_one, observer, monkeypatch
):
    run, lost = make_run(n=6), []
    monkeypatch.setattr("designspace.training.driver._HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(
        observer, "trial", lambda run, *_: lost.append(run.status().to_dict()["lost_devices"])
    )
    workers = LokyWorkers(2, on_a_broken_device, ("cpu", "bad:0"))
    end = train_one(run, request_of(), observer, make_workers=lambda *_: workers)
    assert list(lost[-1]) == ["bad:0"]
    assert "busy or unavailable" in lost[-1]["bad:0"]
    assert (end.complete, end.failed) == (6, 0)
    assert workers.slots == 1
    (note,) = [note for note in observer.notes if "retired" in note]
    assert "bad:0" in note
    assert "busy or unavailable" in note


@pytest.mark.slow
def test_training_stops_when_no_device_is_left(make_run, request_of, train_one, observer):
    run = make_run(n=6)
    workers = LokyWorkers(2, on_a_broken_device, ("bad:0", "bad:1"))
    with pytest.raises(
        DeviceError, match=r"no usable device is left \(bad:.*the same call resumes"
    ):
        train_one(run, request_of(), observer, make_workers=lambda *_: workers)
    assert run.trials() == ()


def test_a_device_error_is_not_the_models_fault_at_once(make_task):
    health = DeviceHealth()
    tasks = [make_task(i) for i in range(3)]

    def outcome(task, failure):
        trial = at_once(task).trial
        return Outcome(trial, failure)

    error = Failure.DEVICE_ERROR
    assert not health.check(0, False, tasks[0], outcome(tasks[0], Failure.DEVICE_UNUSABLE))[0]
    assert not any(health.check(0, True, tasks[0], outcome(tasks[0], error))[0] for _ in range(5))
    health.check(0, False, tasks[1], outcome(tasks[1], None))
    retired = [health.check(0, True, task, outcome(task, error))[0] for task in tasks]
    assert retired == [False, False, True]


@pytest.mark.slow
def test_independent_workers_claim_different_devices(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    names = tuple(f"cuda:{i}" for i in range(3))
    pools = [pool(1) for _ in range(4)]
    try:
        claimed = [pool.submit(claims_a_device, names).result() for pool in pools]
        assert claimed == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
        again = [pool.submit(claims_a_device, names).result() for pool in pools]
        assert again == claimed
    finally:
        for each in pools:
            each.shutdown(wait=False, kill_workers=True)


@pytest.mark.slow
def test_the_signal_that_ended_a_worker_is_named(make_run, request_of, train_one, observer):
    run = make_run(n=2)
    workers = LokyWorkers(1, always_crashes)
    end = train_one(run, request_of(), observer, make_workers=lambda *_: workers)
    assert (end.complete, end.failed) == (1, 1)
    assert run.trials()[0].reason == "its worker died (SIGSEGV(-11)), 3 times, the last time alone"
    assert "model 0: its worker died (SIGSEGV(-11)); retrying" in observer.notes
