"""Whole runs: equal to the last bit whatever happens, and refused where they would not compare."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from designspace.errors import InputError
from designspace.io import journal
from designspace.io.file_lock import lock
from designspace.runs import Run, TrialState
from designspace.training.train_runs import train_runs


def results(folder):
    return {t.index: (t.id, t.state, t.error, t.curve, t.seed) for t in folder.trials()}


@pytest.fixture
def train(train_one, observer, inline):
    """Train a folder in this process."""

    def run(folder, request):
        return train_one(folder, request, observer, make_workers=lambda *_: inline())

    return run


def test_one_worker_two_workers_and_this_process_give_the_same_bits(
    make_run, request_of, train, train_one, observer
):
    here, two = make_run("here"), make_run("two")
    train(here, request_of())
    end = train_one(two, request_of(jobs=2), observer)
    assert end.complete == 3
    assert results(here) == results(two)
    assert len(results(here)) == 3
    assert list(two.checkpoints.iterdir()) == []
    assert not (two.path / "running.json").exists()


DRIVER = """
import sys
import designspace as ds
run, data, home = sys.argv[1:]
[end] = ds.train(run, data, "quick", epochs=1, jobs=1, device="cpu", cache=home, progress=False)
assert end.complete == end.total == 3, end
assert "torch" not in sys.modules, "the driver waits for torch"
"""


def test_the_driver_does_not_import_torch(make_run, images, tmp_path):
    words = (make_run().path, f"folder:{images}", tmp_path / "home")
    command = [sys.executable, "-c", DRIVER, *map(str, words)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_finished_trials_are_not_trained_again(make_run, request_of, train, observer):
    folder = make_run()
    train(folder, request_of(indices=(1,)))
    assert set(results(folder)) == {1}
    before = folder.trials_file.read_bytes()
    observer.trials.clear()
    end = train(folder, request_of())
    assert [trial.index for trial in observer.trials] == [0, 2]
    assert (end.total, end.complete) == (3, 3)
    assert folder.trials_file.read_bytes().startswith(before)


def test_recipe_yaml_records_what_was_trained(make_run, request_of, train, images):
    folder = make_run()
    train(folder, request_of(seed=4))
    data = folder.data()
    assert (data.source, data.val, data.seed) == (f"folder:{images}", "held-out", 4)
    assert (data.split, data.classes) == ("held-out 10% of train, seed 0", 2)
    assert (data.train_images, data.val_images) == (44, 4)
    assert folder.recipe().resolution == 8
    assert {trial.split for trial in folder.trials()} == {data.split}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"val": "test"}, r"split: held-out 10% of train, seed 0, test"),
        ({"seed": 1}, r"seed: 0, 1"),
        ({"epochs": 4}, r"epochs: 3, 4"),
        ({"lr": 0.2}, r"lr: 0\.1, 0\.2"),
        ({"data": "digits"}, r"source: folder:.*, digits; .*content: \w+, \w+"),
    ],
)
def test_a_run_is_trained_one_way_only(make_run, request_of, train, changes, said):
    folder = make_run()
    train(folder, request_of(indices=(0,)))
    recipe = {key: changes.pop(key) for key in ("epochs", "lr") if key in changes}
    request = request_of(**changes)
    request = replace(request, recipe=request.recipe.override(**recipe))
    with pytest.raises(InputError, match=said):
        train(folder, request)
    assert set(results(folder)) == {0}


def test_the_same_images_elsewhere_are_the_same_data(make_run, request_of, train, images, tmp_path):
    folder = make_run()
    train(folder, request_of(indices=(0,)))
    moved = images.rename(tmp_path / "moved")
    train(folder, request_of(data=f"folder:{moved}", indices=(1,)))
    assert set(results(folder)) == {0, 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"jobs": 0}, "jobs is 0"),
        ({"time_limit": 0.0}, "time_limit"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"indices": (3,)}, "models 0 to 2"),
        ({"data": "digitz"}, "did you mean digits"),
    ],
)
def test_requests_that_cannot_be(make_run, request_of, train, changes, said):
    folder = make_run()
    with pytest.raises(InputError, match=said):
        train(folder, request_of(**changes))
    assert not folder.trials_file.exists()


def test_a_recipe_for_another_resolution_is_refused(make_run, request_of, train, recipe):
    with pytest.raises(InputError, match="trains at 32 pixels, the space is for 8"):
        train(make_run(), request_of(recipe=replace(recipe, resolution=32)))


def test_several_runs_train_as_each_would_alone(make_run, request_of, train, observer, inline):
    alone, one, two = make_run("alone"), make_run("one"), make_run("two", n=2)
    train(alone, request_of(seed=3))
    runs = [(one, request_of(seed=3)), (two, request_of())]
    ends = train_runs(runs, observer, make_workers=lambda *_: inline(2))
    assert [end.complete for end in ends] == [3, 2]
    assert results(one) == results(alone)
    assert (one.data().seed, two.data().seed) == (3, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"device": "cuda:1"}, "device is cuda:0 for .*a and cuda:1 for .*b", id="gpu"),
        pytest.param({"device": "cpu"}, "device is cuda:0 for .*a and cpu for .*b", id="cpu"),
        pytest.param({"compiled": True}, "compile is False for .*a and True for .*b", id="compile"),
        pytest.param(
            {"device": "cpu", "elsewhere": True}, "device is cuda for .*a and cpu", id="elsewhere"
        ),
    ],
)
def test_runs_that_train_together_share_their_workers(
    make_run, request_of, observer, monkeypatch, changes, words
):
    monkeypatch.setattr(
        "designspace.training.devices.resolve_devices",
        lambda device: ("cuda:0",) if device == "cuda" else (device,),
    )
    one = request_of(device="cuda", elsewhere=changes.get("elsewhere", False))
    runs = [(make_run("a"), one), (make_run("b"), replace(one, **changes))]
    with pytest.raises(InputError, match=f"share their workers, but {words}"):
        train_runs(runs, observer)


def test_runs_whose_devices_come_to_the_same_train_together(
    make_run, request_of, observer, inline, monkeypatch
):
    monkeypatch.setattr("designspace.training.devices.resolve_devices", lambda device: ("cpu",))
    runs = [(make_run("a"), request_of(indices=(0,))), (make_run("b"), request_of(indices=(0,)))]
    runs[1] = (runs[1][0], replace(runs[1][1], device="auto"))
    ends = train_runs(runs, observer, make_workers=lambda *_: inline(2))
    assert [end.complete for end in ends] == [1, 1]


def test_what_a_killed_driver_said_it_was_training_is_forgotten(
    make_run, request_of, train_one, observer, inline
):
    run, seen = make_run(), []
    run.heartbeat_file.write_text("{}")

    def make(*_):
        seen.append(run.heartbeat_file.exists())
        return inline()

    train_one(run, request_of(indices=(0,)), observer, make_workers=make)
    assert seen == [False]


def test_workers_elsewhere_get_an_absolute_cache_folder(
    make_run, request_of, train_one, observer, inline, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    homes = []

    class Noting(inline):
        def submit(self, task):
            homes.append(task.home)
            super().submit(task)

    options = request_of(home=Path("home"), elsewhere=True, indices=(0,))
    train_one(make_run(), options, observer, make_workers=lambda *_: Noting())
    assert homes == [tmp_path / "home"]


def test_a_run_named_twice(make_run, request_of, observer):
    folder = make_run()
    twice = Run(folder.path / ".." / folder.name)
    with pytest.raises(InputError, match="twice"):
        train_runs([(folder, request_of()), (twice, request_of())], observer)


def test_an_unwritable_folder_is_reported_before_training(make_run, request_of, train, observer):
    folder = make_run()
    folder.trials_file.mkdir()
    with pytest.raises(InputError, match="trials"):
        train(folder, request_of())
    assert observer.trials == []


def test_a_journal_of_another_run_is_refused(make_run, request_of, train):
    one, other = make_run("one"), make_run("other")
    train(one, request_of(indices=(0,)))
    record = journal.read(one.trials_file).records[0]
    journal.append(other.trials_file, [{**record, "index": 1}])
    with pytest.raises(InputError, match="it is of another population"):
        train(other, request_of())


def test_two_drivers_on_one_folder(make_run, request_of, train):
    folder = make_run()
    holder = "import sys, time; from pathlib import Path\n"
    holder += "from designspace.io.file_lock import lock\n"
    holder += "with lock(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(folder.lock_file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"is in use by process {process.pid} on"):
        train(folder, request_of())
    process.kill()
    process.wait()
    # A dead process holds nothing, though its file is still there.
    assert folder.lock_file.exists()
    assert train(folder, request_of()).complete == 3
    with lock(folder.lock_file, "x"), pytest.raises(InputError, match="in use"):
        train(folder, request_of())


def test_failed_trials_are_trained_again_on_request(make_run, request_of, train):
    folder = make_run()
    assert train(folder, request_of(time_limit=1e-9)).failed == 3
    assert train(folder, request_of()).failed == 3
    end = train(folder, request_of(retry=True))
    assert (end.complete, end.failed) == (3, 0)
    assert all(trial.state is TrialState.COMPLETE for trial in folder.trials())
    # Nothing is dropped: the failures stay in the journal.
    assert len(journal.read(folder.trials_file).records) == 6


# The command itself, in a process of its own.

LONG = {"epochs": 80, "name": "long"}


@pytest.fixture
def command(make_run, request_of, images, tmp_path):
    """Start `designspace train` on three models that take a while; return it and its folder."""
    from designspace.io.yaml_files import dump_yaml

    recipe = replace(request_of().recipe, **LONG)
    (tmp_path / "long.yaml").write_text(dump_yaml(recipe.to_dict()))

    def start(name="run", *words):
        folder = make_run(name)
        argv = [sys.executable, "-m", "designspace", "train", str(folder.path), "--device", "cpu"]
        argv += ["--data", f"folder:{images}", "--recipe", str(tmp_path / "long.yaml")]
        argv += ["--cache", str(tmp_path / "home"), "--jobs", "2", *words]
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        return process, folder

    return start


def wait_for_checkpoints(folder, process, count):
    """Wait until so many trials are in flight, each past its first epoch."""
    limit = time.monotonic() + 300
    while len(list(folder.checkpoints.glob("*.pt"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.slow
def test_kill_9_of_the_driver_then_the_same_command(command, request_of, train, make_run):
    process, folder = command("killed")
    wait_for_checkpoints(folder, process, 2)
    process.kill()
    process.communicate()
    _wait_until_gone(process.pid)
    assert len(results(Run(folder.path))) < 3
    again, _ = command("killed")
    out, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert out == "3 of 3 models: 3 complete\n"
    undisturbed = make_run("undisturbed")
    request = request_of()
    train(undisturbed, replace(request, recipe=replace(request.recipe, **LONG)))
    assert results(folder) == results(undisturbed)
    assert len(results(folder)) == 3


@pytest.mark.slow
def test_status_while_at_work_then_ctrl_c_stops_at_once(command, cli):
    process, folder = command("stopped", "--epochs", "2000")
    wait_for_checkpoints(folder, process, 2)
    status = json.loads(cli("status", folder.path, "--json").out)
    assert (status["n"], status["at_work"], status["running"], status["waiting"]) == (3, True, 2, 1)
    assert [flight["index"] for flight in status["in_flight"]] == [0, 1]
    # As a terminal does it: to the whole group, workers too.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"`designspace train {folder.path}` resumes" in err
    assert "Traceback" not in err
    assert out == ""
    _wait_until_gone(process.pid)
    after = json.loads(cli("status", folder.path, "--json").out)
    assert (after["at_work"], after["running"], after["waiting"]) == (False, 0, 3)


def _wait_until_gone(group):
    limit = time.monotonic() + 60
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < limit, "a worker is still there"
        time.sleep(0.05)


def test_a_finished_run_needs_neither_its_images_nor_its_device(make_run, request_of, train):
    run = make_run()
    first = train(run, request_of())
    assert first.complete == 3
    gone = replace(request_of(), device="cuda:7", home=Path("/no/such"))
    again = train(run, gone)
    assert (again.complete, again.total, again.running) == (3, 3, 0)
    with pytest.raises(InputError, match="seed"):
        train(run, replace(request_of(), seed=1))
