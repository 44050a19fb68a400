"""Images of strangers: whatever they are, each is decoded rightly or named in one clear message."""

import io
import os
import resource
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from disturbed import Command, clear, tried
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from designspace.data.decode import Geometry, decode_file

SMALL = Geometry(8, 8)


def encoded(image, kind, **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(mode="RGB", side=16):
    """A picture that is dark on the left and bright on the right."""
    ramp = np.tile(np.linspace(0, 255, side), (side, 1)).astype(np.uint8)
    return Image.fromarray(ramp).convert(mode)


def png(width, height, depth=8, colour=2, data=b""):
    """A PNG file that says so of itself."""

    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def decode(content, path, geometry=SMALL):
    """Decode a file without any warning; return the array, or the message."""
    path.write_bytes(content)
    before, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded, message = tried(decode_file, str(path), geometry, wrong=ValueError)
    assert time.process_time() - before < 5
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < 1 << 30
    if decoded is None:
        assert message
        assert "\n" not in message
        return message
    assert decoded[0].shape == (geometry.side, geometry.side, 3)
    assert decoded[0].dtype == np.uint8
    return decoded[0]


def bright(record):
    """Mean of the left and of the right half."""
    return record[:, :4].mean(), record[:, 4:].mean()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "png"), ("L", "png"), ("1", "png"), ("P", "png"), ("LA", "png"), ("RGBA", "png"),
        ("I;16", "png"), ("I;16", "tiff"), ("I;16B", "tiff"), ("CMYK", "jpeg"), ("CMYK", "tiff"),
        ("L", "jpeg"), ("RGB", "webp"), ("RGBA", "webp"), ("YCbCr", "jpeg"),
        ("RGB", "bmp"), ("RGB", "ppm"), ("RGBX", "tiff"),
    ],
)  # fmt: skip
def test_every_mode_shows_what_is_in_it(mode, kind, tmp_path):
    if mode.startswith("I;16"):
        ramp = np.tile(np.linspace(0, 65535, 16), (16, 1)).astype(
            "<u2" if mode == "I;16" else ">u2"
        )
        image = Image.fromarray(ramp)
    elif mode == "LAB":
        image = Image.merge("LAB", [picture("L"), *(Image.new("L", (16, 16), 128),) * 2])
    else:
        image = picture(mode)
    record = decode(encoded(image, kind), tmp_path / f"x.{kind}")
    reference = decode(encoded(picture(), "png"), tmp_path / "r.png")
    left, right = bright(record)
    # A black and white picture is dithered, the others are the ramp itself.
    assert left == pytest.approx(bright(reference)[0], abs=20)
    assert right == pytest.approx(bright(reference)[1], abs=20)


def test_pgm_of_16_bits(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 16), (16, 1)).astype(">u2")
    record = decode(b"P5\n16 16\n65535\n" + ramp.tobytes(), tmp_path / "x.pgm")
    assert np.array_equal(record, decode(encoded(picture(), "png"), tmp_path / "r.png"))


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_range_are_refused_with_the_remedy(mode, tmp_path):
    said = decode(encoded(picture(mode), "tiff"), tmp_path / "x.tiff")
    assert "32-bit" in said
    assert "8 or 16 bits" in said


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_of_an_animation_the_first_picture_is_taken(kind, tmp_path):
    frames = [Image.new("RGB", (16, 16), (value, 0, 0)) for value in (250, 5, 5)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert decode(content, tmp_path / f"x.{kind}")[..., 0].mean() > 200


BOMBS = {
    "a PNG of 2^31 pixels a side": png(2**31 - 1, 2**31 - 1),
    "a PNG of 20000 pixels a side": png(20_000, 20_000, data=zlib.compress(b"\0" * 10**7)),
    "a PNG of 12000 pixels a side": png(12_000, 12_000, data=zlib.compress(b"\0" * 10**7)),
    "a 16-bit PNG of 9000 pixels a side": png(9000, 9000, 16, 6, zlib.compress(b"\0" * 10**7)),
    "no pixels": png(0, 0),
    "a BMP of 60000 pixels a side": b"BM" + b"\0" * 12
    + struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
    "a GIF of 65535 pixels a side": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
    + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x01\x00\x00;",
    "a PPM of a billion": b"P6 100000 100000 255 x",
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_sizes_that_are_too_large_are_refused_before_they_are_decoded(kind, tmp_path):
    assert isinstance(decode(BOMBS[kind], tmp_path / "x.png"), str)


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (3, 40_000)])
def test_a_hair_is_cut_to_its_middle_before_it_grows(shape, tmp_path):
    """Its shorter side is resized to 256 pixels: the longer one would become 15 million."""
    image = Image.new("RGB", shape, (0, 200, 0))
    record = decode(encoded(image, "png"), tmp_path / "x.png", Geometry(256, 224))
    assert (record[..., 1] > 190).all()


def test_a_wide_picture_comes_out_as_ever(tmp_path):
    """Cutting the middle first changes no pixel of pictures that people take."""
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 250, 3)).astype(np.uint8))
    record = decode(encoded(wide, "png"), tmp_path / "x.png", Geometry(20, 20))
    plain = np.asarray(wide.resize((125, 20), Image.Resampling.BILINEAR))
    assert (record == plain[:, 52:72]).all()


WHOLE = [
    encoded(picture(), "png"), encoded(picture(), "jpeg"), encoded(picture(), "gif"),
    encoded(picture(), "webp"), encoded(picture(), "bmp"), encoded(picture(), "tiff"),
    encoded(picture("P"), "png"), encoded(picture("1"), "tiff", compression="group4"),
    encoded(picture("CMYK"), "jpeg"), encoded(picture("LA"), "png"), encoded(picture(), "ppm"),
]  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_damage_to_any_image(data, tmp_path_factory):
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    decode(bytes(content), tmp_path_factory.mktemp("any") / "x.png")


@pytest.mark.parametrize("whole", WHOLE, ids=range(len(WHOLE)))
def test_truncated_at_every_byte(whole, tmp_path, times):
    for cut in range(0, len(whole), times(1, 29)):
        decode(whole[:cut], tmp_path / "x.png")
    assert isinstance(decode(b"", tmp_path / "x.png"), str)


def write(root, each=6):
    """A folder of good images."""
    for part in ("train", "test"):
        for label in range(2):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(each):
                pixels = np.full((8, 8, 3), 20 * i + 100 * label, np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def words(study, run, images):
    plain = study.train(run, "--limit", 1, "--batch-size", 4, "--val", "test")
    return [f"folder:{images}" if word == "digits" else word for word in plain]


@pytest.mark.slow
def test_training_names_each_bad_image_and_what_to_do(small_study, tmp_path):
    images = write(tmp_path / "images")
    folder = images / "train" / "class0"
    (folder / "zero.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(WHOLE[0][:60])
    (folder / "bomb.png").write_bytes(BOMBS["a PNG of 20000 pixels a side"])
    (folder / "text.jpg").write_text("<html>not found</html>")
    outcome = Command(*words(small_study, small_study.copy("bad"), images)).end()
    assert outcome.code == 2, outcome
    said = clear(outcome.err, "4 of 28 images can't be read", "Replace or remove them")
    for name in ("zero.png (empty file)", "cut.png (", "bomb.png (", "text.jpg (not an image)"):
        assert f"{folder}/{name}" in said, said
    for name in ("zero.png", "cut.png", "bomb.png", "text.jpg"):
        (folder / name).unlink()
    assert Command(*words(small_study, small_study.copy("good"), images)).end().code == 0


def test_what_is_no_file_among_the_images(small_study, tmp_path):
    """A pipe would be waited for without end, a device read without end."""
    images = write(tmp_path / "images")
    os.mkfifo(images / "train" / "class0" / "pipe.png")
    outcome = Command(*words(small_study, small_study.copy("pipe"), images)).end(120)
    assert outcome.code == 2, outcome
    clear(outcome.err, images / "train" / "class0" / "pipe.png", "not a file")


def test_a_folder_that_is_linked_into_itself(small_study, tmp_path):
    images = write(tmp_path / "images")
    for name in ("one", "two", "three"):
        (images / "train" / "class0" / name).symlink_to("..")
    outcome = Command(*words(small_study, small_study.copy("loop"), images)).end(120)
    assert outcome.code == 2, outcome
    clear(outcome.err, images / "train" / "class0", "is reached twice", "remove the link")


def test_a_link_that_leads_nowhere(small_study, tmp_path):
    images = write(tmp_path / "images")
    (images / "train" / "class0" / "gone.png").symlink_to("nowhere.png")
    outcome = Command(*words(small_study, small_study.copy("gone"), images)).end(120)
    assert outcome.code == 2, outcome
    clear(outcome.err, "gone.png", "No such file")


def test_names_of_images_can_be_anything(small_study, tmp_path):
    images = write(tmp_path / "images")
    first = images / "train" / "class0" / "0.png"
    for name in (b"\xff\xfe.png", b"a\nb.png", b"<img src=x>.png", b"\x1b[31m.png", b"..png"):
        os.link(first, os.path.join(bytes(first.parent), name))
    outcome = Command(*words(small_study, small_study.copy("names"), images)).end(120)
    assert outcome.code == 0, outcome
    (first.parent / "bad\n\x1b[31m\udcff.png").write_bytes(b"x")
    outcome = Command(*words(small_study, small_study.copy("names2"), images)).end(120)
    assert outcome.code == 2, outcome
    assert "\x1b" not in clear(outcome.err, "1 of 29 images can't be read")  # ..png is hidden
