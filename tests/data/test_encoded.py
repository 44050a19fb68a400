"""Images of saved data sets and of labelled shards, decoded into the cache as files are."""

import io
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from designspace.data.cache import build_cache
from designspace.data.datasets import load_source
from designspace.data.decode import Geometry
from designspace.data.prepare import prepare_images
from designspace.data.splits import split, split_unseen
from designspace.errors import InputError

SIZE = (Geometry(8, 8), Geometry(8, 8))


@pytest.fixture
def pictures():
    """Forty images of two classes that differ in brightness, and their labels."""
    generator = np.random.default_rng(0)
    labels = [i % 2 for i in range(40)]
    pixels = [generator.integers(0, 100, (8, 8, 3)) + 120 * label for label in labels]
    return [Image.fromarray(p.astype(np.uint8)) for p in pixels], labels


def check(spec, tmp_path, pictures):
    """Split and decode; every record is the image of its name."""
    source = load_source(spec)
    parts = split(source, "held-out")
    cache = build_cache(parts, SIZE, tmp_path / "cache")
    records, own = (np.load(cache.path / f"train{part}.npy") for part in ("", "_labels"))
    known = {np.asarray(image).tobytes(): label for image, label in zip(*pictures, strict=True)}
    assert [known[record.tobytes()] for record in records] == own.tolist()
    assert (len(parts.train), len(parts.val)) == (36, 4)
    return source


@pytest.fixture
def save(tmp_path, pictures):
    datasets = pytest.importorskip("datasets")
    images, labels = pictures

    def write(columns=("image", "label"), splits=None):
        label = datasets.ClassLabel(names=["dark", "light"])
        features = {"image": datasets.Image(), "label": label}
        values = {"image": images, "label": labels}
        chosen = {name: features[name] for name in columns}
        data = datasets.Dataset.from_dict(
            {name: values[name] for name in columns}, features=datasets.Features(chosen)
        )
        if splits:
            data = datasets.DatasetDict(dict.fromkeys(splits, data))
        data.save_to_disk(tmp_path / "saved")
        return f"hf:{tmp_path / 'saved'}"

    return write


def test_a_saved_data_set_is_decoded_with_its_classes(save, tmp_path, pictures):
    source = check(save(), tmp_path, pictures)
    assert source.classes == ("dark", "light")
    assert source.test is None


def test_splits_of_a_saved_data_set(save):
    source = load_source(save(splits=("train", "validation")))
    assert len(source.train) == len(source.test) == 40


def test_a_saved_data_set_without_classes_is_unlabelled(save):
    source = load_source(save(columns=("image",)))
    with pytest.raises(InputError, match="images without labels"):
        split(source, "held-out")


def test_a_missing_image_is_named_and_left_out(tmp_path, pictures):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image()})
    rows = {"image": [*pictures[0] * 5, None]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    done = prepare_images(f"hf:{tmp_path / 'saved'}", SIZE, tmp_path / "cache")
    assert len(done.split.train) == 200
    assert "1 of 201 images can't be decoded" in done.split.notes[-1]
    assert "/200 (no image)" in done.split.notes[-1]


@pytest.mark.parametrize(("labels", "reason"), [([-1] * 4, "no column"), ([1] * 4, "of one class")])
def test_labels_that_are_missing_or_alike_are_none(tmp_path, labels, reason):
    source = load_source(save_labels(tmp_path, labels))
    assert reason in source.no_labels
    assert source.train.labels.tolist() == [-1] * 4
    assert len(split_unseen(source).train) == 4


def test_a_few_missing_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match="1 of 4 images have no label; remove them, or the column"):
        load_source(save_labels(tmp_path, [0, 1, None, 1]))


def labelled(datasets, labels, classes):
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=classes)}
    rows = {"image": [Image.new("RGB", (8, 8))] * len(labels), "label": labels}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


def save_labels(tmp_path, labels, test=None, classes=("dark", "light")):
    datasets = pytest.importorskip("datasets")
    data = labelled(datasets, labels, ["dark", "light"])
    if test is not None:
        data = datasets.DatasetDict(train=data, test=labelled(datasets, test, list(classes)))
    data.save_to_disk(tmp_path / "saved")
    return f"hf:{tmp_path / 'saved'}"


def test_the_test_split_is_labelled_by_the_names_of_its_classes(tmp_path):
    source = load_source(save_labels(tmp_path, [0, 1] * 5, [0, 0, 1], classes=("light", "dark")))
    assert source.test.labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("labels", "classes", "reason"),
    [
        ([0, 1], ("dark", "grey"), "its test split has the class 'grey', which train does not"),
        ([-1, -1], ("dark", "light"), "its test split has no classes"),
    ],
    ids=["other classes", "no labels"],
)
def test_a_test_split_that_cannot_be_used_is_named(tmp_path, labels, classes, reason):
    source = load_source(save_labels(tmp_path, [0, 1] * 20, labels, classes))
    assert reason in split_unseen(source).notes[-1]
    with pytest.raises(InputError, match=reason):
        split(source, "test")


def test_saved_data_sets_that_cannot_be(save, tmp_path):
    with pytest.raises(InputError, match="no column of images among label"):
        load_source(save(columns=("label",)))
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="not a saved data set"):
        load_source(f"hf:{tmp_path / 'other'}")
    with pytest.raises(InputError, match="there is no folder"):
        load_source("hf:/nowhere")


def write_shard(file, pictures, replaced=None, classes=(b"dark", b"light")):
    """A shard of PNG images, each followed by its .cls file; `replaced` are other bytes by row."""
    with tarfile.open(file, "w") as archive:
        for i, (image, label) in enumerate(zip(*pictures, strict=True)):
            encoded = io.BytesIO()
            image.save(encoded, "png")
            data = (replaced or {}).get(i, encoded.getvalue())
            for suffix, content in (("png", data), ("cls", classes[label])):
                member = tarfile.TarInfo(f"{i:03d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return f"webdataset:{file}"


def test_labelled_shards_are_decoded_with_their_classes(tmp_path, pictures):
    pytest.importorskip("webdataset")
    source = check(write_shard(tmp_path / "0.tar", pictures), tmp_path, pictures)
    assert source.classes == ("dark", "light")
    assert source.train.files[:2] == ("0.tar/000.png", "0.tar/001.png")
    with pytest.raises(InputError, match="nothing"):
        load_source(f"webdataset:{tmp_path}/nothing.tar")


def test_shards_of_other_images_have_another_cache(tmp_path, pictures):
    pytest.importorskip("webdataset")
    caches = []
    for folder, shade in (("a", 10), ("b", 200)):
        (tmp_path / folder).mkdir()
        # Of equal names, labels and sizes.
        bmp = {}
        for i in range(40):
            encoded = io.BytesIO()
            Image.new("RGB", (8, 8), (shade, i, 0)).save(encoded, "bmp")
            bmp[i] = encoded.getvalue()
        spec = write_shard(tmp_path / folder / "0.tar", pictures, bmp)
        caches.append(prepare_images(spec, SIZE, tmp_path / "cache").cache)
    assert [cache.mean[0] for cache in caches] == [10, 200]


def test_shards_of_equal_names_are_told_apart(tmp_path, pictures):
    pytest.importorskip("webdataset")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_shard(tmp_path / folder / "0.tar", pictures)
    files = load_source(f"webdataset:{tmp_path}/{{a,b}}/0.tar").train.files
    assert files[0] == f"{tmp_path}/a/0.tar/000.png"
    assert len(set(files)) == 80


def test_numbers_of_classes_may_have_gaps(tmp_path, pictures):
    pytest.importorskip("webdataset")
    shard = tmp_path / "0.tar"
    source = load_source(write_shard(shard, pictures, classes=(b"1440764", b" 7\n")))
    assert source.classes == ("7", "1440764")
    assert source.train.labels[:4].tolist() == [1, 0, 1, 0]
    # A digit that is no number.
    source = load_source(write_shard(shard, pictures, classes=("²".encode(), b"7")))
    assert source.classes == ("7", "²")


def test_of_a_cut_shard_the_whole_images_are_used(tmp_path, pictures):
    pytest.importorskip("webdataset")
    for shard in range(20):
        write_shard(tmp_path / f"{shard:02d}.tar", pictures)
    cut = tmp_path / "07.tar"
    # Each image takes two headers and two contents of 512 bytes: ten whole, then one without class.
    cut.write_bytes(cut.read_bytes()[: 10 * 2048 + 1024 + 512])
    source = load_source(f"webdataset:{tmp_path}/{{00..19}}.tar")
    assert (len(source.train), source.classes) == (19 * 40 + 10, ("dark", "light"))
    note = f"1 of 20 shards is cut; their whole images are used: {cut} (unexpected end of data)"
    assert source.notes == (note,)
    with pytest.raises(InputError, match="1 of 1 shard can't be read to the end"):
        load_source(f"webdataset:{cut}")


def test_a_few_undecodable_images_are_left_out_and_named(tmp_path, pictures):
    pytest.importorskip("webdataset")
    many = tuple(part * 5 for part in pictures)
    spec = write_shard(tmp_path / "0.tar", many, {7: b"no image"})
    notes = []
    observer = SimpleNamespace(note=notes.append, decoded=lambda done, total: None)
    for _ in range(2):  # the second call decodes nothing
        prepared = prepare_images(spec, SIZE, tmp_path / "home", val="held-out", observer=observer)
    assert prepared.cache.train_images + prepared.cache.val_images == 199
    files = (*prepared.split.train.files, *prepared.split.val.files)
    assert len(files) == 199
    assert "0.tar/007.png" not in files
    text = "1 of 200 images can't be decoded and are left out: 0.tar/007.png (not an image)"
    assert [note for note in notes if "decoded" in note] == [text] * 2
    assert not list((tmp_path / "home" / "images").glob("*.building"))
    spec = write_shard(tmp_path / "1.tar", many, dict.fromkeys((7, 8, 9), b"no image"))
    with pytest.raises(InputError, match="3 of 200 images can't be read"):
        prepare_images(spec, SIZE, tmp_path / "home", val="held-out")
