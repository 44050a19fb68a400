"""Evaluation: protocols against twins, comparisons beside, journals that spare repeated work."""

import json
import statistics

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from small import SMALL

from designspace.arch import Body, Model, Skeleton
from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.evaluation import finetune
from designspace.evaluation.backbone import load_backbone
from designspace.evaluation.classification import Classification
from designspace.evaluation.evaluation_options import EvaluationOptions, SilentObserver
from designspace.evaluation.finetune import (
    FinetuneSchedule,
    finetune_schedule,
    low_shot_schedule,
    scratch_schedule,
)
from designspace.evaluation.linear_probe import linear_accuracy
from designspace.evaluation.scores import Task


@pytest.fixture(scope="module")
def place(tmp_path_factory, command):
    """A folder with a short pretraining of digits."""
    home = tmp_path_factory.mktemp("evaluate")
    write_model(SMALL, home / "model.yaml")
    done = command(
        "pretrain", home / "model.yaml", "--data", "digits", "--epochs", "2",
        "--out", home / "run", "--cache", home / "cache", "--threads", "1",
    )  # fmt: skip
    assert done.code == 0, done.err
    return home


def words(place, *more):
    return [
        "evaluate", str(place / "run"), "--cache", str(place / "cache"), "--threads", "1",
        *([] if "features" in more else ["--seeds", "2", "--scratch-epochs", "2"]), *more,
    ]  # fmt: skip


def classification(place, **options):
    backbone = load_backbone(place / "run", None, None)
    options = EvaluationOptions(Task.KNN, "digits", cache=place / "cache", threads=1, **options)
    return Classification(backbone, options, SilentObserver())


def test_each_score_is_compared_with_random_and_supervised(place, cli):
    done = cli(*words(place, "--task", "linear", "--json"))
    assert done.code == 0, done.err
    scores = json.loads(done.out)
    assert [s["what"] for s in scores] == [
        "pretrained",
        "random trunk",
        "supervised from scratch, 2 epochs, tuned rates",
    ]
    for score in scores:
        a = score["values"]
        assert len(a) == 2
        assert score["images"] == 359
        assert score["mean"] == pytest.approx(statistics.fmean(a))
        margin = stats.t.ppf(0.975, 1) * statistics.stdev(a) / 2**0.5
        assert score["high"] == pytest.approx(min(100, score["mean"] + margin))
    assert scores[0]["mean"] > 50  # ten classes


def test_run_again_it_repeats_nothing_and_supervised_training_is_shared(place, cli):
    first = cli(*words(place, "--task", "linear", "--json"))
    again = cli(*words(place, "--task", "linear", "--json"))
    assert again.out == first.out
    assert "seed" not in again.err
    knn = cli(*words(place, "--task", "knn", "--json"))
    assert "supervised" not in knn.err
    assert json.loads(knn.out)[2]["values"] == json.loads(first.out)[2]["values"]


def test_the_page_has_the_scores_and_is_not_written_twice(place, cli):
    done = cli(*words(place, "--task", "linear"))
    index = place / "run" / "report" / "index.html"
    page = index.read_text()
    assert "Top-1 accuracy on digits, against " in page
    assert page.count("data:image/png") > 15
    assert "Image 1 and its 10 nearest neighbours" in page
    before = index.stat().st_mtime_ns
    assert cli(*words(place, "--task", "linear")).out == done.out
    assert index.stat().st_mtime_ns == before


@pytest.mark.slow
def test_lowshot_writes_its_labels_and_names_every_comparison(place, cli):
    done = cli(*words(place, "--task", "lowshot", "--labels", "0.05"))
    assert done.code == 0, done.err
    for what in ("pretrained, fine-tuned", "pretrained, linear", "random trunk, linear", "scratch"):
        assert what in done.out
    listed = (place / "run" / "evaluation" / "labels-0.05-seed1.txt").read_text().split()
    assert len(set(listed)) == len(listed) == 70  # seven of each class
    assert "70 labels (5%)" in done.out


def test_labels_are_a_share_of_each_class_by_the_seed_alone(place):
    made = classification(place)
    labels = made._arrays.train_labels
    rows = made._labelled_rows(0.1, 3)
    assert torch.equal(rows, classification(place, seeds=7)._labelled_rows(0.1, 3))
    assert not torch.equal(rows, made._labelled_rows(0.1, 4))
    counts = torch.bincount(labels[rows], minlength=10)
    assert torch.equal(counts, torch.bincount(labels, minlength=10).mul(0.1).round().long())
    assert len(made._labelled_rows(0.0001, 0)) == 10  # at least one of each class


def test_features_are_written_as_they_are(place, cli, tmp_path):
    file = tmp_path / "f.npz"
    done = cli(*words(place, "--task", "features", "--out", file))
    assert "1,797 images, 16 features each" in done.out
    with np.load(file) as arrays:
        assert arrays["train"].shape == (1438, 16)
        assert arrays["val_labels"].shape == (359,)
        made = classification(place)
        trunk = made._backbone.trunk().eval()
        record = made._arrays.val[7].permute(2, 0, 1).float()
        mean, std = (
            torch.tensor(v).view(3, 1, 1) for v in (made._backbone.mean, made._backbone.std)
        )
        with torch.no_grad():
            twin = trunk(((record - mean) / std)[None])
        assert np.allclose(arrays["val"][7], twin[0].numpy(), atol=1e-4)


def test_features_are_written_as_safetensors_too(place, cli, tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    for name in ("f.npz", "f.safetensors"):
        assert cli(*words(place, "--task", "features", "--out", tmp_path / name)).code == 0
    found = numpy.load_file(tmp_path / "f.safetensors")
    with np.load(tmp_path / "f.npz") as arrays:
        assert set(found) == set(arrays)
        assert all(np.array_equal(found[key], arrays[key]) for key in found)


def test_the_trunk_file_of_a_run_needs_no_model_and_sees_what_the_run_saw(place, cli):
    subject = load_backbone(place / "run" / "trunk.pt", None, None)
    whole = load_backbone(place / "run", None, None)
    assert subject.digest == whole.digest
    for name in ("model", "side", "mean", "std", "data"):
        assert getattr(subject, name) == getattr(whole, name)


def test_linear_probe_is_as_good_as_logistic_regression():
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 12, generator=g)
    labels, told = (torch.randint(0, 5, (n,), generator=g) for n in (400, 1000))
    x, y = (
        centres[rows] * 3 + 5 + 2.5 * torch.randn(len(rows), 12, generator=g)
        for rows in (labels, told)
    )
    ours = linear_accuracy(x, labels, y, told, 5, seed=0)
    theirs = LogisticRegression(max_iter=2000).fit(x, labels).score(y, told) * 100
    assert ours == pytest.approx(theirs, abs=2.0)
    assert ours > 80


class _Images:
    """Two batches of images that differ in brightness by class."""

    steps_per_epoch, validation_size = 2, 16

    def epoch(self, seed, epoch):
        labels = torch.arange(8) % 2
        for _ in range(2):
            yield labels[:, None, None, None].float().expand(-1, 3, 16, 16), labels

    def validation(self):
        yield from self.epoch(0, 0)


def test_fine_tuning_computes_in_the_type_of_autocast(monkeypatch):
    seen = set()

    def build(*args, fused, **kwargs):
        network = real_build(*args, **kwargs)
        network.stem[0].register_forward_hook(lambda module, args, out: seen.add(out.dtype))
        return network

    real_build = finetune.build
    monkeypatch.setattr(finetune, "build", build)
    schedule = FinetuneSchedule(3, 8, 0.1, 0.1, 0.0)
    device, images = torch.device("cpu"), _Images()
    network = finetune.train_network(
        SMALL.at(classes=2), None, images, schedule, 0, device, autocast=torch.bfloat16
    )
    accuracy = finetune.validation_accuracy(network, images, device, torch.bfloat16)
    assert 0 <= accuracy <= 100
    assert seen == {torch.bfloat16}


def test_schedules_are_the_published_ones():
    one, ten = low_shot_schedule(0.01, 12_811), low_shot_schedule(0.1, 128_116)
    assert (one.epochs, one.trunk_lr, one.head_lr, one.weight_decay) == (20, 0.02, 5.0, 0)
    assert (ten.epochs, ten.trunk_lr, ten.head_lr) == (20, 0.01, 0.2)
    assert [one.factor(e, 20) for e in (0, 11, 12, 15, 16, 19)] == pytest.approx(
        [1, 1, 0.2, 0.2, 0.04, 0.04]
    )
    tuning = finetune_schedule(1_281_167)
    assert (tuning.epochs, tuning.trunk_lr, tuning.label_smoothing) == (35, 0.0125, 0.1)
    assert [tuning.factor(e, 35) for e in (0, 29, 30, 34)] == pytest.approx([1, 1, 0.1, 0.1])
    assert scratch_schedule(450).epochs == 200
    assert scratch_schedule(45_000).epochs == 10


def test_weights_of_other_libraries_are_evaluated(place, cli):
    weights = place / "run" / "trunk.pt"
    done = cli(
        "evaluate", weights, "--model", place / "model.yaml", "--data", "digits", "--task", "knn",
        "--seeds", "1", "--scratch-epochs", "1", "--cache", place / "cache", "--threads", "1",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "torchvision" in done.out


def test_wrong_requests_are_refused(place, refused, tmp_path):
    assert "task is 'near'; it must be one of knn, linear" in refused(
        *words(place, "--task", "near")
    )
    assert "a fraction above 0" in refused(*words(place, "--task", "lowshot", "--labels", "3"))
    said = refused(*words(place, "--task", "lowshot", "--labels", "ten"))
    assert "labels is ten; it must be a fraction above 0 and at most 1" in said
    said = refused(*words(place, "--task", "linear", "--labels", "1%"))
    assert "labels has no effect on task linear; it applies to lowshot" in said
    for side in ("0", "3", "5000"):
        said = refused(*words(place, "--side", side))
        assert f"side is {side}; it must be from 4 (the total stride of small) to" in said
    said = refused(*words(place, "--task", "features", "--out", tmp_path / "f.csv"))
    assert "features are written as .npz or .safetensors" in said
    said = refused(*words(place, "--task", "features", "--out", tmp_path / "no" / "f.npz"))
    assert "there is no folder" in said


def test_what_is_nothing_to_evaluate_is_refused(place, refused, tmp_path):
    assert "there is no " in refused("evaluate", tmp_path / "none")
    assert "is not the folder of a pretraining" in refused("evaluate", tmp_path)
    weights = tmp_path / "trunk.pt"
    weights.write_bytes((place / "run" / "trunk.pt").read_bytes())
    assert "model is missing" in refused("evaluate", weights)
    (tmp_path / "notes.txt").write_text("no weights")
    said = refused("evaluate", tmp_path / "notes.txt", "--model", place / "model.yaml")
    assert "not a readable checkpoint" in said


def test_weights_of_another_network_are_refused(place, refused):
    said = refused(
        "evaluate", place / "run" / "trunk.pt", "--model", "RegNetX-200MF", "--data", "digits"
    )
    assert "does not fit RegNetX-200MF" in said
    assert "keys" in said
    with pytest.raises(InputError, match=r"but .* holds small"):
        load_backbone(
            place / "run",
            Model("x", Body((1,), (8,), (1.0,), (8,)), Skeleton(16, 10, 8, 1, (1,))),
            None,
        )
