"""Images of one and of n channels: decoding, the cache, augmentation and batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from designspace.data.batches import Batches
from designspace.data.datasets import load_source
from designspace.data.decode import Geometry, decode_file, geometries, narrow_range_note
from designspace.data.prepare import prepare_images
from designspace.errors import InputError

SIDE = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 5)).astype(np.uint8)
WIDE = np.random.default_rng(1).integers(0, 65536, (SIDE, SIDE)).astype(np.uint16)


def decoded(path, channels, side=SIDE):
    return decode_file(str(path), Geometry(side, side, channels=channels))[0]


def test_gray_images_keep_their_values(tmp_path):
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "gray.png")
    assert (decoded(tmp_path / "gray.png", 1)[..., 0] == PIXELS[..., 0]).all()
    assert (decoded(tmp_path / "gray.png", 3) == PIXELS[..., [0, 0, 0]]).all()
    Image.fromarray(WIDE).save(tmp_path / "wide.png")
    assert (decoded(tmp_path / "wide.png", 1)[..., 0] == np.rint(WIDE / 257)).all()


def test_color_images_become_gray_and_others_are_taken_as_they_are(tmp_path):
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "rgb.png")
    luma = np.asarray(Image.fromarray(PIXELS[..., :3]).convert("L"))
    assert (decoded(tmp_path / "rgb.png", 1)[..., 0] == luma).all()
    Image.fromarray(PIXELS[..., :4]).save(tmp_path / "rgba.png")
    assert (decoded(tmp_path / "rgba.png", 4) == PIXELS[..., :4]).all()
    assert decoded(tmp_path / "rgba.png", 3).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=["channels last", "channels first"])
def test_arrays_of_five_channels_are_read_and_resized(tmp_path, order):
    np.save(tmp_path / "spectrum.npy", PIXELS.transpose(order))
    assert (decoded(tmp_path / "spectrum.npy", 5) == PIXELS).all()
    small = decoded(tmp_path / "spectrum.npy", 5, side=6)
    by_band = Image.fromarray(PIXELS[..., 3]).resize((6, 6), Image.Resampling.BILINEAR)
    assert (small[..., 3] == np.asarray(by_band)).all()


def test_arrays_of_16_bits_and_of_one_channel_are_read(tmp_path):
    np.save(tmp_path / "wide.npy", WIDE)
    assert (decoded(tmp_path / "wide.npy", 1)[..., 0] == np.rint(WIDE / 257)).all()
    assert (decoded(tmp_path / "wide.npy", 3) == np.rint(WIDE / 257)[..., None]).all()


@pytest.mark.parametrize(
    ("array", "channels", "message"),
    [
        (PIXELS, 3, "has 5 channels where the network takes 3"),
        (PIXELS[..., 0], 5, "has 1 channels where the network takes 5"),
        (PIXELS.astype(np.float32), 5, "float32 values, of unknown range"),
        (PIXELS[None], 5, r"not an array \(height, width, channels\)"),
        (np.zeros((1 << 14, 1 << 14, 1), np.uint8), 1, "at most 134,217,728 are decoded"),
    ],
)
def test_other_arrays_are_refused_with_the_reason(tmp_path, array, channels, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message):
        decoded(tmp_path / "x.npy", channels)


def test_files_that_only_look_like_arrays_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("no array")
    with (tmp_path / "several.npy").open("wb") as file:
        np.savez(file, a=PIXELS)
    for path in tmp_path.glob("*.npy"):
        with pytest.raises(ValueError, match=r"(?i)empty|pickle|array"):
            decoded(path, 5)


def test_images_of_other_channels_are_refused_with_the_reason(tmp_path):
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match="has 3 channels where the network takes 5"):
        decoded(tmp_path / "rgb.png", 5)
    (tmp_path / "five.tif").write_bytes(b"II*\0")
    with pytest.raises(ValueError, match="more than 4 channels"):
        decoded(tmp_path / "five.tif", 5)


def write_arrays(root, each=12):
    """Two classes of arrays of five channels, which differ in channel 3 alone."""
    generator = np.random.default_rng(0)
    for label in range(2):
        folder = root / "train" / f"class{label}"
        folder.mkdir(parents=True)
        for i in range(each):
            pixels = generator.integers(0, 120, (8, 8, 5))
            pixels[..., 3] += 120 * label
            np.save(folder / f"{i}.npy", pixels.astype(np.uint8))
    return root


@pytest.mark.parametrize("augmentation", ["crop-flip", "resized-crop-flip"])
def test_batches_of_five_channels_are_normalized_each(tmp_path, recipe, augmentation):
    data = f"folder:{write_arrays(tmp_path / 'spectra')}"
    recipe = replace(recipe, augmentation=augmentation)
    images = prepare_images(data, geometries(recipe, 5), tmp_path / "home", val="held-out")
    batches = Batches(images.cache, recipe, torch.device("cpu"))
    pixels = torch.cat([batch for batch, _ in batches.epoch(0, 0)])
    assert pixels.shape[1:] == (5, 8, 8)
    val, labels = next(batches.validation())
    assert (val[:, 3].mean((1, 2)) > 0).tolist() == labels.bool().tolist()
    records = np.load(images.cache.path / "train.npy").astype(float)
    inner = records[:, 1:-1, 1:-1] if augmentation == "crop-flip" else records
    assert np.allclose(images.cache.mean, inner.mean((0, 1, 2)))
    assert np.allclose(images.cache.std, inner.std((0, 1, 2)))


def test_digits_have_no_five_channels(tmp_path, recipe):
    with pytest.raises(InputError, match=r"1797 of 1797 .* image 0 \(has 3 channels"):
        prepare_images("digits", geometries(recipe, 5), tmp_path / "home")


def test_16_bit_images_of_12_bits_are_reported(tmp_path):
    folder = tmp_path / "scans" / "train"
    for label in range(2):
        (folder / f"class{label}").mkdir(parents=True)
        for i in range(3):
            Image.fromarray(WIDE // 16).save(folder / f"class{label}" / f"{i}.png")
    items = load_source(f"folder:{tmp_path / 'scans'}").train
    note = narrow_range_note(items)
    assert note is not None
    assert f"values up to {WIDE.max() // 16} only: at 8 bits they become 16 shades" in note
    np.save(folder / "class0" / "0.npy", WIDE)
    assert narrow_range_note(load_source(f"folder:{tmp_path / 'scans'}").train) is None
