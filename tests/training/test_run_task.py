"""A trial in a worker: every end of it has a state and a reason."""

import gc
import os
import resource
import weakref
from contextvars import ContextVar
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from designspace.arch.plugins import PluginFile
from designspace.data.cache import build_cache
from designspace.data.datasets import load_source
from designspace.data.decode import geometries
from designspace.data.splits import split
from designspace.runs import DataRecord, TrialState
from designspace.training import cancellation, checkpoint
from designspace.training import run_task as module
from designspace.training.run_task import run_task
from designspace.training.trainer import Trainer
from designspace.training.trial_task import Failure, TrialTask, trial_seed


@pytest.fixture
def task(images, tmp_path, recipe, small_population):
    source = load_source(f"folder:{images}")
    parts = split(source, "test")
    cache = build_cache(parts, geometries(recipe), tmp_path / "home" / "images")
    data = DataRecord(f"folder:{images}", "test", "test", 0, 2, 48, 48, cache.content)
    model = small_population(1).model(0).at(classes=2)
    file = tmp_path / "checkpoints" / "00000.pt"
    return TrialTask(
        model.body.id, 0, model, recipe, trial_seed(0, 0), cache.path, data, "cpu", file
    )


def test_a_complete_trial_records_everything(task):
    trial = run_task(task).trial
    assert trial.state is TrialState.COMPLETE
    assert trial.error == trial.curve[-1]
    assert len(trial.curve) == 3
    assert trial.seed == task.seed
    assert trial.split == "test"
    assert trial.reason == ""
    assert trial.versions["torch"] == torch.__version__
    assert set(trial.versions) == {"designspace", "torch", "python", "device", "precision"}
    assert trial.versions["device"].startswith("cpu (")


def test_the_trial_does_not_depend_on_who_ran_before(task):
    alone = run_task(task).trial
    run_task(replace(task, seed=99, checkpoint=task.checkpoint.with_name("other.pt")))
    task.checkpoint.unlink(missing_ok=True)
    assert run_task(task).trial.curve == alone.curve


def test_seeds_of_trials():
    assert trial_seed(0, 5) == trial_seed(0, 5)
    assert len({trial_seed(s, i) for s in range(30) for i in range(30)}) == 900
    assert 0 <= trial_seed(2**31, 10**6) < 2**32


def test_a_diverged_trial_counts_with_chance(task, exploding):
    trial = run_task(replace(task, recipe=exploding(task.recipe))).trial
    assert trial.state is TrialState.DIVERGED
    assert trial.error == 50.0
    assert "non-finite at step" in trial.reason


def _raises(error):
    def function(*arguments, **options):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (RuntimeError("MPS backend out of memory"), "memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
            "memory",
        ),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError("shapes don't fit\nand more"), None),
        (ZeroDivisionError("division by zero"), None),
    ],
)
def test_a_crash_is_a_failed_trial_with_its_reason(task, monkeypatch, error, failure):
    names = {"memory": Failure.OUT_OF_MEMORY, "device": Failure.DEVICE_ERROR}
    failure = names.get(failure)
    monkeypatch.setattr(Trainer, "run_epoch", _raises(error))
    outcome = run_task(task)
    assert outcome.trial.state is TrialState.FAILED
    assert outcome.trial.error is None
    assert outcome.failure is failure
    assert type(error).__name__ in outcome.trial.reason
    assert ("out of memory on cpu" in outcome.trial.reason) is (failure is Failure.OUT_OF_MEMORY)
    assert "\n" not in outcome.trial.reason


def test_a_device_that_fails_its_probe_is_unusable(task, monkeypatch):
    monkeypatch.setattr(module.device_setup, "probe", _raises(RuntimeError("busy or unavailable")))
    outcome = run_task(task)
    assert outcome.failure is Failure.DEVICE_UNUSABLE
    assert outcome.trial.reason == "RuntimeError: busy or unavailable"


def test_past_its_time_a_trial_fails_and_can_go_on(task, monkeypatch):
    undisturbed = run_task(task).trial
    task.checkpoint.unlink()
    clock = iter(np.arange(0, 10_000, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(module.time, "monotonic", lambda: float(next(clock)))
        trial = run_task(replace(task, time_limit=5.5)).trial
    assert trial.state is TrialState.FAILED
    assert trial.reason == "reached its time limit of 5.5 s in epoch 2 of 3"
    assert len(trial.curve) == 1
    assert run_task(task).trial.curve == undisturbed.curve


def _interrupted_after(task, monkeypatch, epochs):
    """Run a task until its process is gone after so many epochs."""
    run_epoch = Trainer.run_epoch

    def dies(self, batches, guard):
        if self.epochs_done == epochs:
            raise KeyboardInterrupt
        run_epoch(self, batches, guard)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", dies)
        with pytest.raises(KeyboardInterrupt):
            run_task(task)


def _epochs_of(task, monkeypatch):
    """Run a task; also return how many epochs it trained."""
    run_epoch, count = Trainer.run_epoch, []

    def counted(self, batches, guard):
        count.append(1)
        run_epoch(self, batches, guard)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", counted)
        return run_task(task).trial, len(count)


def test_a_trial_resumes_from_its_last_epoch(task, monkeypatch):
    undisturbed = run_task(task).trial
    task.checkpoint.unlink()
    _interrupted_after(task, monkeypatch, 2)
    trial, epochs = _epochs_of(task, monkeypatch)
    assert epochs == 1
    assert trial.curve == undisturbed.curve


@pytest.mark.parametrize("damage", ["torn", "foreign", "no checkpoint at all"])
def test_a_checkpoint_that_does_not_fit_is_not_used(task, monkeypatch, damage):
    _interrupted_after(task, monkeypatch, 2)
    if damage == "torn":
        task.checkpoint.write_bytes(task.checkpoint.read_bytes()[:1000])
    elif damage == "foreign":
        task = replace(task, seed=task.seed + 1)
    else:
        task.checkpoint.write_text("hello")
    assert _epochs_of(task, monkeypatch)[1] == 3


def test_steps_that_cannot_be_captured_are_reported(task, monkeypatch):
    monkeypatch.setattr(Trainer, "failed_capture", "a block reads a value")
    (note,) = run_task(task).notes
    assert note.startswith("its steps can't be captured as a CUDA graph, so that it trains more")
    assert note.endswith("slowly: a block reads a value")


def test_training_continues_without_checkpoints(task):
    task.checkpoint.parent.write_text("a file in the way")
    outcome = run_task(task)
    assert outcome.trial.state is TrialState.COMPLETE
    assert outcome.notes == (without_checkpoint(task, "File exists"),)


def without_checkpoint(task, reason):
    """What a person is told."""
    return (
        f"cannot write checkpoints in {task.checkpoint.parent} ({reason}); an interrupted trial "
        "will start over"
    )


def test_a_full_disk_leaves_the_last_checkpoint(task, monkeypatch):
    _interrupted_after(task, monkeypatch, 1)
    whole = task.checkpoint.read_bytes()

    def full(state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    outcome = run_task(task)
    assert outcome.trial.state is TrialState.COMPLETE
    assert outcome.notes == (without_checkpoint(task, "No space left on device"),)
    assert task.checkpoint.read_bytes() == whole
    assert list(task.checkpoint.parent.iterdir()) == [task.checkpoint]


def test_a_device_that_fails_while_a_checkpoint_is_written_is_no_full_disk(task, monkeypatch):
    monkeypatch.setattr(checkpoint.torch, "save", _raises(RuntimeError("CUDA error: assert")))
    outcome = run_task(task)
    assert outcome.failure is Failure.DEVICE_ERROR
    assert not outcome.notes


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.8, 0.999])
def test_a_truncated_file_is_reported_without_torchs_message(task, share):
    checkpoint.save(task.checkpoint, "whole", {"weights": torch.zeros(10_000)})
    room = int(share * task.checkpoint.stat().st_size)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match=r"^\[Errno 27\] File too large$"):
            checkpoint.save(task.checkpoint, "new", {"weights": torch.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoint.load(task.checkpoint, "whole", torch.device("cpu")) is not None


def test_a_pipe_in_place_of_a_checkpoint_is_not_waited_for(task):
    task.checkpoint.parent.mkdir()
    os.mkfifo(task.checkpoint)
    outcome = run_task(task)
    assert outcome.trial.state is TrialState.COMPLETE
    assert "is damaged or of another trial; training starts over" in outcome.notes[0]


@pytest.fixture
def elsewhere(task, tmp_path):
    """The task as a worker on another machine gets it."""
    home = tmp_path / "another machine"
    return replace(task, cache=None, checkpoint=None, home=home, image_results=True)


def test_a_worker_elsewhere_decodes_for_itself(task, elsewhere):
    here, there = run_task(task).trial, run_task(replace(elsewhere, device="auto")).trial
    assert there.curve == here.curve


def test_a_trial_elsewhere_is_not_lost_with_its_driver(elsewhere, monkeypatch):
    """The last checkpoint stays, and holds all of the outcome, until the trial is written."""
    first = run_task(elsewhere)
    again = run_task(elsewhere)
    assert _epochs_of(elsewhere, monkeypatch)[1] == 0
    assert (again.trial.state, again.trial.curve) == (TrialState.COMPLETE, first.trial.curve)
    assert np.array_equal(again.correct, first.correct)
    assert again.trial.seconds >= first.trial.seconds
    module.remove_checkpoint(elsewhere)
    assert list((elsewhere.home / "checkpoints").iterdir()) == []
    module.remove_checkpoint(elsewhere)


@pytest.mark.parametrize("what", ["other images", "no folder", "a broken library"])
def test_images_that_cannot_be_read_are_not_the_models_fault(elsewhere, monkeypatch, what):
    data = elsewhere.data
    if what == "other images":
        data, reason = replace(data, content="0" * 20), f"the images of {data.source} on "
    elif what == "no folder":
        data, reason = replace(data, source="folder:/no/such"), "data is 'folder:/no/such'"
    else:
        monkeypatch.setattr(module, "prepare_images", _raises(AssertionError("no children")))
        reason = "AssertionError: no children"
    outcome = run_task(replace(elsewhere, data=data))
    assert outcome.trial.state is TrialState.FAILED
    assert outcome.failure is Failure.WORKER_UNREADY
    assert outcome.trial.reason.startswith(reason)


def test_images_that_do_not_fit_in_memory_are_tried_again_alone(task, monkeypatch):
    monkeypatch.setattr(module, "Batches", _raises(MemoryError()))
    assert run_task(task).failure is Failure.OUT_OF_MEMORY


def test_a_damaged_cache_is_not_the_models_fault(task):
    (task.cache / "train.npy").write_bytes(b"")
    outcome = run_task(task)
    assert outcome.failure is Failure.WORKER_UNREADY
    assert outcome.trial.reason.startswith(f"the image cache {task.cache} is damaged")


def test_a_cancelled_task_stops_before_its_next_step_and_can_go_on(elsewhere, monkeypatch):
    undisturbed = run_task(elsewhere).trial
    module.remove_checkpoint(elsewhere)
    answers = iter([False] * 4 + [True])  # of three steps an epoch
    with monkeypatch.context() as patch:
        patch.setattr(cancellation, "_IS_CANCELLED", ContextVar("test", default=answers.__next__))
        with pytest.raises(cancellation.TaskCancelled):
            run_task(elsewhere)
    trial, epochs = _epochs_of(elsewhere, monkeypatch)
    assert epochs == 2
    assert trial.curve == undisturbed.curve


def test_the_words_of_a_recipe_change_no_training(task):
    reworded = replace(task, recipe=replace(task.recipe, name="mine", about="Other words."))
    assert reworded.key == task.key
    assert replace(task, recipe=replace(task.recipe, lr=0.2)).key != task.key


def test_another_text_of_a_plugin_trains_from_the_start(task, monkeypatch):
    first, second = (
        replace(task, block=PluginFile("mine.py", text)) for text in ("x = 1", "x = 2")
    )
    assert first.key != second.key
    # A block that is registered has no text: its layers tell.
    undisturbed = run_task(task).trial
    task.checkpoint.unlink()
    _interrupted_after(task, monkeypatch, 2)
    state = checkpoint.load(task.checkpoint, task.key, torch.device("cpu"))
    renamed = {f"old.{name}": value for name, value in state["network"].items()}
    checkpoint.save(task.checkpoint, task.key, {**state, "network": renamed})
    outcome = run_task(task)
    assert outcome.trial.curve == undisturbed.curve
    assert "has other layers, as the code of the block changed; training starts" in outcome.notes[0]


def test_a_finished_trial_frees_its_trainer(task, monkeypatch):
    """Static epochs and graphs refer to the trainer; on a GPU they hold the activations."""
    trainers = []

    class Static(Trainer):
        def __init__(self, *args):
            super().__init__(*args, static=True)
            trainers.append(weakref.ref(self))

    monkeypatch.setattr(module, "Trainer", Static)
    gc.disable()
    try:
        assert run_task(task).trial.state is TrialState.COMPLETE
        monkeypatch.setattr(Static, "measure", lambda *_: 1 / 0)
        other = replace(task, checkpoint=task.checkpoint.with_name("other.pt"))
        assert run_task(other).trial.state is TrialState.FAILED
        assert [trainer() for trainer in trainers] == [None, None]
    finally:
        gc.enable()


def test_a_plugin_that_fails_on_a_worker_is_not_the_models_fault(elsewhere):
    block = PluginFile("/no/such/mine.py", "import a_library_of_another_machine")
    outcome = run_task(replace(elsewhere, block=block))
    assert outcome.failure is Failure.WORKER_UNREADY
    assert "No module named 'a_library_of_another_machine'" in outcome.trial.reason


def test_a_gpu_that_has_computed_is_not_unusable(task, monkeypatch):
    """A sticky error of one model fails the probes of those that begin after it."""
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(module, "_PROBED", {gpu})
    monkeypatch.setattr(module.devices, "resolve_devices", lambda name: ("cuda:0",))
    monkeypatch.setattr(module.devices, "claim_device", lambda names: "cuda:0")
    monkeypatch.setattr(module.device_setup, "choose_precision", lambda *_: "fp32")
    monkeypatch.setattr(module.device_setup, "prepare", _raises(RuntimeError("CUDA error: assert")))
    assert run_task(task).failure is Failure.DEVICE_ERROR
    module._PROBED.clear()
    assert run_task(task).failure is Failure.DEVICE_UNUSABLE


def test_images_that_were_corrected_are_decoded_again(elsewhere, monkeypatch):
    """A worker of Dask outlives the run that it decoded the images for."""
    stale, decoded = replace(elsewhere, data=replace(elsewhere.data, content="stale")), []
    prepare = module.prepare_images

    def prepare_images(*args, **options):
        images = prepare(*args, **options)
        decoded.append(images)
        if len(decoded) == 1:
            return SimpleNamespace(cache=replace(images.cache, content="stale"))
        return images

    module._decode_images.cache_clear()
    monkeypatch.setattr(module, "prepare_images", prepare_images)
    assert run_task(replace(stale, checkpoint=None)).trial.state is TrialState.COMPLETE
    assert run_task(elsewhere).trial.state is TrialState.COMPLETE
    assert len(decoded) == 2
