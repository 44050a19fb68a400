"""Which validation images each model got right: kept by all workers, joined, and read again."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from marks import quick_share

from designspace.io import journal
from designspace.runs.image_results import CORRECT_FILE, read_correct
from designspace.runs.merge import merge
from designspace.runs.run import Run
from designspace.training.gpu_workers import GpuWorkers
from designspace.training.loky_workers import LokyWorkers
from designspace.training.run_task import run_task
from designspace.training.trainer import Trainer


def on_dask():
    distributed = pytest.importorskip("distributed")
    from designspace.training.dask_workers import DaskWorkers

    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    )
    return DaskWorkers(distributed.Client(cluster, set_as_default=False), run_task)


WORKERS = {
    "loky": lambda: LokyWorkers(1, run_task),
    "gpu": lambda: GpuWorkers(2, run_task, ("cpu",)),
    "dask": on_dask,
}


@pytest.fixture
def train(train_one, observer, inline):
    def run(folder, options, make=None):
        return train_one(folder, options, observer, make_workers=lambda *_: (make or inline)())

    return run


def errors(run):
    return {index: 100 * (~bits).mean() for index, bits in read_correct(run.path).items()}


@pytest.mark.parametrize("workers", quick_share(WORKERS, ["loky", "dask"]))
def test_all_workers_return_the_images(make_run, request_of, train, workers):
    here, there = make_run("here"), make_run("there")
    train(here, request_of())
    train(there, replace(request_of(), elsewhere=workers == "dask"), WORKERS[workers])
    assert errors(here) == pytest.approx({t.index: t.error for t in here.trials()})
    kept = read_correct(here.path, here.trials())
    assert sorted(kept) == [0, 1, 2]
    for index, bits in read_correct(there.path, there.trials()).items():
        assert np.array_equal(bits, kept.pop(index))
    assert kept == {}


def test_static_validation_gives_the_same_images(images, request_of, make_run, monkeypatch, train):
    eager, static = make_run("eager"), make_run("static")
    train(eager, request_of())
    build = Trainer.__init__
    monkeypatch.setattr(Trainer, "__init__", lambda *a: build(*a, static=True))
    train(static, request_of())
    assert (eager.path / CORRECT_FILE).read_bytes() == (static.path / CORRECT_FILE).read_bytes()


def test_they_are_optional_and_the_run_remembers(make_run, request_of, train, monkeypatch):
    run = make_run("without")
    train(run, request_of(image_results=False))
    assert not (run.path / CORRECT_FILE).exists()
    assert run.execution().image_results is False
    monkeypatch.setattr("designspace.training.train_runs.MAX_IMAGES", 1)
    large, asked = make_run("large"), make_run("asked")
    train(large, request_of())
    train(asked, request_of(image_results=True))
    assert not (large.path / CORRECT_FILE).exists()
    assert sorted(read_correct(asked.path)) == [0, 1, 2]
    assert large.trials_file.stat().st_size > 0


def test_a_torn_line_and_a_death_before_the_trial_was_written(make_run, request_of, train):
    """As kill -9 leaves them: the line of a model without a trial, and half a line."""
    run, whole = make_run(), make_run("whole")
    train(run, request_of(indices=(0,)))
    train(whole, request_of())
    other = journal.read(whole.path / CORRECT_FILE).records[1]
    flipped = {**other, "correct": other["correct"].swapcase()}
    with (run.path / CORRECT_FILE).open("a") as file:
        file.write(journal.encode(flipped) + journal.encode(other)[:70])
    assert sorted(read_correct(run.path, run.trials())) == [0]
    train(run, request_of())
    expected, kept = read_correct(whole.path), read_correct(run.path, run.trials())
    assert sorted(kept) == [0, 1, 2]
    assert all(np.array_equal(kept[index], expected[index]) for index in kept)


def test_a_disk_that_refuses_them_loses_no_trial(make_run, request_of, train, observer):
    run = make_run()
    (run.path / CORRECT_FILE).mkdir()
    end = train(run, request_of())
    assert end.complete == len(run.trials()) == 3
    assert any("single images are not kept" in note for note in observer.notes)


def test_merge_joins_them(make_run, request_of, train, tmp_path):
    first, second = make_run("first"), tmp_path / "second"
    shutil.copytree(first.path, second)
    train(first, request_of(indices=(0, 1)))
    train(Run(second), request_of(indices=(1, 2)))
    for _ in range(2):
        merge([first, Run(second)], Run(tmp_path / "joined"))
    joined = Run(tmp_path / "joined")
    assert errors(joined) == pytest.approx({t.index: t.error for t in joined.trials()})
    assert len((joined.path / CORRECT_FILE).read_text().splitlines()) == 3
