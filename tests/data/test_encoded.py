"""Images of saved data sets and of labelled shards, decoded into the cache as files are."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from designspace.data.cache import build_cache
from designspace.data.decode import Geometry
from designspace.data.sources import load_source
from designspace.data.splits import split
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


def test_saved_data_sets_that_cannot_be(save, tmp_path):
    with pytest.raises(InputError, match="no column of images among label"):
        load_source(save(columns=("label",)))
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="not a saved data set"):
        load_source(f"hf:{tmp_path / 'other'}")
    with pytest.raises(InputError, match="there is no folder"):
        load_source("hf:/nowhere")


def test_labelled_shards_are_decoded_with_their_classes(tmp_path, pictures):
    pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for i, (image, label) in enumerate(zip(*pictures, strict=True)):
            file = io.BytesIO()
            image.save(file, "png")
            name = ("dark", "light")[label].encode()
            for suffix, data in (("png", file.getvalue()), ("cls", name)):
                member = tarfile.TarInfo(f"{i:03d}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    source = check(f"webdataset:{tmp_path / '0.tar'}", tmp_path, pictures)
    assert source.classes == ("dark", "light")
    with pytest.raises(InputError, match="nothing"):
        load_source(f"webdataset:{tmp_path}/nothing.tar")
