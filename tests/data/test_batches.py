"""The order in which images come."""

import gc
import shutil
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from designspace.data import batches as module
from designspace.data.batches import Batches
from designspace.data.cache import build_cache
from designspace.data.datasets import load_source
from designspace.data.decode import geometries
from designspace.data.splits import split

CPU = torch.device("cpu")


@pytest.fixture
def cached(write_images, tmp_path, recipe):
    parts = split(load_source(f"folder:{write_images(tmp_path / 'data', each=90)}"), "test")
    return build_cache(parts, geometries(recipe), tmp_path / "home")


@pytest.mark.parametrize("large", [module.LARGE, 0])
def test_an_epoch_visits_each_image_at_most_once(
    write_images, tmp_path, recipe, monkeypatch, large
):
    """Also in windows of 32 images, read in chunks of 8."""
    monkeypatch.setattr(module, "_CHUNK", 8)
    monkeypatch.setattr(module, "_WINDOW", 32 * 8 * 8 * 3)
    recipe = replace(recipe, augmentation="none")
    parts = split(load_source(f"folder:{write_images(tmp_path / 'plain', each=90)}"), "test")
    batches = Batches(build_cache(parts, geometries(recipe), tmp_path / "home"), recipe, CPU, large)
    batches._normalize = lambda images: images
    known = {image.numpy().tobytes(): row for row, image in enumerate(batches._arrays.train)}
    assert len(known) == 180
    orders = []
    for epoch in (0, 1):
        rows = []
        for images, labels in batches.epoch(seed=1, epoch=epoch):
            assert len(images) == 16
            found = [known[image.numpy().tobytes()] for image in images]
            assert (batches._arrays.train_labels[found] == labels).all()
            rows += found
        assert len(rows) == len(set(rows)) == 176
        orders.append(rows)
    assert orders[0] != orders[1]


def test_seed_and_epoch_decide_the_batches(cached, recipe):
    batches = Batches(cached, recipe, CPU)

    def first(seed, epoch):
        return next(iter(batches.epoch(seed, epoch)))[0]

    assert (first(1, 0) == first(1, 0)).all()
    assert not (first(1, 0) == first(1, 1)).all()
    assert not (first(1, 0) == first(2, 0)).all()


@pytest.mark.parametrize("augmentation", ["crop-flip", "resized-crop-flip"])
def test_batches_do_not_depend_on_where_the_images_lie(cached, recipe, monkeypatch, augmentation):
    """Read in windows or whole: random numbers are drawn for the same groups of images."""
    monkeypatch.setattr(module, "_GROUP", 64)
    monkeypatch.setattr(module, "_WINDOW", 48 * 10 * 10 * 3)
    recipe = replace(recipe, augmentation=augmentation)
    epochs = []
    for streamed in (False, True):
        monkeypatch.setattr(Batches, "_streamed", streamed)
        epochs.append(list(Batches(cached, recipe, CPU).epoch(3, 1)))
    assert len(epochs[0]) == len(epochs[1]) == 11
    for (images, labels), (others, other_labels) in zip(*epochs, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


def test_validation_shows_every_image_in_order(cached, recipe):
    batches = Batches(cached, recipe, CPU)
    labels = torch.cat([labels for _, labels in batches.validation()])
    images = torch.cat([images for images, _ in batches.validation()])
    assert labels.tolist() == [0] * 90 + [1] * 90
    assert images.shape == (180, 3, 8, 8)


def test_validation_is_filled_up_to_batches_of_one_shape(cached, recipe, monkeypatch):
    monkeypatch.setattr(module, "_VAL_BATCH_GPU", 100)
    batches = Batches(cached, recipe, CPU)
    whole = list(batches.validation())
    arrays = replace(batches._arrays, val=batches._arrays.val[:175])
    batches._arrays = replace(arrays, val_labels=batches._arrays.val_labels[:175])
    batches._device = torch.device("meta")
    monkeypatch.setattr(Batches, "_to_device", lambda batches, tensor: tensor)
    parts = list(batches.validation())
    assert [len(images) for images, _ in parts] == [88, 88]
    assert parts[1][1].tolist() == [*whole[0][1][88:], *whole[1][1][:47], -1]
    assert batches.validation_size == 175


def test_a_batch_is_never_larger_than_the_data(cached, recipe):
    batches = Batches(cached, replace(recipe, batch_size=1000), CPU)
    assert batches.steps_per_epoch == 1
    assert [len(images) for images, _ in batches.epoch(0, 0)] == [180]


def test_a_process_holds_one_copy_of_the_images_in_use_and_of_the_last(cached, recipe, tmp_path):
    """Models of two geometries take turns, as those of two runs do."""
    other = tmp_path / "other"
    shutil.copytree(cached.path, other)
    in_use = [module.open_arrays(path, CPU) for path in (cached.path, other) * 4]
    assert len({*in_use}) == 2
    assert module.open_arrays(cached.path, CPU) is in_use[0]
    first, second = weakref.ref(in_use[0]), weakref.ref(in_use[1])
    del in_use
    gc.collect()
    assert second() is None
    assert first() is module.open_arrays(cached.path, CPU)  # for the next model
    module.open_arrays(other, CPU)
    assert first() is None


def test_chunks_are_read_whole_and_batches_mix_them(cached, recipe, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 8)
    monkeypatch.setattr(module, "_WINDOW", 32 * 10 * 10 * 3)
    batches = Batches(cached, recipe, CPU, large=0)
    order = batches._order(torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(180))
    window = order[:32]
    assert len(set((window // 8).tolist())) == 4
    assert len(set((window[:16] // 8).tolist())) > 2


def test_a_large_subset_is_read_where_it_lies(cached, recipe):
    """The same batches as of a copy of its images."""
    rows = torch.arange(0, 180, 2)
    size = len(rows) * np.prod(np.load(cached.path / "train.npy", mmap_mode="r").shape[1:])
    copied = Batches(cached, recipe, CPU, large=int(size), rows=rows)
    mapped = Batches(cached, recipe, CPU, large=int(size) - 1, rows=rows)
    assert (copied._rows, len(mapped._rows)) == (None, 90)
    assert mapped.steps_per_epoch == copied.steps_per_epoch
    for own, other in zip(mapped.epoch(0, 1), copied.epoch(0, 1), strict=True):
        assert torch.equal(own[0], other[0])
        assert torch.equal(own[1], other[1])
