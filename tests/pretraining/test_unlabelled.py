"""Images without labels: pretraining, its page, and what evaluation can do with them."""

import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small import SMALL

from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.pretraining.pretrain import pretrain
from designspace.pretraining.pretrain_run import PretrainRun


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """A model, and 300 images without classes, some of them deeper than others."""
    home = tmp_path_factory.mktemp("flat")
    write_model(SMALL, home / "model.yaml")
    generator = np.random.default_rng(0)
    for i in range(300):
        folder = home / "flat" / ("deep/deeper" if i % 10 == 0 else "")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (18, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return home


def test_unlabelled_images_are_pretrained_on_and_featurized(flat, cli, refused):
    data, cache = f"folder:{flat / 'flat'}", ("--cache", flat / "cache", "--threads", "1")
    done = cli(
        "pretrain", flat / "model.yaml", "--data", data, "--epochs", "1", "--out", flat / "run",
        *cache,
    )  # fmt: skip
    assert done.code == 0, done.err
    note = "k-NN and the linear probe, which need labels, are left out: "
    assert done.err.count(note) == 1
    assert f"{note}{flat / 'flat'} has no train folder" in done.err
    run = PretrainRun(flat / "run")
    assert run.data().images == 300
    assert "knn" not in run.epochs()[0]
    page = (flat / "run" / "report" / "index.html").read_text()
    assert "nearest neighbours" in page
    assert "of its class" not in page
    done = cli("evaluate", flat / "run", "--task", "features", "--out", flat / "f.npz", *cache)
    assert done.code == 0, done.err
    with np.load(flat / "f.npz") as file:
        assert (len(file["train"]), len(file["val"])) == (300, 0)
    for task in ("knn", "linear", "lowshot", "finetune"):
        said = refused("evaluate", flat / "run", "--task", task, *cache)
        assert "images without labels" in said
        assert "the tasks features and labelfree" in said
    said = refused("evaluate", flat / "run", "--task", "detect", *cache)
    assert "images without labels; task detect takes annotated images, coco:PATH" in said
    done = cli("evaluate", flat / "run", "--seeds", "1", *cache)
    assert done.code == 0, done.err
    assert "the images have no labels: task labelfree" in done.err
    assert "RankMe" in done.out


def test_few_labelled_images_are_pretrained_on(tmp_path):
    """Too few for k-NN: two classes of three images, one of which is held out."""
    generator = np.random.default_rng(0)
    for i in range(6):
        folder = tmp_path / "few" / "train" / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (18, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    pretrain(
        SMALL, data=f"folder:{tmp_path / 'few'}", out=tmp_path / "run", cache=tmp_path / "cache",
        epochs=1, batch_size=4, device="cpu", threads=1,
    )  # fmt: skip
    (epoch,) = PretrainRun(tmp_path / "run").epochs()
    assert "knn" not in epoch


def test_streams_say_once_that_measures_by_labels_are_left_out(flat):
    with tarfile.open(flat / "few.tar", "w") as archive:
        archive.add(flat / "flat" / "001.png", "001.png")
    notes = []
    observer = SimpleNamespace(note=notes.append)
    with pytest.raises(InputError, match="only 1 training image;"):
        pretrain(
            SMALL, data=f"webdataset:{flat / 'few.tar'}", out=flat / "few", cache=flat / "cache",
            device="cpu", threads=1, observer=observer,
        )  # fmt: skip
    assert notes == [
        "k-NN and the linear probe, which need labels, are left out: labels of shards are not read"
    ]


def test_training_refuses_images_without_labels(flat, cli, refused):
    cli("sample", "RegNetX@8", "-n", "1", "--flops", "180K:220K", "--out", flat / "models")
    said = refused(
        "train", flat / "models", "--recipe", "quick", "--data", f"folder:{flat / 'flat'}"
    )
    assert "images without labels" in said
    assert "the layout is train/CLASS/IMAGE" in said
