"""Shards of images: what an epoch shows, whatever the processes, and where it resumes."""

import gzip
import io
import tarfile
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("webdataset")

from designspace.data import encoded_images, shard_files, shards
from designspace.data.decode import Geometry
from designspace.data.encoded_images import load_labelled_shards
from designspace.data.shards import (
    EpochOrder,
    ShardReader,
    ShardStream,
    index_shards,
    lane_count,
)
from designspace.errors import InputError, MissingLabels

SIDE = 8


def encoded(number):
    """An image whose first pixels are its number, in base 256."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = number // 256, number % 256
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def number_of(record):
    return 256 * int(record[0, 0, 0]) + int(record[0, 0, 1])


@pytest.fixture
def write_shards(tmp_path):
    """Write shards of so many images each, numbered; bytes replace those of some images."""

    def write(counts, replaced=(), folder=tmp_path / "shards"):
        folder.mkdir()
        number = 0
        for shard, count in enumerate(counts):
            with tarfile.open(folder / f"{shard:03d}.tar", "w") as archive:
                for _ in range(count):
                    data = dict(replaced).get(number) or encoded(number)
                    for name, content in ((f"{number:05d}.png", data), (f"{number:05d}.cls", b"1")):
                        member = tarfile.TarInfo(name)
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
                    number += 1
        return f"webdataset:{folder}/{{000..{len(counts) - 1:03d}}}.tar"

    return write


def joined(lists):
    return list(chain.from_iterable(lists))


def stream(spec, tmp_path):
    return ShardStream(index_shards(spec, tmp_path / "index"), Geometry(SIDE, SIDE))


def epoch(images, batch, seed=0, number=0, first=0, processes=1, workers=1):
    """Numbers of the images of each batch, those of all processes joined."""
    parts = [
        [
            [number_of(record) for record in records.numpy()]
            for records, _ in images.batches(batch, seed, number, first, rank, processes, workers)
        ]
        for rank in range(processes)
    ]
    return [joined(step) for step in zip(*parts, strict=True)]


def test_an_epoch_shows_each_image_once_but_a_remainder(write_shards, tmp_path):
    images = stream(write_shards([20, 7, 33, 1, 15, 24, 0, 10]), tmp_path)
    assert images.train_images == 110
    first, second = (epoch(images, 16, number=number) for number in (0, 1))
    for batches in (first, second):
        assert [len(batch) for batch in batches] == [16] * 6
        assert max(Counter(joined(batches)).values()) == 1
    assert first != second
    assert set(joined(first)) != set(joined(second))  # the remainder differs
    assert epoch(images, 16) == first
    assert epoch(images, 16, seed=1) != first


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("workers", [1, 2])
def test_processes_and_loader_processes_change_nothing(write_shards, tmp_path, processes, workers):
    """One and two processes have the same 16 lanes."""
    images = stream(write_shards([9] * 16), tmp_path)
    assert epoch(images, 16, processes=processes, workers=workers) == epoch(images, 16)


def test_it_resumes_at_any_batch_and_reads_no_earlier_shard(write_shards, tmp_path):
    images = stream(write_shards([10] * 8), tmp_path)
    whole = epoch(images, 10)
    order = EpochOrder(images.index.counts, 0, 0)
    for first in (1, 5, 8):
        assert epoch(images, 10, first=first) == whole[first:]
    # 10 images per batch and 2 lanes: after 7 batches each lane is in its fourth shard.
    for lane in range(lane_count(10, 1, 8)):
        needed = [shard for shard, _ in order.rows(lane * 40 + 7 * 5, (lane + 1) * 40)]
        assert needed == [int(order.shards[lane * 4 + 3])]


def test_the_order_is_cut_at_any_place():
    order = EpochOrder((3, 0, 5, 2), seed=1, epoch=2)
    everything = [(s, int(r)) for s, rows in order.rows(0, 10) for r in rows]
    assert sorted(everything) == [(s, r) for s, n in enumerate((3, 0, 5, 2)) for r in range(n)]
    for start in range(11):
        for stop in range(start, 11):
            part = [(s, int(r)) for s, rows in order.rows(start, stop) for r in rows]
            assert part == everything[start:stop]


@pytest.mark.parametrize(
    ("batch", "processes", "count", "lanes"),
    [(64, 1, 100, 16), (64, 2, 100, 8), (64, 4, 100, 4), (512, 16, 100, 4), (100, 1, 100, 4),
     (50, 2, 3, 1), (7, 1, 9, 1), (64, 1, 5, 4)],
)  # fmt: skip
def test_lanes_divide_the_batch_and_have_a_shard_each(batch, processes, count, lanes):
    assert lane_count(batch, processes, count) == lanes


def test_an_image_that_cannot_be_decoded_is_named_and_another_stands_in(write_shards, tmp_path):
    images = stream(write_shards([8, 8], replaced={3: b"no image"}), tmp_path)
    found = [(len(records), problems) for records, problems in images.batches(8, 0, 0, 0, 0, 1, 1)]
    assert [n for n, _ in found] == [8, 8]
    ((name, reason),) = [problem for _, problems in found for problem in problems.items()]
    assert reason == "not an image"
    assert name.endswith("shards/000.tar: 00003.png")
    seen = Counter(joined(epoch(images, 8)))
    assert 3 not in seen
    assert sorted(seen.values()) == [1] * 14 + [2]


def test_where_a_lane_decodes_nothing_another_lane_stands_in(write_shards, tmp_path):
    """Sixteen lanes of one image each."""
    images = stream(write_shards([1] * 16, replaced={3: b"no image"}), tmp_path)
    (records, problems) = next(images.batches(16, 0, 0, 0, 0, 1, 2))
    assert len(problems) == 1
    seen = Counter(number_of(record) for record in records.numpy())
    assert sorted(seen) == [i for i in range(16) if i != 3]
    assert sorted(seen.values()) == [1] * 14 + [2]


def test_files_that_macos_adds_are_no_images(tmp_path):
    pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for name in ("./._a.jpg", "./a.jpg", "deep/._b.jpg", "deep/b.jpg"):
            archive.addfile(tarfile.TarInfo(name))
    spec = f"webdataset:{tmp_path / '0.tar'}"
    assert index_shards(spec, tmp_path / "index").counts == (2,)
    assert [name for name, _ in ShardReader(str(tmp_path / "0.tar"))] == ["./a.jpg", "deep/b.jpg"]


def test_a_shard_that_is_cut_counts_its_whole_images(write_shards, tmp_path):
    spec = write_shards([6] * 20)
    shard = tmp_path / "shards" / "004.tar"
    shard.write_bytes(shard.read_bytes()[: 3 * 2 * 1024 + 520])
    images = stream(spec, tmp_path)
    assert images.index.counts == (6,) * 4 + (3,) + (6,) * 15
    note = f"1 of 20 shards is cut; their whole images are used: {shard} (unexpected end of data)"
    assert images.notes == (note,)
    seen = set(joined(epoch(images, 9)))
    assert seen == set(range(120)) - {27, 28, 29}
    other = tmp_path / "shards" / "007.tar"
    other.write_bytes(other.read_bytes()[:520])
    with pytest.raises(InputError, match=r"2 of 20 shards can't be read .*004\.tar.*at most 5%"):
        stream(spec, tmp_path)


def test_shards_that_cannot_be(write_shards, tmp_path):
    with pytest.raises(InputError, match=r"nothing\.tar: No such file"):
        index_shards(f"webdataset:{tmp_path}/nothing.tar", tmp_path)
    with pytest.raises(InputError, match="its shards hold no image"):
        stream(write_shards([0, 0]), tmp_path)
    with pytest.raises(InputError, match="names a shard twice"):
        index_shards(f"webdataset:{tmp_path}/{{a,a}}.tar", tmp_path)
    with pytest.raises(InputError, match=r"Unbalanced braces.*write shards such as shards/\{000"):
        index_shards(f"webdataset:{tmp_path}/{{000..049.tar", tmp_path)
    with pytest.raises(InputError, match=r"there is no file .*\*\.tgz"):
        index_shards(f"webdataset:{tmp_path}/*.tgz", tmp_path)
    with pytest.raises(InputError, match=r"shards is a folder; name its shards, .*shards/\*\.tar"):
        index_shards(f"webdataset:{tmp_path}/shards", tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"neither tar nor gzip" * 200, "no tar file"),
        (gzip.compress(b"x" * 1000, mtime=0), "compressed by gzip; rename it to .tar.gz"),
        (b"", "empty file"),
    ],
    ids=["text", "gzip", "empty"],
)
def test_why_a_shard_cannot_be_read(tmp_path, content, reason):
    path = tmp_path / "0.tar"
    path.write_bytes(content)
    for read in (lambda spec: index_shards(spec, tmp_path / "index"), load_labelled_shards):
        with pytest.raises(InputError, match=rf"1 of 1 shard can't be .*0\.tar \({reason}\)"):
            read(f"webdataset:{path}")


def test_a_pattern_of_the_shell_and_the_home_folder(write_shards, tmp_path, monkeypatch):
    stream(write_shards([5, 6]), tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    spec = "webdataset:~/shards/*.tar"
    assert index_shards(spec, tmp_path / "index").counts == (5, 6)
    assert len(load_labelled_shards(spec).labels) == 11


def test_a_pipe_that_fails_is_tried_again(write_shards, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_files, "_PAUSES", (0.0, 0.0))
    write_shards([5, 6])
    flag, folder = tmp_path / "flag", tmp_path / "shards"
    once = f"test -e {flag} && cat {folder}/000.tar || (touch {flag}; false)"
    images = stream(f"webdataset:pipe:{once}", tmp_path)
    assert (images.index.counts, images.index.cut) == ((5,), {})


def test_a_pipe_that_keeps_failing_is_left_out_of_the_resumed_run_too(
    write_shards, tmp_path, monkeypatch
):
    monkeypatch.setattr(shard_files, "_PAUSES", (0.0, 0.0))
    write_shards([2] * 20)
    last = tmp_path / "shards" / "019.tar"
    last.rename(tmp_path / "away.tar")
    spec = f"webdataset:pipe:cat {tmp_path}/shards/{{000..019}}.tar 2>/dev/null"
    first = stream(spec, tmp_path)
    assert first.train_images == 38
    assert first.notes[0].startswith("1 of 20 shards is cut")
    (tmp_path / "away.tar").rename(last)
    again = stream(spec, tmp_path)
    assert (again.train_images, again.content) == (38, first.content)
    assert "if they changed, remove" in again.notes[1]


def test_a_failure_of_a_pipe_is_not_kept(write_shards, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_files, "_PAUSES", (0.0, 0.0))
    stream(write_shards([5, 6]), tmp_path)
    later = tmp_path / "later"
    spec = f"webdataset:pipe:cat {later}/{{000..001}}.tar 2>/dev/null"
    with pytest.raises(InputError, match="2 of 2 shards can't be read to the end"):
        stream(spec, tmp_path)
    (tmp_path / "shards").rename(later)
    first = stream(spec, tmp_path)
    assert (first.index.counts, first.notes) == ((5, 6), ())
    again = stream(spec, tmp_path)
    assert "11 images in 2 shards were counted earlier; if they changed" in again.notes[0]
    assert Path(again.notes[0].rpartition(" ")[2]).is_file()
    assert again.content == first.content


def test_pretraining_and_evaluation_read_the_same_images(tmp_path):
    names = ("a.jpg", "b.view.jpg", "c.JPG", "d.png", "d.cls", "e.txt", "__f__.png")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    spec = f"webdataset:{tmp_path}/0.tar"
    assert index_shards(spec, tmp_path / "index").images == 4
    assert load_labelled_shards(spec).names == tuple(f"0.tar/{n.lower()}" for n in names[:4])


def test_a_shard_that_changed_since_it_was_counted(write_shards, tmp_path):
    images = stream(write_shards([8, 8]), tmp_path)
    shard = tmp_path / "shards" / "001.tar"
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"001\.tar had 8 images when training began"):
        epoch(images, 8)


def test_a_pipe_is_read_as_a_file_is(write_shards, tmp_path):
    spec = write_shards([5, 6])
    path = spec.partition(":")[2]
    piped = stream(f"webdataset:pipe:cat {path}", tmp_path)
    assert piped.index.counts == (5, 6)
    assert epoch(piped, 4) == epoch(stream(spec, tmp_path), 4)


def test_a_sample_is_taken_from_all_shards(write_shards, tmp_path):
    images = stream(write_shards([5, 5, 5]), tmp_path)
    assert [number_of(r) for r in images.sample(6).numpy()] == [0, 1, 5, 6, 10, 11]


def test_a_sample_of_many_shards_opens_an_even_choice(write_shards, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_SAMPLED_SHARDS", 2)
    images = stream(write_shards([2, 2, 2, 2]), tmp_path)
    assert [number_of(r) for r in images.sample(3).numpy()] == [0, 1, 4]


def test_a_sample_opens_no_more_shards_than_it_needs(write_shards, tmp_path, monkeypatch):
    images = stream(write_shards([3] * 8), tmp_path)
    opened, read = [], shards.read_again
    monkeypatch.setattr(
        shards, "read_again", lambda url, *rest: opened.append(url) or read(url, *rest)
    )
    assert len(images.sample(9)) == 9
    assert len(opened) == 5  # two from each
    assert len(images.sample(10**12)) == 24  # no more memory than for all


def test_a_pipe_that_fails_during_training_is_read_again(write_shards, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_files, "_PAUSES", (0.0, 0.0))
    write_shards([4, 4])
    flag, folder = tmp_path / "flag", tmp_path / "shards"
    spec = f"webdataset:pipe:rm {flag} 2>/dev/null || cat {folder}/{{000..001}}.tar"
    images = stream(spec, tmp_path)
    flag.touch()  # the next pipe removes it, and gives nothing
    assert sorted(joined(epoch(images, 8))) == list(range(8))
    flag.touch()
    assert len(images.sample(8)) == 8
    flag.touch()
    assert len(load_labelled_shards(spec).labels) == 8


def test_many_images_without_labels_are_said_to_be_so(write_shards, tmp_path, monkeypatch):
    monkeypatch.setattr(encoded_images, "_MAX_BYTES", 10)
    with pytest.raises(InputError, match="of more than 0 GiB, which only pretraining"):
        load_labelled_shards(write_shards([2]))
    with tarfile.open(tmp_path / "bare.tar", "w") as archive:
        member = tarfile.TarInfo("0.png")
        member.size = len(encoded(0))
        archive.addfile(member, io.BytesIO(encoded(0)))
    with pytest.raises(MissingLabels, match="without labels only"):
        load_labelled_shards(f"webdataset:{tmp_path}/bare.tar")
