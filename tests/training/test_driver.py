"""The driver: every model is accounted for, whatever becomes of its worker."""

import time
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace

import pytest

from designspace.errors import DeviceError, InputError
from designspace.io import journal
from designspace.runs import Trial, TrialState
from designspace.training.driver import Driver, RunPlan, _ordered
from designspace.training.loky_workers import TaskResult
from designspace.training.run_task import Failure, Outcome


@pytest.fixture
def tasks(make_task, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return [make_task(i, tmp_path / "checkpoints") for i in range(4)]


@pytest.fixture
def drive(make_run, tasks, observer, inline):
    """Run the driver over four models with what a worker does; return journal and workers."""

    def run(work=None, slots=2, workers=None, tasks=tasks, grace=60.0):
        folder, workers = make_run(n=4), workers or inline(slots, work)
        share = RunPlan(folder, tasks, (), [100] * 4)
        (end,) = Driver([share], workers, observer, grace=grace).run()
        return folder, workers, end

    return run


def complete(task):
    return Outcome(Trial(task.id, task.index, TrialState.COMPLETE, 10.0, (10.0,), 1.0, task.seed))


def unusable(task):
    return replace(failed(task), failure=Failure.DEVICE_UNUSABLE)


def failed(task, memory=False):
    trial = Trial(task.id, task.index, TrialState.FAILED, None, (), 1.0, task.seed, reason="why")
    return Outcome(trial, Failure.OUT_OF_MEMORY if memory else None)


def test_all_models_are_trained_in_order(drive, observer):
    folder, workers, end = drive(complete)
    assert [trial.index for trial in folder.trials()] == [0, 1, 2, 3]
    assert (end.total, end.finished, end.complete, end.running) == (4, 4, 4, 0)
    assert end.seconds_left == 0
    assert workers.most == 2
    assert [trial.index for trial in observer.trials] == [0, 1, 2, 3]


def test_checkpoints_of_finished_trials_go_those_of_failed_ones_stay(drive, tasks):
    for task in tasks:
        task.checkpoint.write_text("state")
    drive(lambda task: failed(task) if task.index == 2 else complete(task))
    assert [task.checkpoint.exists() for task in tasks] == [False, False, True, False]


def test_a_failed_trial_is_kept_with_its_reason(drive):
    folder, _, end = drive(lambda task: failed(task) if task.index == 1 else complete(task))
    assert folder.trials()[1].reason == "why"
    assert (end.complete, end.failed, end.finished) == (3, 1, 4)


def test_a_worker_that_dies_once_costs_nothing(drive, observer):
    deaths = []

    def work(task):
        if task.index == 0 and not deaths:
            deaths.append(1)
            return TaskResult(task, None, "its worker died (SIGKILL(-9))")
        return complete(task)

    folder, _, end = drive(work)
    assert end.complete == 4
    assert observer.notes == ["model 0: its worker died (SIGKILL(-9)); retrying"]
    assert len(journal.read(folder.trials_file).records) == 4


def test_a_model_that_kills_its_workers_is_tried_alone_then_failed(drive, inline):
    beside = []

    def work(task):
        if task.index == 1:
            beside.append(len(workers.tasks))
            return TaskResult(task, None, "its worker died")
        return complete(task)

    workers = inline(2, work)
    folder, _, end = drive(workers=workers)
    assert len(beside) == 3
    assert beside[0] > 0
    assert beside[-1] == 0
    trial = folder.trials()[1]
    assert trial.state is TrialState.FAILED
    assert trial.reason.startswith("its worker died, 3 times, the last time alone")
    assert (end.complete, end.failed) == (3, 1)


def test_out_of_memory_is_tried_again_alone(drive, observer):
    calls = []

    def work(task):
        calls.append(task.index)
        return (
            failed(task, memory=True) if calls.count(0) == 1 and task.index == 0 else complete(task)
        )

    end = drive(work, slots=3)[-1]
    assert end.complete == 4
    assert calls == [0, 1, 2, 3, 0]
    assert observer.notes == ["model 0: out of memory; retrying alone"]


class OneSlot:
    """Workers that run what a test hands over for the task that was submitted."""

    slots = max_slots = 1
    lost_devices = MappingProxyType({})

    def submit(self, task):
        assert self.slots, "there is no slot"
        self.task = task


def test_the_last_device_is_lost_while_a_task_waits_to_be_alone(drive, tasks):
    class Lost(OneSlot):
        def wait(self, seconds):
            if not self.slots:
                raise DeviceError("no usable device is left")
            self.slots = 0
            return [TaskResult(self.task, failed(self.task, memory=True))]

    with pytest.raises(DeviceError, match="no usable device is left"):
        drive(workers=Lost(), tasks=tasks[:1])


def unreadable(task):
    trial = replace(failed(task).trial, reason="there is no folder /images")
    return Outcome(trial, Failure.WORKER_UNREADY)


def test_images_that_cannot_be_read_here_stop_training(drive, make_run, inline):
    class Both(inline):
        def wait(self, seconds):
            tasks, self.tasks = self.tasks, []
            return [TaskResult(task, self.work(task)) for task in tasks]

    work = lambda task: unreadable(task) if task.index == 0 else complete(task)  # noqa: E731
    with pytest.raises(InputError, match=r"^there is no folder /images; finished trials are kept"):
        drive(workers=Both(2, work))
    assert [(trial.index, trial.error) for trial in make_run(n=4).trials()] == [(1, 10.0)]


def test_images_that_a_worker_elsewhere_cannot_read_are_no_try_of_the_model(drive, tasks):
    calls = []

    def work(task):
        calls.append(task.index)
        return unreadable(task) if len(calls) <= 5 else complete(task)

    _, _, end = drive(work, slots=1, tasks=[replace(task, cache=None) for task in tasks])
    assert (end.complete, end.failed) == (4, 0)
    assert calls == [0, 0, 0, 0, 0, 0, 1, 2, 3]


def test_workers_hear_which_trials_are_written(drive, make_run):
    written = []

    def work(task):
        def note():
            written.append((task.index, len(make_run(n=4).trials())))

        outcome = failed(task) if task.index == 2 else complete(task)
        return TaskResult(task, outcome, written=note)

    drive(work, slots=1)
    assert written == [(0, 1), (1, 2), (3, 4)]  # the checkpoint of a failed trial is kept


def test_out_of_memory_alone_is_a_failure(drive):
    folder, _, end = drive(lambda task: failed(task, memory=task.index == 2))
    assert end.failed == 4
    assert len(folder.trials()) == 4


def test_a_silent_worker_is_killed_past_the_limit(drive, tasks, monkeypatch):
    class Hanging(OneSlot):
        killed = False

        def wait(self, seconds):
            return [TaskResult(self.task, None, "its worker died")] if self.killed else []

        def kill(self, task):
            self.killed = True

    times = SimpleNamespace(time=iter([100.0, 107.5]).__next__, monotonic=time.monotonic)
    monkeypatch.setattr("designspace.training.driver.time", times)
    limited = [replace(tasks[0], time_limit=0.01)]
    folder, _, end = drive(workers=Hanging(), tasks=limited, grace=0.01)
    assert folder.trials()[0].reason.startswith("killed 0.01 s past its time limit of 0.01 s")
    assert folder.trials()[0].seconds == 7.5
    assert end.failed == 1


def test_a_journal_that_cannot_be_written_stops_training(drive, make_run):
    with pytest.raises(InputError, match=r"cannot write .*trials.jsonl"):
        drive(lambda task: (make_run(n=4).trials_file.mkdir(exist_ok=True), complete(task))[1])


def test_a_full_disk_stops_with_what_was_finished_kept(drive, make_run, monkeypatch):
    write, calls = journal.os.write, []

    def full(handle, data):
        calls.append(1)
        if len(calls) > 2:
            write(handle, bytes(data[:20]))
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(journal.os, "write", full)
    with pytest.raises(InputError, match="No space left on device"):
        drive(complete, slots=1)
    monkeypatch.undo()
    assert [trial.index for trial in make_run(n=4).trials()] == [0, 1]


def test_earlier_trials_count_as_finished(make_run, tasks, observer, inline):
    before = [complete(tasks[0]).trial, failed(tasks[1]).trial]
    share = RunPlan(make_run(n=4), tasks[2:], before, [5] * 4)
    driver = Driver([share], inline(1, complete), observer)
    assert (driver.progress().total, driver.progress().finished) == (4, 2)
    (end,) = driver.run()
    assert (end.finished, end.complete, end.failed) == (4, 3, 1)


@pytest.mark.parametrize(("slots", "order"), [(7, [0, 1, 2, 3]), (8, [1, 3, 0, 2])])
def test_of_many_models_at_once_the_largest_begin(make_run, tasks, slots, order):
    share = RunPlan(make_run(n=4), tasks, (), [5, 9, 4, 7])
    assert [task.index for task in _ordered([share], slots)] == order


def test_what_all_models_say_is_said_once(drive, observer):
    drive(lambda task: replace(complete(task), notes=("it trains slowly", f"{task.index} says so")))
    assert [n for n in observer.notes if "slowly" in n] == ["model 0: it trains slowly"]
    assert len(observer.notes) == 5


def test_several_runs_take_turns_the_shortest_first(make_run, tasks, observer, inline):
    one, two = make_run("one", n=4), make_run("two", n=4)
    others = [replace(task, run_index=1) for task in tasks]
    order = []

    def work(task):
        order.append(task.position)
        return complete(task)

    shares = [
        RunPlan(one, tasks[2:], [complete(task).trial for task in tasks[:2]], [5] * 4),
        RunPlan(two, others, (), [7] * 4),
    ]
    ends = Driver(shares, inline(1, work), observer).run()
    assert order == [(1, 0), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)]
    assert [(end.total, end.complete) for end in ends] == [(4, 4), (4, 4)]
    assert [trial.index for trial in one.trials()] == [2, 3]
    assert [trial.index for trial in two.trials()] == [0, 1, 2, 3]


def test_notes_name_the_run_of_several(make_run, tasks, observer, inline):
    work = lambda task: TaskResult(task, None, "its worker died")  # noqa: E731
    shares = [RunPlan(make_run(n, n=4), [replace(tasks[0], run_index=i)], (), [5] * 4)
              for i, n in enumerate(("one", "two"))]  # fmt: skip
    ends = Driver(shares, inline(2, work), observer).run()
    assert [end.failed for end in ends] == [1, 1]
    assert "model 0 of two: its worker died; retrying" in observer.notes


def test_it_may_stop_before_all_are_trained(make_run, tasks, observer, inline):
    folder = make_run(n=4)
    share = RunPlan(folder, tasks, (), [5] * 4)
    enough = lambda: "enough" if len(folder.trials()) == 2 else None  # noqa: E731
    (end,) = Driver([share], inline(1, complete), observer, enough).run()
    assert (end.total, end.complete) == (4, 2)
    assert observer.notes == ["enough"]
    # Asked again it does not begin.
    again = RunPlan(folder, tasks[2:], folder.trials(), [5] * 4)
    (end,) = Driver([again], inline(1, complete), observer, enough).run()
    assert (end.complete, end.running) == (2, 0)


def test_models_of_a_device_that_is_lost_train_with_others_again(drive, tasks, inline):
    beside = []

    def work(task):
        beside.append((task.index, len(workers.tasks)))
        tries = [index for index, _ in beside].count(task.index)
        if task.index in (0, 1) and tries == 1:
            return TaskResult(task, None, "died", suspects=2)
        if task.index == 2 and tries == 1:
            cleared = frozenset(other.position for other in tasks)
            return TaskResult(task, unusable(task), cleared=cleared)
        return complete(task)

    workers = inline(2, work)
    _, _, end = drive(workers=workers)
    assert end.complete == 4
    assert sum(others for _, others in beside[3:]) > 0  # not one by one
