"""Pretraining as a whole: journal, checkpoints, kill -9 and going on, alarms, refusals."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from small import SMALL

from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.export.convert_weights import read_weights
from designspace.pretraining import diagnostics
from designspace.pretraining import pretrain as run
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.knn import knn_accuracy
from designspace.pretraining.pretrain_run import PretrainRun
from designspace.pretraining.recipe import load_recipe, parse_recipe, shipped_recipes
from designspace.pretraining.sinkhorn import codes
from designspace.pretraining.swav_trainer import SwavTrainer


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, a recipe with a queue, and a shared image cache."""
    home = tmp_path_factory.mktemp("pretrain")
    write_model(SMALL, home / "model.yaml")
    recipe = load_recipe("quick").to_dict()
    recipe |= {"queue": {"length": 256, "from_epoch": 1}, "epochs": 4, "knn_every": 2}
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return home


def words(place, out, *more):
    return [
        "pretrain",
        str(place / "model.yaml"),
        "--data",
        "digits",
        "--recipe",
        str(place / "recipe.yaml"),
        "--out",
        str(place / out),
        "--cache",
        str(place / "cache"),
        "--threads",
        "1",
        *more,
    ]


@pytest.fixture(scope="module")
def whole(place, command):
    """A run that was not interrupted."""
    done = command(*words(place, "whole"))
    assert done.code == 0, done.err
    assert "loss" in done.out
    return PretrainRun(place / "whole")


def test_journals_hold_every_iteration_and_epoch(whole):
    steps, epochs = whole.steps(), whole.epochs()
    assert [s["iteration"] for s in steps] == list(range(1, 45))  # 1438 // 128 * 4
    assert [e["epoch"] for e in epochs] == [1, 2, 3, 4]
    mean = sum(s["loss"] for s in steps[33:]) / 11
    assert epochs[3]["loss"] == pytest.approx(mean)
    assert [("knn" in e) for e in epochs] == [False, True, False, True]
    assert 0 < epochs[3]["knn"] <= 100
    assert steps[29]["lr"] == pytest.approx(0.8)


def test_trunk_file_fits_the_model(whole):
    weights = read_weights(whole.trunk_file, SMALL)
    assert not weights.classifier


@pytest.mark.slow
def test_killed_and_run_again_gives_the_same_losses_and_weights(place, whole):
    out = PretrainRun(place / "killed")
    command = [sys.executable, "-m", "designspace", *words(place, "killed")]
    for epochs in (1, 3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if out.path.is_dir() and len(out.epochs()) >= epochs:
                break
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "loss" in again.stdout
    assert out.steps() == whole.steps()
    clocked = ("images_per_second", "crop_share", "alarms")  # one of which is about time
    for mine, theirs in zip(out.epochs(), whole.epochs(), strict=True):
        assert {k: v for k, v in mine.items() if k not in clocked} == {
            k: v for k, v in theirs.items() if k not in clocked
        }
    a, _ = out.load(torch.device("cpu"))
    b, _ = whole.load(torch.device("cpu"))
    assert torch.equal(a["queue"]["rows"], b["queue"]["rows"])
    for key, tensor in a["network"].items():
        assert torch.equal(tensor, b["network"][key]), key


def test_a_torn_checkpoint_is_reported_and_the_one_before_is_used(place, whole, cli):
    out = PretrainRun(place / "torn")
    subprocess.run(["cp", "-r", str(whole.path), str(out.path)], check=True)
    file = out.path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:1000])
    done = cli(*words(place, "torn"))
    assert done.code == 0
    assert "checkpoint.pt is damaged" in done.err
    assert "the previous one is used" in done.err
    assert out.steps() == whole.steps()


def test_another_pretraining_in_the_folder_is_refused(place, whole, refused):
    said = refused(*words(place, "whole", "--lr", "0.1"))
    assert "lr: 0.1, 0.8" in said
    assert "pass another folder" in said
    assert "seed: 5, 0" in refused(*words(place, "whole", "--seed", "5"))


def test_bad_requests_are_refused(place, refused):
    assert "has only 1,438 training images" in refused(
        "pretrain", place / "model.yaml", "--data", "digits", "--batch-size", "4096",
        "--out", place / "x", "--cache", place / "cache",
    )  # fmt: skip
    said = refused(*words(place, "x", "--batch-size", "100"))
    assert "quick with overrides: queue.length is 256; it must be a multiple of" in said
    assert "no CUDA device" in refused(*words(place, "x", "--device", "cuda")) or (
        torch.cuda.is_available()
    )
    assert "--out is missing" in refused("pretrain", place / "model.yaml", "--data", "digits")
    assert "--data is missing" in refused("pretrain", place / "model.yaml")


def test_a_loss_that_is_not_finite_stops_and_says_what_to_do(place, cli, monkeypatch):
    from designspace.pretraining import swav_trainer as training

    plain, calls = training.swapped_prediction, []

    def breaking(*args):
        calls.append(1)
        return plain(*args) * (float("nan") if len(calls) > 15 else 1.0)

    monkeypatch.setattr(training, "swapped_prediction", breaking)
    done = cli(*words(place, "nan"))
    assert done.code == 1
    assert "non-finite at iteration 16 (epoch 2, learning rate" in done.err
    assert "smaller lr" in done.err
    assert "Traceback" not in done.err
    kept = PretrainRun(place / "nan")
    assert [s["iteration"] for s in kept.steps()][-1] == 15
    assert kept.load(torch.device("cpu"))[0]["iteration"] == 11


def test_alarms_name_collapse_in_plain_words():
    recipe = load_recipe("quick")
    fine = {"loss": 3.0, "prototypes_used": 60, "feature_std": 0.4, "crop_share": 0.2}
    assert diagnostics.training_alarms(recipe, 11, 100, fine) == {}
    stuck = diagnostics.training_alarms(recipe, 11, 100, {**fine, "loss": 4.1588})
    assert "no better than ln 64 = 4.159" in stuck["stuck"]
    above = diagnostics.training_alarms(recipe, 11, 100, {**fine, "loss": 5.5})
    assert list(above) == ["above"]
    assert "the loss is 5.500, above ln 64 = 4.159" in above["above"]
    assert (
        diagnostics.training_alarms(recipe, 11, 20, {**fine, "loss": 4.1588}) == {}
    )  # still warming up
    assert (
        "only 1 of 64"
        in diagnostics.training_alarms(recipe, 11, 100, {**fine, "prototypes_used": 1})[
            "prototypes"
        ]
    )
    assert (
        "nearly identical"
        in diagnostics.training_alarms(recipe, 11, 100, {**fine, "feature_std": 0.01})["spread"]
    )
    assert (
        "waits for data"
        in diagnostics.training_alarms(recipe, 11, 100, {**fine, "crop_share": 0.7})["starved"]
    )


def test_a_training_of_one_epoch_is_watched():
    recipe = load_recipe("seer-256gf")
    assert recipe.epochs == 1
    per_epoch = recipe.images // recipe.batch_size
    bad = {"loss": 50.0, "prototypes_used": 1, "feature_std": 0.0, "crop_share": 0.2}
    bad |= {"rankme": 1.0, "rank_limit": 512}
    assert diagnostics.training_alarms(recipe, per_epoch, 10_000, bad) == {}
    alarms = diagnostics.training_alarms(recipe, per_epoch, per_epoch // 5, bad)
    assert list(alarms) == ["above", "prototypes", "spread", "rank"]


def test_the_rank_of_a_long_epoch_is_measured_before_its_end(place, cli, monkeypatch):
    monkeypatch.setattr(run, "_ALARMS_EVERY", 4)
    monkeypatch.setattr(run, "_SPECTRUM_EVERY", 8)
    seen = {}
    monkeypatch.setattr(run, "training_alarms", lambda *a: seen.update({a[2]: a[3]}) or {})
    assert cli(*words(place, "ranks", "--epochs", "1")).code == 0
    measured = {step: "rankme" in record for step, record in seen.items()}
    assert measured == {4: False, 8: True, 11: True}
    assert seen[8]["rank_limit"] == seen[11]["rank_limit"]


def test_a_scaler_without_a_state_starts_anew(whole):
    state, _ = whole.load(torch.device("cpu"))
    assert state["scaler"] == {}
    trainer = SwavTrainer(
        whole.model(), whole.recipe(), 11, 0, ProcessGroupInfo(torch.device("cpu"))
    )
    trainer._scaler = torch.amp.GradScaler("cpu", enabled=True)
    trainer.restore(state)
    assert trainer.iteration == state["iteration"]


def test_more_prototypes_than_embeddings_is_reported():
    recipe = load_recipe("quick")
    assert diagnostics.recipe_warnings(recipe, 11) == []
    (said,) = diagnostics.recipe_warnings(recipe.model_copy(update={"prototypes": 3000}), 11)
    assert "3000 prototypes share 128 embeddings per iteration" in said
    # Codes are computed for each part of an accumulated batch.
    (said,) = diagnostics.recipe_warnings(recipe.model_copy(update={"accumulate": 4}), 11)
    assert "64 prototypes share 32 embeddings per part (accumulate is 4)" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 2}, "the warm-up takes 30 iterations and training has 22"),
        ({"freeze_prototypes": 440}, "frozen for 440 iterations and training has 440"),
        ({"queue": {"length": 256, "from_epoch": 40}}, "full after iteration 442 and training has"),
        ({"queue": {"length": 128 * 440, "from_epoch": 0}}, "the queue would be full after it"),
        ({"sinkhorn": {"epsilon": 0.001, "iterations": 3}}, "sinkhorn.epsilon 0.001 is so small"),
    ],
)
def test_unused_parts_of_a_recipe_are_reported(changes, said):
    recipe = parse_recipe(load_recipe("quick").to_dict() | changes, "mine.yaml")
    assert any(said in text for text in diagnostics.recipe_warnings(recipe, 11))


def test_no_shipped_recipe_has_an_idle_part():
    for name in shipped_recipes():
        recipe = load_recipe(name)
        images = recipe.images or (1438 if name == "quick" else 1_281_167)
        found = diagnostics.recipe_warnings(recipe, images // recipe.batch_size)
        assert [text for text in found if "prototypes share" not in text] == [], name


def test_below_that_epsilon_codes_come_from_rounding():
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert codes(scores, 0.0101, 1)[0, 1] > 0
    assert codes(scores, 0.0096, 1)[0, 1] == 0


def test_a_long_epoch_is_looked_at_before_its_end(place, cli, monkeypatch):
    monkeypatch.setattr(run, "_ALARMS_EVERY", 4)
    always = {"stuck": "the loss stands still"}
    monkeypatch.setattr(run, "training_alarms", lambda *seen: always if seen[2] < 11 else {})
    done = cli(*words(place, "long", "--epochs", "1"))
    assert done.code == 0, done.err
    told = [line.strip() for line in done.err.splitlines() if "alarm" in line.lower()]
    assert told == ["ALARM (stuck): the loss stands still", "alarm over (stuck)"]
    assert PretrainRun(place / "long").epochs()[0]["alarms"] == {}


def test_resuming_is_reported_and_tensorboard_has_every_iteration(place, cli, whole):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = PretrainRun(place / "board")
    subprocess.run(["cp", "-r", str(whole.path), str(out.path)], check=True)
    for name in ("checkpoint.pt", "checkpoint.before.pt", "epochs.jsonl"):
        (out.path / name).unlink()
    done = cli(*words(place, "board", "--tensorboard"))
    assert done.code == 0, done.err
    events = reader.EventAccumulator(str(out.path / "tensorboard"))
    events.Reload()
    written = [(e.step, e.value) for e in events.Scalars("step/loss")]
    expected = [(s["iteration"], pytest.approx(s["loss"])) for s in whole.steps()]
    assert written == expected
    knn = [(e.step, e.value) for e in events.Scalars("epoch/knn")]
    assert knn == [(e["iteration"], pytest.approx(e["knn"])) for e in whole.epochs() if "knn" in e]
    again = cli(*words(place, "board", "--tensorboard"))
    assert "44 of 44 iterations were done before: finished" in again.err


def test_knn_votes_are_weighted():
    bank = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1, 1])
    queries = torch.tensor([[1.0, 0.05], [0.1, 1.0]])
    assert knn_accuracy(bank, labels, queries, torch.tensor([0, 1]), 2, k=1) == 100
    assert knn_accuracy(bank, labels, queries, torch.tensor([1, 1]), 2, k=1) == 50


def test_slow_twin_of_knn():
    g = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(80, 5, generator=g), torch.randn(30, 5, generator=g)
    labels, truth = (torch.randint(0, 3, (n,), generator=g) for n in (80, 30))
    right = 0
    for q, t in zip(queries, truth, strict=True):
        near = sorted(
            (
                (torch.cosine_similarity(q, b, dim=0).item(), int(y))
                for b, y in zip(bank, labels, strict=True)
            ),
            reverse=True,
        )[:7]
        votes = [
            sum(torch.exp(torch.tensor(s / 0.1)).item() for s, y in near if y == c)
            for c in range(3)
        ]
        right += votes.index(max(votes)) == int(t)
    assert knn_accuracy(bank, labels, queries, truth, 3, k=7) == pytest.approx(100 * right / 30)


def test_damaged_recipe_of_a_run_is_refused(place, whole, tmp_path):
    (tmp_path / "recipe.yaml").write_text("recipe: {name: x}\n")
    with pytest.raises(InputError, match="missing"):
        PretrainRun(tmp_path).recipe()


def test_json_end_is_the_last_epoch(place, whole, cli):
    done = cli(*words(place, "whole", "--json"))
    assert json.loads(done.out)["epoch"] == 4
