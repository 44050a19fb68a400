"""Options of an evaluation: fractions of labels, comparisons, and data that can't be scored."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small import SMALL

from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.evaluation.backbone import Backbone
from designspace.evaluation.classification import Classification
from designspace.evaluation.evaluate_trunk import evaluate_trunk
from designspace.evaluation.evaluation_options import (
    EvaluationObserver,
    EvaluationOptions,
    parse_labels,
)
from designspace.evaluation.scores import (
    ACCURACY,
    Score,
    ScoreBook,
    ScoreKey,
    ScoreKind,
    Task,
    read_table,
)
from designspace.pretraining.swav_network import trunk_of


@pytest.mark.parametrize(
    ("labels", "fractions"),
    [
        (None, None),
        ("1%", (0.01,)),
        ("100%", (1.0,)),
        ("1.0", (1.0,)),
        (1.0, (1.0,)),
        (0.1, (0.1,)),
        (["1%", "0.5"], (0.01, 0.5)),
        ((0.01, 0.1), (0.01, 0.1)),
    ],
)
def test_labels_are_fractions_or_percentages(labels, fractions):
    assert parse_labels(labels) == (None if fractions is None else pytest.approx(fractions))


@pytest.mark.parametrize("labels", ["1", 1, ["10%", "1"]])
def test_labels_of_1_are_refused_as_ambiguous(labels):
    with pytest.raises(InputError, match=r"labels is 1; write 1% for one percent, or 1\.0 for all"):
        parse_labels(labels)


@pytest.mark.parametrize("labels", ["2", "0", "-0.1", "101%", "nan", "1%%", "few", 10])
def test_other_values_are_refused(labels):
    with pytest.raises(InputError, match=r"labels is .* a fraction above 0") as caught:
        parse_labels(labels)
    assert caught.value.argument == "labels"


def test_seeds_are_3_and_refused_for_features():
    assert EvaluationOptions(Task.KNN, "digits").repetitions == 3
    assert EvaluationOptions(Task.DETECT, "digits", seeds=5).repetitions == 5
    with pytest.raises(InputError, match="seeds has no effect on task features"):
        EvaluationOptions(Task.FEATURES, "digits", seeds=5)


def test_options_of_a_training_that_is_left_out_are_refused():
    with pytest.raises(InputError, match="scratch_epochs has no effect with supervised=False"):
        EvaluationOptions(Task.LINEAR, "digits", supervised=False, scratch_epochs=5)
    for options in ({"task": Task.KNN}, {"task": Task.LINEAR, "supervised": False}):
        with pytest.raises(InputError, match="tune_lr has no effect: task"):
            EvaluationOptions(data="digits", tune_lr=True, **options)
    assert EvaluationOptions(Task.KNN, "digits", supervised=True, tune_lr=False).with_supervised
    assert EvaluationOptions(Task.LOWSHOT, "digits", supervised=False, tune_lr=True)


@pytest.mark.parametrize("task", list(Task))
def test_only_knn_skips_supervised_training_by_default(task):
    assert EvaluationOptions(task, "digits").with_supervised is (task is not Task.KNN)
    if task not in (Task.DETECT, Task.FEATURES, Task.LABELFREE):
        for supervised in (False, True):
            options = EvaluationOptions(task, "digits", supervised=supervised)
            assert options.with_supervised is supervised
        assert EvaluationOptions(task, "digits", scratch_epochs=2).with_supervised


class Recorder(EvaluationObserver):
    """Remembers the progress."""

    def __init__(self):
        self.notes, self.left = [], []

    def note(self, text):
        self.notes.append(text)

    def epochs(self, done, total, seconds_left):
        self.left.append((done, total, seconds_left))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights of a small trunk."""
    home = tmp_path_factory.mktemp("options")
    torch.manual_seed(0)
    torch.save(trunk_of(SMALL).state_dict(), home / "trunk.pth")
    write_model(SMALL, home / "model.yaml")
    return home / "trunk.pth"


def run(weights, observer=None, **options):
    settings = {"data": "digits", "seeds": 2, "threads": 1, "cache": weights.parent / "cache"}
    return evaluate_trunk(weights, **settings | options, model=SMALL, observer=observer)


def test_supervised_training_is_announced_and_each_seed_has_its_own_time_left(weights):
    observer = Recorder()
    scores = run(weights, observer).scores
    assert [score.kind for score in scores] == [ScoreKind.PRETRAINED, ScoreKind.RANDOM]
    assert observer.left == []
    result = run(weights, observer, supervised=True, scratch_epochs=2, tune_lr=False)
    assert [score.kind for score in result.scores][2:] == [ScoreKind.SCRATCH]
    cost = "knn: supervised from scratch, 2 epochs, 1438 labels, seed {} of 2"
    assert [note for note in observer.notes if "scratch" in note] == [
        cost.format(1),
        cost.format(2),
    ]
    assert [(done, total) for done, total, _ in observer.left] == [(1, 2), (2, 2)] * 2
    assert [left for _, _, left in observer.left][1::2] == [0, 0]
    # The second seed's first epoch is timed from its own start.
    assert observer.left[2][2] < 3 * observer.left[0][2] + 1
    assert len(result.to_frame()) == 3
    assert "supervised from scratch" in result._repr_html_()


def test_data_of_one_class_are_refused(weights, tmp_path):
    rng = np.random.default_rng(0)
    for split, classes in (("train", "ab"), ("val", "a")):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
        for name in classes:
            for i in range(12):
                pixels = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{i}.png")
    with pytest.raises(InputError, match="its 12 validation images are of one class"):
        run(weights, data=f"folder:{tmp_path}")


def test_tables_of_earlier_versions_are_read(tmp_path):
    row = {
        "task": "knn", "metric": "top-1 accuracy", "data": "digits", "share": 1.0, "labels": 9,
        "what": "random trunk, linear", "values": [50.0], "mean": 50.0, "low": None, "high": None,
        "images": 5, "split": "test", "source": "x",
    }  # fmt: skip
    rows = [row, row | {"what": "pretrained"}, row | {"what": "supervised from scratch, 9 epochs"}]
    (tmp_path / "scores.json").write_text(json.dumps([*rows, {"task": "knn"}]))
    table = read_table(tmp_path)
    assert [one["kind"] for one in table] == ["random", "pretrained", "scratch"]
    assert Score(**table[0]).to_dict()["mean"] == 50.0
    assert table[0]["unit"] == "%"


def test_shards_that_were_pretrained_on_have_no_unseen_images(tmp_path):
    pytest.importorskip("webdataset")
    image = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image, "png")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for i in range(40):
            for suffix, content in (("png", image.getvalue()), ("cls", str(i % 2).encode())):
                member = tarfile.TarInfo(f"{i:02d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    data, weights = f"webdataset:{tmp_path}/0.tar", trunk_of(SMALL).state_dict()
    backbone = Backbone(SMALL, weights, 8, None, None, "a run", data=data)
    options = EvaluationOptions(Task.KNN, data, cache=tmp_path / "cache", device="cpu", seeds=1)
    observer = Recorder()
    scores = Classification(backbone, options, observer).scores(tmp_path / "scores")
    assert all(score.split.endswith("seen in pretraining") for score in scores)
    assert "For a fair comparison pass data that it has not seen" in " ".join(observer.notes)
    other = replace(backbone, data="digits")
    assert "seen" not in Classification(other, options, observer)._split


def test_neighbors_and_temperature_give_scores_of_their_own(tmp_path):
    weights = trunk_of(SMALL).state_dict()
    backbone = Backbone(SMALL, weights, 8, None, None, "a run", data="digits")
    options = EvaluationOptions(Task.KNN, "digits", cache=tmp_path, device="cpu", seeds=1)
    whats = set()
    for changes in ({}, {"neighbors": 20}, {"neighbors": 1, "temperature": 0.07}):
        own = Classification(backbone, replace(options, **changes), Recorder())
        whats |= {score.what for score in own.scores(tmp_path / "scores")}
    assert whats == {
        f"{kind}{change}"
        for kind in ("pretrained", "random trunk")
        for change in ("", ", 20 neighbors", ", 1 neighbors, temperature 0.07")
    }
    for name, value in (("neighbors", 0), ("temperature", 0.0)):
        with pytest.raises(InputError, match=f"{name} is 0"):
            replace(options, **{name: value})
    many = Classification(backbone, replace(options, neighbors=1295), Recorder())
    with pytest.raises(InputError, match=r"neighbors is 1295; .* at most 1294, .*90% of 1438 lab"):
        many.scores(tmp_path / "scores")
    with pytest.raises(InputError, match="neighbors has no effect on task linear"):
        EvaluationOptions(Task.LINEAR, "digits", neighbors=20)


KEY = ScoreKey(
    *("knn", "d", 0.004, 5, ScoreKind.PRETRAINED, "pretrained", 10, "test", "a, iteration 1")
)


def test_small_fractions_of_the_labels_are_written_in_full():
    score = Score(**vars(KEY), metric=ACCURACY, values=(1.0,), mean=1.0, low=None, high=None)
    assert "5 labels (0.4%)" in str(score)


def test_a_metric_that_is_not_defined_is_not_measured_again(tmp_path):
    calls = []

    def measure(seed):
        calls.append(seed)
        return {"RankMe": 3.0}

    for _ in range(2):
        book = ScoreBook(tmp_path, 2, lambda text: None)
        (score,) = book.score(KEY, ("labelfree", "x"), measure, {"RankMe": "", "α-ReQ": ""})
        assert score.values == (3.0, 3.0)
    assert calls == [0, 1]


def test_scores_of_another_checkpoint_are_not_replaced_silently(tmp_path):
    notes = []
    book = ScoreBook(tmp_path, 1, notes.append)
    for source in ("a, iteration 1", "a, iteration 2", "b, iteration 2"):
        book.save_table(
            book.score(replace(KEY, source=source), ("knn", source), lambda seed: {ACCURACY: 1.0})
        )
    assert [note for note in notes if "replaced" in note] == [
        f"{tmp_path / 'scores.json'}: scores of a, iteration 2 are replaced by those of this "
        "checkpoint on the same subject; another folder (out) keeps both"
    ]
