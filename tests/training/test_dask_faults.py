"""What goes wrong between a driver and Dask's workers, with real ones."""

import pickle
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import work_for_tests as work

from designspace.errors import DeviceError, InputError
from designspace.runs import TrialState
from designspace.training import dask_workers as module
from designspace.training.dask_workers import DaskWorkers, connect
from designspace.training.run_task import Failure, Outcome, run_task
from designspace.training.trainer import Trainer

distributed = pytest.importorskip("distributed")


@pytest.fixture
def scheduler():
    """Start a scheduler whose workers outlive its clients; return how to connect to it."""
    clusters = []

    def start(function, n_workers=1, processes=False, threads=1):
        cluster = distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=threads,
            processes=processes,
            dashboard_address=None,
            silence_logs=50,
        )
        clusters.append(cluster)

        address = cluster.scheduler_address
        return lambda kind=DaskWorkers: kind(connect(address, None, {}, 1), function)

    yield start
    for cluster in clusters:
        cluster.close()


class Counting(DaskWorkers):
    """Counts the tasks that are sent."""

    sent = 0

    def submit(self, task):
        self.sent += 1
        assert self.sent < 20, "tasks are sent for ever"
        super().submit(task)


def test_ctrl_c_stops_trials_elsewhere_and_the_same_call_resumes_them(
    make_run, request_of, train_one, observer, inline, scheduler, tmp_path, monkeypatch
):
    """The scheduler and its workers stay; in this process, so that epochs can be counted."""
    epochs, closed, run_epoch = [], threading.Event(), Trainer.run_epoch
    recipe = replace(request_of().recipe, epochs=40)
    options, checkpoints = request_of(recipe=recipe, elsewhere=True), tmp_path / "home/checkpoints"
    here, run = make_run("here", n=1), make_run("there", n=1)
    train_one(here, replace(options, elsewhere=False), observer, make_workers=lambda *_: inline())

    def counted(trainer, batches, guard):
        run_epoch(trainer, batches, guard)
        epochs.append(trainer.epochs_done)
        if len(epochs) == 2:
            assert closed.wait(300)

    class CtrlC(DaskWorkers):
        def wait(self, seconds):
            if len(epochs) == 2:
                raise KeyboardInterrupt
            return super().wait(0.05)

        def close(self):
            super().close()
            closed.set()

    monkeypatch.setattr(Trainer, "run_epoch", counted)
    work.ENDED.clear()
    connected = scheduler(work.notes_its_end)
    with pytest.raises(KeyboardInterrupt):
        train_one(run, options, observer, make_workers=lambda *_: connected(CtrlC))
    assert work.ENDED.wait(300)
    last = len(epochs)
    assert 2 <= last < 40
    assert len(list(checkpoints.iterdir())) == 1
    end = train_one(run, options, observer, make_workers=lambda *_: connected())
    assert end.complete == 1
    assert epochs == list(range(1, 41))
    assert run.trials()[0].curve == here.trials()[0].curve
    assert list(checkpoints.iterdir()) == []


def test_a_killed_task_is_returned_as_cancelled(make_task, scheduler):
    work.ENDED.clear()
    workers, task = scheduler(work.waits_for_its_end)(), make_task(0)
    workers.submit(task)
    workers.kill(task)
    (result,) = workers.wait(60)
    assert (result.task, result.outcome, result.death) == (task, None, "it was cancelled")
    work.ENDED.set()
    workers.close()


@pytest.mark.parametrize(
    ("processes", "threads"),
    [
        pytest.param(False, 1, id="no nanny"),
        pytest.param(False, 2, id="two threads"),
        pytest.param(True, 1, id="nanny", marks=pytest.mark.slow),
    ],
)
def test_training_stops_when_the_last_worker_is_retired(
    make_run, request_of, train_one, observer, scheduler, processes, threads
):
    """Dask keeps that worker, as nothing else holds the results of its tasks."""
    run = make_run(n=6)
    workers = scheduler(work.on_a_bad_device, 1, processes, threads)(Counting)
    with pytest.raises(DeviceError, match=r"^no usable worker is left \(.*busy or unavailable"):
        train_one(run, request_of(elsewhere=True), observer, make_workers=lambda *_: workers)
    assert workers.sent <= 2 * threads
    assert run.trials() == ()


def test_a_worker_that_cannot_read_the_images_is_retired(
    make_run, request_of, train_one, observer, scheduler
):
    run = make_run(n=6)
    workers = scheduler(work.without_images_on_worker_1, 2)()
    end = train_one(run, request_of(elsewhere=True), observer, make_workers=lambda *_: workers)
    assert (end.complete, end.failed) == (6, 0)
    assert {trial.state for trial in run.trials()} == {TrialState.COMPLETE}
    (note,) = [note for note in observer.notes if "retired" in note]
    assert note.startswith("Dask worker 1 is retired, as it can't begin to train: data is ")
    assert [*workers.lost_devices] == ["Dask worker 1"]


def test_a_worker_that_lacks_a_package_is_retired(
    make_run, request_of, train_one, observer, scheduler
):
    run = make_run(n=6)
    workers = scheduler(work.without_torch_on_worker_1, 2)()
    end = train_one(run, request_of(elsewhere=True), observer, make_workers=lambda *_: workers)
    assert (end.complete, end.failed) == (6, 0)
    reason = "ModuleNotFoundError: No module named 'torch'"
    assert observer.notes == [f"Dask worker 1 is retired, as it can't begin to train: {reason}"]
    assert workers.lost_devices == {"Dask worker 1": reason}


def test_a_task_that_a_worker_cannot_read_is_no_try_of_its_model(make_task, scheduler):
    workers = scheduler(work.OfAnotherVersion())()
    workers.submit(make_task(0))
    (result,) = workers.wait(60)
    workers.close()
    assert result.outcome.failure is Failure.WORKER_UNREADY
    assert "it can't read the task: RuntimeError: CUDA error" in result.outcome.trial.reason


def test_a_scheduler_that_dies_is_named_and_costs_no_model_a_try(make_task):
    """A client without its scheduler cancels all tasks; its calls fail."""
    client = OneWorker()
    workers, task = DaskWorkers(client, run_task), make_task(0)
    workers.submit(task)
    (future,) = workers._running
    future.status, future.done = "cancelled", lambda: True
    client.status = "connecting"
    (result,) = workers.wait(0)
    assert (result.death, result.suspects) == ("it was cancelled", 0)

    def fails(*_, **__):
        raise OSError("ConnectionPool closing.")

    client.nthreads = client.submit = fails
    for call in (lambda: workers.slots, lambda: workers.submit(task)):
        with pytest.raises(InputError, match=r"^the Dask scheduler is gone; start it again"):
            call()
    client.status = "closed"
    with pytest.raises(InputError, match=r"^the Dask scheduler is gone; start it again"):
        workers.wait(0)


def test_a_worker_that_cannot_be_restarted_is_retired_with_a_reason(make_task):
    """Only a nanny restarts the process of a worker, whose device has an error."""
    client, task = OneWorker(), make_task(0)
    workers = DaskWorkers(client, run_task)
    outcome = work._device_error(task)
    note = workers._check_worker("a", "a", task, outcome)
    assert note.startswith("Dask worker a is retired, as it can't be restarted after: Accelerator")
    assert client.retired == ["a"]
    assert [*workers.lost_devices] == ["Dask worker a"]


def test_all_tasks_may_have_another_device_than_their_own(make_task):
    client, task = OneWorker(), make_task(0)
    DaskWorkers(client, run_task, device="cuda").submit(replace(task, device="cuda:1"))
    ((_, pickled),) = client.tasks
    assert pickle.loads(pickled)[2].device == "cuda"


@pytest.mark.slow
def test_a_worker_under_a_nanny_decodes_more_images_than_one_process_is_for(
    make_run, request_of, train_one, observer, scheduler, write_images, tmp_path
):
    images = write_images(tmp_path / "many", each=300)
    run, options = make_run(n=1), request_of(data=f"folder:{images}", home=tmp_path / "driver")
    end = train_one(
        run,
        replace(options, elsewhere=True),
        observer,
        make_workers=lambda *_: scheduler(work.with_images_of_its_own, processes=True)(),
    )
    assert [trial.reason for trial in run.trials()] == [""]
    assert end.complete == 1


class Pending:
    """The future of a task that does not end."""

    def done(self):
        return False

    def add_done_callback(self, _):
        pass


class OneWorker:
    """A client whose only worker comes and goes."""

    status = "running"

    def __init__(self):
        self.threads = {"a": 1}
        self.retired, self.submitted, self.tasks = [], [], []

    def nthreads(self):
        return self.threads

    def submit(self, *task, **options):
        self.submitted.append(options)
        self.tasks.append(task)
        return Pending()

    def retire_workers(self, workers, **options):
        self.retired += workers


def test_tasks_wait_for_a_worker_that_restarts_but_not_for_ever(make_task, monkeypatch):
    times = iter([0.0, 10.0, 69.0, 71.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=times.__next__))
    client, task = OneWorker(), make_task(0)
    client.threads = {"a": 1, "b": 1}
    workers = DaskWorkers(client, run_task)
    trial = replace(work.at_once(task).trial, reason="no mount")
    outcome = Outcome(trial, Failure.WORKER_UNREADY)
    assert "can't begin to train: no mount" in workers._check_worker("a", "a", task, outcome)
    assert workers._check_worker("a", "a", task, outcome) == ""
    assert client.retired == ["a"]
    workers.submit(task)
    (options,) = client.submitted
    assert (options["workers"], options["allow_other_workers"]) == (["b"], True)
    assert workers.slots == 1
    assert workers.wait(0) == []
    client.threads = {"a": 1}  # b is killed
    assert workers.slots == 0
    assert workers.wait(0) == []
    with pytest.raises(DeviceError, match=r"no usable worker is left \(Dask worker a: no mount\)"):
        workers.wait(0)


def test_the_same_model_never_has_the_same_key_twice(make_task):
    """A cancelled task of an earlier driver may be running still, and would give its result."""
    keys = []
    for _ in range(2):
        client = OneWorker()
        DaskWorkers(client, run_task).submit(make_task(0))
        keys += [options["key"] for options in client.submitted]
    assert keys[0] != keys[1]
    assert all(key.startswith("trial-0-0-") for key in keys)
