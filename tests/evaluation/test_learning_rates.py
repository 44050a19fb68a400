"""Learning rates that every network chooses alike, on its own labels."""

import shutil
from dataclasses import replace

import pytest
import torch
from small import SMALL

from designspace.evaluation import classification
from designspace.evaluation.backbone import load_backbone
from designspace.evaluation.evaluate_trunk import evaluate_trunk
from designspace.evaluation.finetune import low_shot_schedule
from designspace.evaluation.learning_rates import RATES, LearningRates, split_labels
from designspace.pretraining.pretrain import pretrain
from designspace.pretraining.pretrain_run import PretrainRun


def test_the_rates_that_validate_best_are_taken_and_kept(tmp_path):
    seen, notes = [], []

    def validate(schedule):
        seen.append(schedule)
        rates = (round(schedule.trunk_lr * 256 / schedule.batch, 6), schedule.head_lr)
        errors = {0.05: (0.2, 1.5), 0.2: (0.2, 1.1), 0.02: (0.1, float("nan"))}
        return errors.get(rates[0], (0.5, 1.0))

    schedule = low_shot_schedule(0.01, 64)
    chosen = LearningRates(tmp_path, notes.append).choose("one", "key", schedule, validate)
    assert [s.epochs for s in seen] == [max(1, -(-schedule.epochs // 4))] * len(RATES)
    # The smallest error counts first, even if its loss overflowed; batch 64 is a quarter of 256.
    assert (chosen.trunk_lr, chosen.head_lr) == (0.02 / 4, 5.0 / 4)
    assert chosen.epochs == schedule.epochs
    assert "0.02 of the trunk, 5 of the head" in notes[-1]
    again = LearningRates(tmp_path, notes.append).choose("one", "key", schedule, None)
    assert again == chosen
    assert len(seen) == len(RATES)


@pytest.mark.parametrize(
    ("counts", "held_out"),
    [([10, 10], [2, 2]), ([2, 1, 20], [1, 0, 4]), ([1] * 10, None)],
)
def test_a_fifth_of_the_labels_is_held_out_by_class(counts, held_out):
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    folds = split_labels(labels)
    assert len(folds) == 5
    for fit, validate in folds:
        assert sorted([*fit.tolist(), *validate.tolist()]) == list(range(len(labels)))
        if held_out is None:
            assert len(validate) == 2
        else:
            assert torch.bincount(labels[validate], minlength=len(counts)).tolist() == held_out
    validated = torch.cat([validate for _, validate in folds])
    alone = {k for k, n in enumerate(counts) if n == 1 and held_out is not None}
    assert {*validated.tolist()} == {i for i, k in enumerate(labels.tolist()) if k not in alone}


@pytest.mark.parametrize(("n", "folds"), [(1000, 5), (2000, 3), (5000, 1), (50_000, 1)])
def test_few_labels_are_held_out_in_turn_until_the_choice_rests_on_1000(n, folds):
    splits = split_labels(torch.arange(n) % 10)
    validated = torch.cat([validate for _, validate in splits])
    assert len(splits) == folds
    assert len(validated) == len(set(validated.tolist())) >= 1000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("rates")
    options = {"epochs": 1, "batch_size": 256, "threads": 1, "device": "cpu"}
    pretrain(SMALL, data="digits", out=home / "run", cache=home / "cache", **options)
    return home


def test_each_arm_chooses_and_supervised_pretraining_is_one(run, monkeypatch):
    notes = []

    def short(share, images):
        return replace(low_shot_schedule(share, images), epochs=4)

    monkeypatch.setattr(classification, "low_shot_schedule", short)

    class Notes:
        def note(self, text):
            notes.append(text)

        def decoded(self, done, total):
            pass

        def epochs(self, done, total, seconds_left):
            pass

    options = {"labels": 0.02, "seeds": 2, "scratch_epochs": 2, "supervised_pretraining": True}
    options |= {"cache": run / "cache", "threads": 1, "device": "cpu"}
    result = evaluate_trunk(run / "run", "lowshot", observer=Notes(), **options)
    rates = (run / "run" / "evaluation" / "learning_rates.jsonl").read_text().splitlines()
    assert len(rates) == 4  # pretrained, supervised pretraining, random, from scratch
    kinds = [str(score.kind) for score in result.scores]
    assert kinds == ["pretrained"] * 2 + ["supervised"] * 2 + ["random"] * 2 + ["scratch"]
    assert sum("choosing among 5" in text for text in notes) == 4
    assert (run / "run" / "evaluation" / "supervised-1.pt").is_file()
    # A trunk that saw all labels separates digits better than one that saw none, frozen.
    frozen = {s.kind: s.mean for s in result.scores if s.what.endswith("linear")}
    assert frozen["supervised"] > frozen["random"]
    notes.clear()
    again = evaluate_trunk(run / "run", "lowshot", observer=Notes(), **options)
    assert again.scores == result.scores
    assert not any("choosing" in text or "passes" in text for text in notes)


def test_published_rates_are_kept_on_request(run, monkeypatch):
    short = replace(low_shot_schedule(0.02, 28), epochs=1)
    monkeypatch.setattr(classification, "low_shot_schedule", lambda share, images: short)
    options = {"cache": run / "cache", "threads": 1, "device": "cpu", "seeds": 1}
    folder = run / "published"
    options |= {"labels": 0.02, "tune_lr": False, "supervised": False, "out": folder}
    result = evaluate_trunk(run / "run", "lowshot", **options)
    assert result.scores[0].what == "pretrained, fine-tuned"
    assert not (folder / "learning_rates.jsonl").exists()


def test_passes_of_an_unfinished_pretraining_are_those_that_were_done(run, tmp_path):
    folder = shutil.copytree(run / "run", tmp_path / "run")
    own = PretrainRun(folder)
    assert load_backbone(folder, None, None).passes == 1
    own.begin(SMALL, own.recipe().override(epochs=40), own.data())
    assert load_backbone(folder, None, None).passes == 1
