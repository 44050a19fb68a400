"""The image cache: what it holds, what names it, and how it survives."""

import os
import shutil
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from designspace.data import cache as module
from designspace.data.cache import build_cache
from designspace.data.datasets import load_source
from designspace.data.decode import Geometry, geometries, make_record
from designspace.data.splits import split
from designspace.errors import InputError

PLAIN = (Geometry(8, 8), Geometry(8, 8))


def parts_of(folder, choice="test"):
    return split(load_source(f"folder:{folder}"), choice)


def test_records_are_the_images_with_room_around_them(images, tmp_path):
    parts = parts_of(images)
    cache = build_cache(parts, (Geometry(8, 8, pad=2), Geometry(8, 8)), tmp_path / "home")
    train, val = np.load(cache.path / "train.npy"), np.load(cache.path / "val.npy")
    assert train.shape == (48, 12, 12, 3)
    for row, file in enumerate(parts.train.files):
        assert (train[row, 2:-2, 2:-2] == np.asarray(Image.open(images / file))).all()
    assert (train[:, :2] == 0).all()
    assert (train[:, :, -2:] == 0).all()
    assert (np.load(cache.path / "val_labels.npy") == parts.val.labels).all()
    assert (val[3] == np.asarray(Image.open(images / parts.val.files[3]))).all()


def test_mean_and_std_are_those_of_the_training_pixels(images, tmp_path):
    cache = build_cache(
        parts_of(images), (Geometry(8, 8, pad=1), Geometry(8, 8)), tmp_path / "home"
    )
    pixels = np.load(cache.path / "train.npy")[:, 1:-1, 1:-1].reshape(-1, 3).astype(float)
    assert np.allclose(cache.mean, pixels.mean(0))
    assert np.allclose(cache.std, pixels.std(0))


def test_the_shorter_side_is_resized_and_the_middle_kept():
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = 255
    record = make_record(Image.fromarray(pixels), Geometry(10, 10, pad=1))
    assert record.shape == (12, 12, 3)
    assert (record[1:-1, 2:-2] > 250).all()
    assert (record[0] == 0).all()


def test_geometry_of_the_recipes(recipe):
    from dataclasses import replace

    train, val = geometries(replace(recipe, augmentation="crop-flip", resolution=32, pad=4))
    assert (train, val) == (Geometry(32, 32, 4), Geometry(32, 32))
    imagenet = replace(
        recipe, augmentation="resized-crop-flip", resolution=224, pad=28, eval_resize=1.143
    )
    assert geometries(imagenet) == (Geometry(256, 256), Geometry(256, 224))


def test_a_cache_is_named_by_content_not_by_place(images, tmp_path):
    first = build_cache(parts_of(images), PLAIN, tmp_path / "home")
    assert build_cache(parts_of(images), PLAIN, tmp_path / "home") == first
    copy = shutil.copytree(images, tmp_path / "copy", copy_function=shutil.copy)
    other = build_cache(parts_of(copy), PLAIN, tmp_path / "home")
    assert other.content == first.content
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(images / "train" / "class0" / "000.png")
    changed = build_cache(parts_of(images), PLAIN, tmp_path / "home")
    assert changed.content != first.content
    assert changed.path != first.path
    held_out = build_cache(parts_of(images, "held-out"), PLAIN, tmp_path / "home")
    assert held_out.content not in (first.content, changed.content)


def test_processes_give_what_one_gives(write_images, tmp_path):
    folder = write_images(tmp_path / "many", each=200)
    seen = []
    one = build_cache(parts_of(folder), PLAIN, tmp_path / "one")
    two = build_cache(
        parts_of(folder), PLAIN, tmp_path / "two", 2, lambda done, total: seen.append((done, total))
    )
    assert seen[0] == (0, 800)
    assert seen[-1] == (800, 800)
    assert one.content == two.content
    assert (np.load(one.path / "train.npy") == np.load(two.path / "train.npy")).all()


def test_unreadable_images_are_named_and_counted(images, tmp_path):
    (images / "train" / "class0" / "003.png").write_bytes(b"not an image")
    whole = (images / "test" / "class1" / "001.png").read_bytes()
    (images / "test" / "class1" / "001.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as error:
        build_cache(parts_of(images), PLAIN, tmp_path / "home")
    assert "2 of 96 images can't be read" in str(error.value)
    assert f"{images}/train/class0/003.png (not an image)" in str(error.value)
    assert "test/class1/001.png" in str(error.value)
    assert [path.suffix for path in (tmp_path / "home").iterdir()] == [".lock"]


def test_a_killed_build_resumes(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_SIZE", 8)
    decode, calls = module._decode_chunk, []

    def dies_at_the_fifth(job):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(job.start)
        return decode(job)

    monkeypatch.setattr(module, "_decode_chunk", dies_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        build_cache(parts_of(images), PLAIN, tmp_path / "home")
    assert not list((tmp_path / "home").glob("*/meta.json"))
    calls.clear()
    calls.append("a place held, so that the fifth call is never reached again")
    monkeypatch.setattr(
        module, "_decode_chunk", lambda job: (calls.append(job.start), decode(job))[1]
    )
    cache = build_cache(parts_of(images), PLAIN, tmp_path / "home")
    assert len(calls) - 1 == 12 - 5
    undisturbed = build_cache(parts_of(images), PLAIN, tmp_path / "other")
    assert cache.content == undisturbed.content
    for name in ("train", "val"):
        file = f"{name}.npy"
        assert (np.load(cache.path / file) == np.load(undisturbed.path / file)).all()


def test_a_killed_decoder_is_replaced(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_SIZE", 8)
    flag = tmp_path / "killed"
    monkeypatch.setattr(module, "_decode_chunk", _Killing(str(flag)))
    cache = build_cache(parts_of(images), PLAIN, tmp_path / "home", jobs=2)
    assert flag.exists()
    assert cache.train_images == 48


class _Killing:
    """Decodes; the first process that comes here kills itself."""

    def __init__(self, flag):
        self.flag = flag

    def __call__(self, job):
        from designspace.data.cache import _decode_chunk

        try:
            os.close(os.open(self.flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return _decode_chunk(job)
        time.sleep(0.2)
        return os.kill(os.getpid(), signal.SIGKILL)


def test_a_small_disk_is_reported_before_decoding(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="choose a folder on a larger disk"):
        build_cache(parts_of(images), PLAIN, tmp_path / "home")


def test_a_full_disk_is_reported(images, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    with pytest.raises(InputError, match="No space left on device"):
        build_cache(parts_of(images), PLAIN, tmp_path / "home")


def test_a_damaged_cache_is_reported(images, tmp_path):
    cache = build_cache(parts_of(images), PLAIN, tmp_path / "home")
    (cache.path / "meta.json").write_text("{")
    with pytest.raises(InputError, match="is damaged; remove that folder"):
        build_cache(parts_of(images), PLAIN, tmp_path / "home")


def test_without_a_home_to_write_in_caches_lie_in_the_temporary_folder(tmp_path, monkeypatch):
    from designspace.data.cache import default_cache_folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert default_cache_folder() == tmp_path / "mine" / "designspace"
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert default_cache_folder().is_relative_to(tmp_path / "tmp")


def test_validation_images_that_are_also_trained_on_are_counted(images, tmp_path):
    assert build_cache(parts_of(images), PLAIN, tmp_path / "home").notes == ()
    for i in range(3):
        shutil.copy(
            images / "train" / "class0" / "005.png", images / "test" / "class1" / f"{i}.png"
        )
    cache = build_cache(parts_of(images), PLAIN, tmp_path / "home", jobs=2)
    assert cache.duplicates == 3
    assert cache.notes[0].startswith("3 of 51 validation images are identical to training images")


def uniform_images(root, shade):
    """Write sixteen images of equal names, sizes and times, each of one shade from `shade` on."""
    for i in range(16):
        path = root / ("train", "test")[i // 8] / ("cat", "dog")[i // 4 % 2] / f"{i % 4}.ppm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"P6 8 8 255\n" + bytes([shade + i]) * 192)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return root


def test_other_images_of_equal_names_sizes_and_times_have_a_cache_of_their_own(tmp_path):
    dark = build_cache(parts_of(uniform_images(tmp_path / "a", 1)), PLAIN, tmp_path / "home")
    bright = build_cache(parts_of(uniform_images(tmp_path / "b", 101)), PLAIN, tmp_path / "home")
    assert (dark.mean[0], bright.mean[0]) == (4.5, 104.5)
    assert dark.content != bright.content
    moved = uniform_images(tmp_path / "moved", 1)
    assert build_cache(parts_of(moved), PLAIN, tmp_path / "home") == dark


def test_a_cache_of_an_earlier_version_stays_valid_for_its_images(tmp_path):
    """Earlier versions named it after names, sizes and times alone: here as 9699425 did."""
    parts = parts_of(uniform_images(tmp_path / "a", 1))
    earlier = tmp_path / "home" / "f53e349a6ebfa142e216"
    build_cache(parts, PLAIN, tmp_path / "home").path.rename(earlier)
    assert build_cache(parts, PLAIN, tmp_path / "home").path == earlier
    other = build_cache(parts_of(uniform_images(tmp_path / "b", 101)), PLAIN, tmp_path / "home")
    assert other.path != earlier
    assert other.mean[0] == 104.5
