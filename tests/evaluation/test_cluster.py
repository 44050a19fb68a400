"""Prototypes of images: in the file of features, and as folders of links."""

import csv
import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import SMALL

from designspace.evaluation.classification import ImageFeatures
from designspace.evaluation.cluster_images import _write, cluster_images
from designspace.evaluation.evaluate_trunk import evaluate_trunk
from designspace.pretraining.features import write_features
from designspace.pretraining.pretrain import pretrain


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trunk pretrained on 200 images without labels, of four colors."""
    home = tmp_path_factory.mktemp("cluster")
    (home / "photos" / "deep").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(200):
        pixels = generator.integers(0, 60, (16, 16, 3)) + 50 * (i % 4)
        folder = home / "photos" / ("deep" if i % 2 else "")
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i // 2:03d}.png")
    options = {"epochs": 2, "batch_size": 64, "threads": 1, "device": "cpu"}
    pretrain(
        SMALL, data=f"folder:{home / 'photos'}", out=home / "run", cache=home / "cache", **options
    )
    return home


def options(home):
    return {"cache": home / "cache", "threads": 1, "device": "cpu"}


def test_features_come_with_files_and_prototypes(run):
    result = evaluate_trunk(run / "run", "features", out=run / "f.npz", **options(run))
    assert result.features.images == 200
    with np.load(run / "f.npz") as file:
        arrays = dict(file)
    assert arrays["train"].shape == (200, 16)
    assert len(set(arrays["train_files"])) == 200
    assert all(name.startswith(str(run / "photos")) for name in arrays["train_files"])
    assert arrays["train_prototype"].max() < 64
    assert np.all(np.abs(arrays["train_similarity"]) <= 1 + 1e-5)
    assert arrays["val_files"].dtype.kind == arrays["train_files"].dtype.kind == "U"
    assert len(arrays["val"]) == len(arrays["val_files"]) == len(arrays["val_prototype"]) == 0


def test_images_are_sorted_by_prototype(run, cli, refused):
    done = cli(
        "cluster", run / "run", "--out", run / "sorted", "--cache", run / "cache", "--threads", "1",
        "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "200 images by" in done.out
    with (run / "sorted" / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    with np.load(run / "f.npz") as file:
        expected = dict(zip(file["train_files"], file["train_prototype"], strict=True))
    assert {row["file"]: int(row["prototype"]) for row in rows} == expected
    for number in set(expected.values()):
        folder = run / "sorted" / f"prototype-{number:02d}"
        linked = [link.resolve() for link in sorted(folder.iterdir())]
        listed = [row for row in rows if int(row["prototype"]) == number]
        assert [str(path) for path in linked] == [row["file"] for row in listed]
        similarity = [float(row["similarity"]) for row in listed]
        assert similarity == sorted(similarity, reverse=True)
        columns = min(8, len(listed))
        assert Image.open(f"{folder}.png").size[0] == columns * 66
    assert "which has content" in refused("cluster", run / "run", "--out", run / "sorted")


def test_a_full_disk_leaves_no_part_of_the_clusters(run, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    (run / "empty").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("os.symlink", full)
        for out in (run / "new", run / "empty"):
            with pytest.raises(OSError, match="No space left"):
                cluster_images(run / "run", out, **options(run))
    assert not (run / "new").exists()
    assert not any((run / "empty").iterdir())
    assert cluster_images(run / "run", run / "empty", **options(run)).images == 200


def test_lists_elsewhere_and_long_names(run, tmp_path):
    """Files are named by their own path, and their links are as long as a file system takes."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "photos").mkdir()
    files = [tmp_path / "photos" / f"{letter * 251}.png" for letter in "abcde"]
    for file, source in zip(files, sorted(run.glob("photos/*.png")), strict=False):
        file.symlink_to(source)
    (tmp_path / "lists" / "list.txt").write_text("\n".join(map(str, files)))
    data = f"files:{tmp_path / 'lists' / 'list.txt'}"
    cluster_images(run / "run", tmp_path / "sorted", data=data, **options(run))
    with (tmp_path / "sorted" / "images.csv").open() as file:
        assert {row["file"] for row in csv.DictReader(file)} == set(map(str, files))
    links = list(tmp_path.glob("sorted/*/*"))
    assert {Path(os.readlink(link)) for link in links} == set(files)
    assert {link.suffix for link in links} == {".png"}


def test_data_without_files_get_sheets_and_a_table(run, tmp_path):
    clusters = cluster_images(run / "run", tmp_path / "digits", data="digits", **options(run))
    assert clusters.images == sum(clusters.sizes.values()) == 1797
    kinds = {path.suffix for path in (tmp_path / "digits").iterdir()}
    assert kinds == {".png", ".csv"}


def test_weights_without_prototypes_are_refused(run, refused, tmp_path):
    said = refused("cluster", run / "run" / "trunk.pt", "--out", tmp_path / "x")
    assert "which has no prototypes; pass the folder of a pretraining" in said
    said = refused("cluster", run / "run" / "model.yaml", "--out", tmp_path / "x")
    assert "which has no prototypes; pass the folder of a pretraining" in said


def test_a_file_in_place_of_the_new_folder(run, refused, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    said = refused("cluster", run / "run", "--out", tmp_path / "notes.txt")
    assert f"--out is {tmp_path / 'notes.txt'}, a file; pass a new folder" in said


def test_names_that_are_not_utf8_are_written_as_their_bytes(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    one = torch.zeros(1, 4)
    features = ImageFeatures(
        *(one, torch.zeros(1, dtype=torch.int64), one[:0], torch.zeros(0, dtype=torch.int64)),
        files=(name,),
        prototype=torch.zeros(1, dtype=torch.int64),
        similarity=torch.ones(1),
    )
    _write(tmp_path, features, lambda rows: np.zeros((len(rows), 8, 8, 3), np.uint8))
    assert b"\n0,caf\xe9.png,0,1.000000\n" in (tmp_path / "images.csv").read_bytes()
    pytest.importorskip("safetensors")
    write_features(tmp_path / "f.safetensors", features.arrays(), features.files, 1)
    assert (tmp_path / "f.safetensors.files.txt").read_bytes() == b"caf\xe9.png\n"
