"""One process per GPU that trains several models at once, with CPUs in the place of GPUs."""

from dataclasses import replace
from functools import partial

import pytest
from work_for_tests import asserts_on_the_device, at_once, crashes_its_process, hangs, in_a_thread

from designspace.errors import DeviceError
from designspace.runs import TrialState
from designspace.training import devices
from designspace.training.gpu_workers import GpuWorkers
from designspace.training.loky_workers import LokyWorkers
from designspace.training.train_runs import local_workers


def on_gpus(work, devices=("cuda:0",), per_device=4):
    return lambda options, trials: GpuWorkers(per_device, work, devices)


@pytest.mark.slow
def test_the_models_of_a_gpu_share_a_process(make_run, request_of, train_one, observer):
    run = make_run(n=8)
    make_workers = on_gpus(in_a_thread, ("cuda:0", "cuda:1"), 2)
    end = train_one(run, request_of(), observer, make_workers=make_workers)
    assert end.complete == 8
    records = [trial.versions for trial in run.trials()]
    assert len({record["process"] for record in records}) == 2
    assert {record["device"] for record in records} == {"cuda:0", "cuda:1"}
    # A thread that has sent its result may still be ending when the next one begins.
    assert 2 <= max(int(record["models"]) for record in records) <= 4


def test_a_gpu_gets_as_many_models_as_its_process_asks_for(
    make_run, request_of, train_one, observer
):
    """Here 16, as they end too soon to be measured."""
    workers = GpuWorkers(None, in_a_thread, ("cpu",))
    run = make_run(n=6)
    assert train_one(run, request_of(), observer, make_workers=lambda *_: workers).complete == 6
    # Two end alone before it is decided; how many of the short ones after them overlap is chance.
    models = sorted(int(trial.versions["models"]) for trial in run.trials())
    assert models[:2] == [1, 1]
    assert workers.slots == 16
    (note,) = observer.notes
    assert note.startswith("cpu trains 16 models at once: they end before")


@pytest.mark.parametrize(
    ("work", "cause"),
    [
        (asserts_on_the_device, "device-side assert"),
        pytest.param(crashes_its_process, "SIGSEGV", marks=pytest.mark.slow),
    ],
)
def test_one_model_of_twelve_that_breaks_its_process_fails_alone(
    make_run, request_of, train_one, observer, work, cause
):
    run = make_run(n=12)
    end = train_one(run, request_of(), observer, make_workers=on_gpus(work))
    assert (end.complete, end.failed) == (11, 1)
    (failed,) = [trial for trial in run.trials() if trial.state is TrialState.FAILED]
    assert failed.index == 3
    assert cause in failed.reason
    assert any("its 4 models are trained again one by one" in note for note in observer.notes)
    assert not any("retired" in note for note in observer.notes)


def test_a_gpu_that_fails_in_a_fresh_process_is_retired(make_run, request_of, train_one, observer):
    from work_for_tests import on_a_broken_device

    run = make_run(n=5)
    make_workers = on_gpus(on_a_broken_device, ("bad:0", "cuda:1"), 2)
    end = train_one(run, request_of(), observer, make_workers=make_workers)
    assert end.complete == 5
    assert len([note for note in observer.notes if note.startswith("bad:0 is retired")]) == 1


@pytest.mark.slow
def test_training_stops_when_no_gpu_is_left(make_run, request_of, train_one, observer):
    from work_for_tests import on_a_broken_device

    run = make_run(n=5)
    with pytest.raises(DeviceError, match="no usable device is left"):
        train_one(run, request_of(), observer, make_workers=on_gpus(on_a_broken_device, ("bad:0",)))
    assert not run.trials()


@pytest.mark.slow
def test_a_model_that_hangs_is_killed_and_the_others_of_its_process_train_again(
    tmp_path, make_task
):
    workers = GpuWorkers(2, hangs, ("cuda:0",))
    try:
        workers.submit(make_task(0))
        while not (tmp_path / "0.hangs").exists():
            assert workers.wait(0.05) == []
        workers.submit(make_task(1))
        (done,) = workers.wait(30)
        assert done.outcome.trial.index == 1
        workers.kill(make_task(0))
        (done,) = workers.wait(30)
        assert done.outcome is None
        assert done.suspects == 1
        workers.submit(make_task(1))
        (done,) = workers.wait(60)
        assert done.outcome.trial.index == 1
    finally:
        workers.close()


def test_a_compiled_training_has_processes_of_its_own(monkeypatch, request_of):
    monkeypatch.setattr(devices, "resolve_devices", lambda device: ("cuda:0",))
    workers = partial(local_workers, work=at_once)
    assert isinstance(workers(request_of(device="cuda"), 9), GpuWorkers)
    assert workers(request_of(device="cuda", jobs=9), 20).slots == 9
    assert workers(request_of(device="cuda", jobs=9), 4).slots == 4
    # By default it is measured how many are fastest.
    assert workers(request_of(device="cuda"), 9).slots == 1
    assert workers(request_of(device="cuda"), 9).max_slots == 32
    assert isinstance(workers(request_of(device="cuda", compiled=True), 9), LokyWorkers)


def test_no_more_models_than_jobs_train_at_once():
    names = ("cuda:0", "cuda:1", "cuda:2", "cuda:3")
    workers = GpuWorkers(2, in_a_thread, names, 5)
    assert (workers.slots, workers.max_slots) == (5, 5)
    assert GpuWorkers(2, in_a_thread, names).slots == 8
    assert GpuWorkers(None, in_a_thread, names, 3).max_slots == 3


def test_no_more_models_train_at_once_than_a_gpu_has_streams():
    assert GpuWorkers(64, in_a_thread, ("cuda:0",)).slots == 32


@pytest.fixture
def gpu(make_task):
    """A GPU without a process, and a function that lets its process die with some models."""
    workers = GpuWorkers(4, at_once, ("cuda:0", "cuda:1"))
    gpu = workers._gpus[0]

    def dies(*indices):
        tasks = [replace(make_task(0), index=i) for i in indices]
        gpu.running.update({task.position: task for task in tasks})
        return workers._end(gpu, [], "SIGSEGV")

    return gpu, dies


def test_two_models_that_crash_do_not_retire_a_gpu(gpu):
    gpu, dies = gpu
    for index in (3, 3, 4, 4):
        dies(index)
    assert not gpu.retired
    gpu.causes, gpu.suspects = 0, set()
    for group in ((0, 1, 2, 3), (0,), (0, 1, 2, 3), (0,), (0,), (1, 2, 3)):
        dies(*group)
    assert not gpu.retired
    gpu.causes = 2
    dies(5)
    assert gpu.retired


def test_a_retired_gpu_clears_the_models_that_it_suspected(gpu):
    gpu, dies = gpu
    dies(0, 1)
    dies(2, 3)
    results = dies(4, 5)
    assert gpu.retired
    assert [result.suspects for result in results] == [0, 0]
    assert {index for _, index in results[0].cleared} == {0, 1, 2, 3, 4, 5}
