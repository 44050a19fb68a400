"""Several processes at one run folder: recording, measuring, and the status meanwhile."""

import json
import threading
from dataclasses import replace

import pytest

import designspace as ds
from designspace.errors import InputError
from designspace.io import journal
from designspace.io.file_lock import lock_holder
from designspace.runs import Run
from designspace.runs import run as module
from designspace.runs.heartbeat import Heartbeat
from designspace.runs.measurements import MeasuredSetting, Measurement
from designspace.runs.merge import copy_measurements

SETTING = MeasuredSetting("cpu (x)", 1, 1, "fp32", "inference", False, 8, "2.8")


def measurement(run, index):
    model = run.model(index)
    cost = (model.flops, model.params, model.acts, sum(model.body.depths))
    return Measurement(model.body.id, model.name, *cost, SETTING, 0.1, 0.1, 0.1)


def test_what_several_writers_record_at_once_is_all_kept(make_run):
    """Threads stand in for processes: each takes the lock through a file of its own."""
    path = make_run(n=20).path
    refusals, start = [], threading.Barrier(4)

    def record(first):
        run = Run(path)
        start.wait()
        for index in range(first, 20, 4):
            try:
                run.record(index, 10.0 + index)
            except InputError as error:
                refusals.append(error)

    threads = [threading.Thread(target=record, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refusals
    assert [trial.error for trial in Run(path).trials()] == [10.0 + i for i in range(20)]


def test_a_run_in_use_for_long_refuses_a_record(make_run, monkeypatch):
    run = make_run()
    monkeypatch.setattr(module, "RECORD_SECONDS", 0.1)
    with run.lock(), pytest.raises(InputError, match="is in use by process"):
        run.record(0, 10.0)
    assert run.trials() == ()


def test_a_killed_training_does_not_come_alive_while_another_process_uses_the_run(make_run):
    run = make_run()
    beat = Heartbeat(3, 60.0, 100.0, {0: 0.0, 1: 0.0})
    replace(beat, writer="process 4194305 on node17").write(run.heartbeat_file)
    assert not run.status().running
    with run.lock():
        assert run.status().to_dict()["running"] == 0
        assert run.status().to_dict()["models_per_hour"] == 0
        beat.write(run.heartbeat_file)  # as this process trains
        assert run.status().to_dict()["running"] == 2


def test_a_heartbeat_of_an_earlier_version_counts(make_run):
    run = make_run()
    Heartbeat(3, 60.0, 100.0, {0: 0.0, 1: 0.0}).write(run.heartbeat_file)
    record = json.loads(run.heartbeat_file.read_text())
    del record["writer"]
    run.heartbeat_file.write_text(json.dumps(record))
    with run.lock():
        assert run.status().to_dict()["running"] == 2


def test_measurements_are_appended_within_the_lock(make_run, monkeypatch, tmp_path):
    holders, append = [], journal.append

    def checked(path, records):
        holders.append(lock_holder(path.parent / ".lock"))
        append(path, records)

    population = ds.sample("RegNetX@8", n=2, flops="180K:220K", progress=False)
    run = population.save(tmp_path / "first")
    population = replace(population, measurements=(measurement(run, 0), measurement(run, 1)))
    monkeypatch.setattr(journal, "append", checked)
    run = population.save(tmp_path / "second")
    gathered = make_run("gathered")
    copy_measurements([run.model(0)], gathered)
    assert len(holders) == 2
    assert None not in holders
    assert len(run.measurements()) == 2
    assert len(gathered.measurements()) == 1
    population.save(run.path)
    assert len(run.measurements_file.read_text().splitlines()) == 2
