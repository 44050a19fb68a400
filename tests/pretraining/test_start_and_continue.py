"""Starting from weights, continuing a finished run, accumulation and compilation."""

import copy
import functools
import shutil
import weakref

import numpy as np
import pytest
import torch
from small import SMALL
from torch.nn import functional

import designspace as ds
from designspace.arch import Body, Model
from designspace.errors import Diverged, InputError
from designspace.evaluation.backbone import load_backbone
from designspace.networks import build
from designspace.networks.fused_blocks import FusedBatchNorm
from designspace.pretraining import pretrain as loop
from designspace.pretraining import swav_trainer
from designspace.pretraining.distributed import ProcessGroupInfo, process_group
from designspace.pretraining.epoch_monitor import EpochMonitor
from designspace.pretraining.initial_weights import load_initial_weights
from designspace.pretraining.lr_schedule import learning_rate
from designspace.pretraining.multicrop import CropMaker, draw_crops
from designspace.pretraining.pretrain import PretrainObserver, pretrain
from designspace.pretraining.pretrain_run import DataStamp, PretrainRun
from designspace.pretraining.recipe import load_recipe, parse_recipe
from designspace.pretraining.status import pretraining_status
from designspace.pretraining.swav_trainer import SwavTrainer

CPU = ProcessGroupInfo(torch.device("cpu"))


class Notes(PretrainObserver):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Pretrain the small trunk on digits; large batches make an epoch short."""
    home = tmp_path_factory.mktemp("start")

    def run(out, **options):
        base = {"data": "digits", "recipe": load_recipe("quick"), "epochs": 1, "batch_size": 256}
        base |= {"threads": 1, "cache": home / "cache", "device": "cpu"}
        return pretrain(SMALL, out=home / out, **(base | options))

    run("first")
    run.home = home
    return run


def test_a_finished_run_continues_on_the_schedule_of_more_epochs(train):
    observer = Notes()
    train("longer", epochs=2)
    train("longer", epochs=4, observer=observer)
    kept = train.home / "longer" / "trunk-2-epochs.pt"
    assert any("a finished run of 2 epochs continues to 4" in note for note in observer.notes)
    assert any(f"is kept as {kept}" in note for note in observer.notes)
    assert kept.is_file()
    run, per_epoch = PretrainRun(train.home / "longer"), 1438 // 256
    steps = run.steps()
    assert [s["iteration"] for s in steps] == list(range(1, 4 * per_epoch + 1))
    assert [e["epoch"] for e in run.epochs()] == [1, 2, 3, 4]
    recipe = run.recipe()
    for i, step in enumerate(steps):
        own = recipe.model_copy(update={"epochs": 2 if i < 2 * per_epoch else 4})
        assert step["lr"] == learning_rate(own, i, per_epoch), i
    train("longer", epochs=4)  # resumes: finished
    with pytest.raises(InputError, match="epochs: 2, 4"):
        train("longer", epochs=2)


def test_an_unfinished_run_keeps_its_epochs(train):
    train("stopped", epochs=1)
    run = PretrainRun(train.home / "stopped")
    run.epochs_file.unlink()
    with pytest.raises(InputError, match="epochs: 3, 1"):
        train("stopped", epochs=3)


def test_only_the_number_of_epochs_may_change(tmp_path):
    recipe = load_recipe("swav").model_copy(update={"epochs": 1})
    mean = [1.0, 2.0, 3.0]
    stamp = DataStamp(source="digits", images=9, content="0", mean=mean, std=mean, seed=0)
    run = PretrainRun(tmp_path)
    run.begin(SMALL, recipe, stamp)
    run.append_epoch({"epoch": 1})
    longer = recipe.model_copy(update={"epochs": 2, "warmup_epochs": 7.0})
    with pytest.raises(InputError, match=r"[(]warmup_epochs: 7\.0, 10\.0;"):
        run.begin(SMALL, longer, stamp)


def test_an_epoch_that_was_saved_but_not_measured_is_measured_by_the_next_call(train, monkeypatch):
    """Killed while measuring each of two epochs, the last one too."""
    train("undisturbed", epochs=2)
    plain = EpochMonitor.measure
    monkeypatch.setattr(loop, "_SAVE_SECONDS", -1.0)  # checkpoints are due all the time
    for killed in (1, 2):

        def dies(self, network, epoch, *args, killed=killed):
            if epoch == killed:
                raise KeyboardInterrupt
            return plain(self, network, epoch, *args)

        monkeypatch.setattr(EpochMonitor, "measure", dies)
        with pytest.raises(KeyboardInterrupt):
            train("unmeasured", epochs=2)
        assert len(PretrainRun(train.home / "unmeasured").epochs()) == killed - 1
        assert "not running" in str(pretraining_status(train.home / "unmeasured"))
    monkeypatch.setattr(EpochMonitor, "measure", plain)
    train("unmeasured", epochs=2)
    run, other = (PretrainRun(train.home / name) for name in ("unmeasured", "undisturbed"))
    assert run.steps() == other.steps()
    clocked = ("images_per_second", "crop_share", "alarms")
    mine, theirs = ([{**e, **dict.fromkeys(clocked)} for e in r.epochs()] for r in (run, other))
    assert mine == theirs
    assert all(epoch["images_per_second"] > 0 for epoch in run.epochs())


def test_weights_that_are_not_finite_are_not_saved(train, monkeypatch):
    """After the last step of an epoch, before a loss shows it."""
    plain = SwavTrainer.step

    def overflows(self, crops):
        done = plain(self, crops)
        if self.iteration == 5:
            next(self.network.trunk.parameters()).data.fill_(float("inf"))
        return done

    monkeypatch.setattr(SwavTrainer, "step", overflows)
    said = "weights became non-finite at iteration 5 .epoch 1, .*there is no checkpoint before it"
    with pytest.raises(Diverged, match=said):
        train("overflow", epochs=2)
    run = PretrainRun(train.home / "overflow")
    assert not run.has_checkpoint
    assert [step["iteration"] for step in run.steps()] == [1, 2, 3, 4, 5]


class FailingLogger:
    """A server that is down, each time in other words."""

    calls, closed = 0, False

    def scalars(self, values, step):
        FailingLogger.calls += 1
        raise ConnectionError(f"no answer, {FailingLogger.calls}")

    text = scalars

    def close(self):
        FailingLogger.closed = True


def test_a_logger_that_fails_does_not_end_a_pretraining(train, monkeypatch):
    observer = Notes()
    train("logged", observer=observer, log=(FailingLogger(),))
    (note,) = [text for text in observer.notes if "no answer" in text]
    assert note == (
        "FailingLogger (log[0]) does not log everything, but the journals do: "
        "ConnectionError: no answer, 1"
    )
    assert FailingLogger.calls > 1
    assert FailingLogger.closed
    FailingLogger.closed = False
    monkeypatch.setattr(EpochMonitor, "measure", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train("failed", log=(FailingLogger(),))
    assert FailingLogger.closed


def test_a_run_starts_from_another_with_head_and_prototypes(train):
    first = PretrainRun(train.home / "first").load(torch.device("cpu"))[0]["network"]
    initial = load_initial_weights(train.home / "first", SMALL, load_recipe("quick"))
    assert set(initial.state) == set(first)
    assert all(torch.equal(initial.state[key], first[key]) for key in first)
    train("second", weights=train.home / "first")
    run = PretrainRun(train.home / "second")
    assert run.start().source.endswith("first, iteration 5")
    # The prototypes are trained further, so the loss is below that of random weights.
    random = PretrainRun(train.home / "first").epochs()[0]["loss"]
    assert run.epochs()[0]["loss"] < random
    with pytest.raises(InputError, match=r"weights: random, .*first"):
        train("second")
    train("second", weights=train.home / "first")


def test_a_resumed_run_does_not_need_the_weights_that_it_started_from(train):
    source = train.home / "source"
    shutil.copytree(train.home / "first", source)
    train("resumed", weights=source, epochs=2)
    run = PretrainRun(train.home / "resumed")
    before = run.steps()
    train("source", epochs=2)  # its newest checkpoint is another one now
    train("resumed", weights=source, epochs=2)
    shutil.rmtree(source)
    train("resumed", weights=source, epochs=3)
    assert run.steps()[: len(before)] == before
    assert [e["epoch"] for e in run.epochs()] == [1, 2, 3]
    train("other", seed=1)
    with pytest.raises(InputError, match=r"weights: .*other, iteration 5, .*source, iteration 5"):
        train("resumed", weights=train.home / "other", epochs=3)
    for file in run.path.glob("checkpoint*"):
        file.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"another folder to start again from .*sou"):
        train("resumed", weights=source, epochs=3)
    for file in run.path.glob("checkpoint*"):
        file.unlink()
    with pytest.raises(InputError, match="no file "):
        train("resumed", weights=source, epochs=3)


def test_another_head_starts_at_random(train):
    recipe = parse_recipe(load_recipe("quick").to_dict() | {"prototypes": 32}, "mine")
    initial = load_initial_weights(train.home / "first", SMALL, recipe)
    assert {key.split(".")[0] for key in initial.state} == {"trunk"}
    assert "head and prototypes start from random weights" in initial.notes[0]


def test_a_torchvision_trunk_is_taken_and_its_classifier_left_out(train, tmp_path):
    network = build(SMALL.at(classes=7))
    torch.save(network.state_dict(), tmp_path / "tv.pt")
    initial = load_initial_weights(tmp_path / "tv.pt", SMALL, load_recipe("quick"))
    trainer = SwavTrainer(SMALL, load_recipe("quick"), 10, 0, CPU)
    trainer.start_from(initial.state)
    for key, value in trainer.network.trunk.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key


def test_weights_that_do_not_fit_are_refused(train, tmp_path):
    wide = Model("wide", Body((1, 1), (16, 16), (1.0, 1.0), (8, 8), 0.25), SMALL.skeleton)
    with pytest.raises(InputError, match=r"of another trunk: small \(depths .* wide \("):
        load_initial_weights(train.home / "first", wide, load_recipe("quick"))
    torch.save(build(wide).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(InputError, match=r"weights is .*wide\.pt.* shapes differ"):
        load_initial_weights(tmp_path / "wide.pt", SMALL, load_recipe("quick"))
    torch.save({"conv": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="none of its keys is one of a RegNet"):
        load_initial_weights(tmp_path / "other.pt", SMALL, load_recipe("quick"))
    with pytest.raises(InputError, match=r"weights is '/nowhere\.pt': no file"):
        load_initial_weights("/nowhere.pt", SMALL, load_recipe("quick"))
    (tmp_path / "population").mkdir()
    (tmp_path / "population" / "population.jsonl").write_text("")
    with pytest.raises(InputError, match=r"weights is .*the run of a population, which keeps no"):
        load_initial_weights(tmp_path / "population", SMALL, load_recipe("quick"))


def steps(count, records, compiled=False, **changes):
    settings = {"batch_size": 16, "freeze_prototypes": 0, "warmup_iterations": 0, "lr": 0.05}
    recipe = parse_recipe(load_recipe("quick").to_dict() | settings | changes, "test")
    trainer = SwavTrainer(SMALL, recipe, 10, 0, CPU, compiled=compiled)
    maker = CropMaker(recipe, (120.0,) * 3, (60.0,) * 3)
    losses = [
        trainer.step(maker(records, draw_crops(recipe, 16, len(records), 0, i)))[0].item()
        for i in range(count)
    ]
    return losses, trainer


@pytest.fixture
def records():
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (16, 16, 16, 3), dtype=torch.uint8, generator=g)


def test_accumulated_gradients_are_the_mean_of_the_parts(records):
    """By hand: two parts of 8 images, each with its own BatchNorm statistics and codes."""
    losses, trainer = steps(1, records, accumulate=2, queue={"length": 32})
    halves = []
    alone = SwavTrainer(SMALL, trainer._recipe, 10, 0, CPU)
    alone.network.normalize_prototypes()
    crops = CropMaker(trainer._recipe, (120.0,) * 3, (60.0,) * 3)(
        records, draw_crops(trainer._recipe, 16, 16, 0, 0)
    )
    for rows in (slice(0, 8), slice(8, 16)):
        part = [torch.cat([c[rows] for c in sized.split(16)]) for sized in crops]
        halves.append(2 * alone._backward(part, last=True)[0].item())
    assert losses[0] == pytest.approx(sum(halves) / 2, rel=1e-5)
    gradient = dict(alone.network.named_parameters())["head.0.weight"].grad
    momentum = trainer.state()["momentum"]["head.0.weight"]
    decayed = gradient + trainer._recipe.weight_decay * alone.network.head[0].weight
    assert torch.allclose(momentum, decayed, atol=1e-6)
    assert trainer._queue_state()["filled"] == 16


def test_accumulate_has_to_divide_the_batch():
    with pytest.raises(InputError, match="accumulate is 3; batch_size, 128, must be a multiple"):
        load_recipe("quick").override(accumulate=3)


def test_a_compiled_trunk_trains_alike(records, monkeypatch):
    """Without the code generator, which takes minutes; what it compiles is the same graph."""
    eager, plain = steps(3, records)
    traced = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", traced)
    compiled, trainer = steps(3, records, compiled=True)
    assert compiled == pytest.approx(eager, rel=1e-4)
    assert trainer.network.state_dict().keys() == plain.network.state_dict().keys()
    with pytest.raises(InputError, match="exclude each other"):
        steps(1, records, compiled=True, checkpoint_after="block")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_code_trains_alike(records):
    eager, _ = steps(3, records)
    compiled, _ = steps(3, records, compiled=True)
    assert compiled == pytest.approx(eager, rel=1e-3)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_fused_trunk_trains_alike(records, monkeypatch, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    losses, trainer = steps(3, records)
    fused = any(isinstance(m, FusedBatchNorm) for m in trainer.network.trunk.modules())
    assert fused == (threads == 1)
    monkeypatch.setattr(swav_trainer, "fuse_for_cpu", lambda trunk, model: None)
    plain, other = steps(3, records)
    assert losses == pytest.approx(plain, rel=1e-4)
    assert trainer.network.state_dict().keys() == other.network.state_dict().keys()


def test_nothing_is_trained_anew_where_checkpoints_cannot_be_read(train, monkeypatch):
    """Two saves later the healthy ones would be gone."""
    train("unread")
    run = PretrainRun(train.home / "unread")
    before = {path.name: path.read_bytes() for path in run.path.glob("checkpoint*")}
    recipe = (run.path / "recipe.yaml").read_bytes()
    with monkeypatch.context() as patch:

        def load(*args, **kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory")

        patch.setattr(torch, "load", load)
        with pytest.raises(torch.OutOfMemoryError):
            train("unread", epochs=2)
    assert {path.name: path.read_bytes() for path in run.path.glob("checkpoint*")} == before
    for name in before:
        (run.path / name).unlink()
    with pytest.raises(InputError, match="has trained before, but no undamaged checkpoint"):
        train("unread", epochs=2)
    assert (run.path / "recipe.yaml").read_bytes() == recipe
    assert pretraining_status(run.path).finished
    assert load_backbone(run.path, None, None).source.startswith(str(run.trunk_file))


def test_a_loaded_checkpoint_is_not_kept(train, monkeypatch):
    train("kept")
    loaded, alive = [], []
    load, epoch = PretrainRun.load, loop._Loop._epoch

    def noted(self, *args):
        state, notes = load(self, *args)
        loaded.append(weakref.ref(state["network"]["prototypes.weight"]))
        return state, notes

    def watched(self):
        alive.append([reference() is not None for reference in loaded])
        epoch(self)

    monkeypatch.setattr(PretrainRun, "load", noted)
    monkeypatch.setattr(loop._Loop, "_epoch", watched)
    train("kept", epochs=2)
    assert alive == [[False]]


def test_layers_that_draw_random_numbers_draw_the_same_after_an_interruption():
    recipe = load_recipe("quick").override(batch_size=8)

    def trainer():
        one = SwavTrainer(SMALL, recipe, 10, 0, CPU)
        one.network.trunk.register_forward_hook(
            lambda module, inputs, features: functional.dropout(features, 0.5)
        )
        return one

    generator = torch.Generator().manual_seed(0)
    crops = [torch.rand(2 * 8, 3, side, side, generator=generator) for side in (16, 12)]
    whole, first, second = trainer(), trainer(), trainer()
    losses = [whole.step(crops)[0].item() for _ in range(4)]
    parts = [first.step(crops)[0].item() for _ in range(2)]
    second.restore(copy.deepcopy(first.state()))
    torch.manual_seed(99)
    parts += [second.step(crops)[0].item() for _ in range(2)]
    assert parts == losses


def test_numbers_of_numpy_are_taken_as_they_are(train):
    result = ds.pretrain(
        SMALL,
        data="digits",
        out=train.home / "numpy",
        epochs=np.int64(1),
        batch_size=np.int32(256),
        seed=np.int64(1),
        lr=np.float32(0.5),
        threads=1,
        device="cpu",
        cache=train.home / "cache",
        progress=False,
    )
    assert result.record["epoch"] == 1


def test_processes_without_a_local_rank_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with (
        pytest.raises(InputError, match="LOCAL_RANK is not set: start the processes by torchrun"),
        process_group("cpu"),
    ):
        pass
