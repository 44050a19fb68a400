"""Pretraining on shards over two processes: killed, resumed, and every image counted."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from small import SMALL

pytest.importorskip("webdataset")

from designspace.arch.model_file import write_model
from designspace.data.datasets import load_source
from designspace.data.decode import Geometry
from designspace.data.shards import ShardStream, index_shards
from designspace.data.splits import split
from designspace.errors import InputError
from designspace.pretraining.crop_loader import StreamCropLoader
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.images import training_sample
from designspace.pretraining.neighbor_gallery import read_gallery
from designspace.pretraining.pretrain import pretrain
from designspace.pretraining.pretrain_run import PretrainRun
from designspace.pretraining.recipe import load_recipe

# A process that trains writes down what its loader decodes: iteration by iteration.
SPY = """
import json, os, sys
from designspace.cli.main import main
from designspace.data import shards

plain = shards.ShardStream.batches

def spied(self, batch, seed, epoch, first, rank, *more):
    with open(os.environ["SEEN"] + f".{rank}", "a") as file:
        batches = plain(self, batch, seed, epoch, first, rank, *more)
        for step, (records, problems) in enumerate(batches, first):
            pixels = records[:, 0, 0].tolist()
            file.write(json.dumps([epoch, step, [256 * r + g for r, g, _ in pixels]]) + "\\n")
            file.flush()
            yield records, problems

shards.ShardStream.batches = spied
main(sys.argv[1:])
"""


def write_shards(folder, shards, each, side=16):
    folder.mkdir()
    number = 0
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:03d}.tar", "w") as archive:
            for _ in range(each):
                pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
                pixels[0, 0] = number // 256, number % 256, 0
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "png")
                member = tarfile.TarInfo(f"{number:05d}.png")
                member.size = file.tell()
                file.seek(0)
                archive.addfile(member, file)
                number += 1


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, a recipe of two epochs, and 50 shards of 20 images."""
    home = tmp_path_factory.mktemp("stream")
    write_model(SMALL, home / "model.yaml")
    write_shards(home / "shards", 50, 20)
    changes = {"epochs": 2, "batch_size": 100, "knn_every": 0}
    (home / "recipe.yaml").write_text(yaml.safe_dump(load_recipe("quick").to_dict() | changes))
    (home / "spy.py").write_text(SPY)
    return home


def words(place, out, shards="{000..049}"):
    return [
        "pretrain", str(place / "model.yaml"), "--recipe", str(place / "recipe.yaml"),
        "--data", f"webdataset:{place}/shards/{shards}.tar", "--out", str(place / out),
        "--cache", str(place / "cache"), "--threads", "1",
    ]  # fmt: skip


def launch(place, out, processes):
    environment = {**os.environ, "SEEN": str(place / f"{out}.seen"), "OMP_NUM_THREADS": "1"}
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*start, str(place / "spy.py"), *words(place, out)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def seen(place, out, ranks):
    """What each process decoded for each iteration; what was decoded last counts."""
    batches = {}
    for rank in range(ranks):
        for line in (place / f"{out}.seen.{rank}").read_text().splitlines():
            epoch, step, numbers = json.loads(line)
            batches[epoch, step, rank] = numbers
    return batches


def end_with(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_pictures_of_a_stream_are_of_all_its_shards(place):
    recipe, cpu = load_recipe(str(place / "recipe.yaml")), torch.device("cpu")
    source = f"webdataset:{place}/shards/{{000..049}}.tar"
    records, labels = training_sample(source, 100, recipe, 3, place / "cache", cpu)
    numbers = [256 * red + green for red, green, _ in records[:, 0, 0].tolist()]
    assert len(set(numbers)) == 100
    assert Counter(number // 20 for number in numbers) == Counter(dict.fromkeys(range(50), 2))
    assert numbers != sorted(numbers)
    assert (labels == -1).all()
    again, _ = training_sample(source, 100, recipe, 3, place / "cache", cpu)
    assert torch.equal(records, again)


@pytest.mark.slow
def test_a_stream_is_pretrained_on_and_its_rank_is_watched(place):
    end_with(launch(place, "alone", 1))
    run = PretrainRun(place / "alone")
    assert run.data().images == 1000
    (first, second) = run.epochs()
    assert first["iteration"] == 10
    for record in (first, second):
        assert 1 <= record["rankme"] <= record["rank_limit"] == 16
        assert record["undecodable"] == 0
        assert "knn" not in record
    gallery = read_gallery(run)
    assert int(gallery["searched"]) == 1000
    assert gallery["same"].shape == (10, 0)  # there are no labels
    assert "alt=" in (place / "alone" / "report" / "index.html").read_text()
    batches = seen(place, "alone", 1)
    for epoch in (0, 1):
        numbers = Counter(n for (e, *_), batch in batches.items() if e == epoch for n in batch)
        assert numbers == Counter(range(1000))


@pytest.mark.slow
def test_two_processes_that_are_killed_resume_exactly(place):
    """Every image once in each epoch, as documented, and the losses of a run without a kill."""
    end_with(launch(place, "whole", 2))
    process = launch(place, "killed", 2)
    out = PretrainRun(place / "killed")
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if out.path.is_dir() and len(out.epochs()) >= 1 and len(out.steps()) > 10:
            break
        time.sleep(0.01)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    end_with(launch(place, "killed", 2))
    batches = seen(place, "killed", 2)
    assert batches == seen(place, "whole", 2)
    for epoch in (0, 1):
        numbers = Counter(n for (e, *_), batch in batches.items() if e == epoch for n in batch)
        assert numbers == Counter(range(1000))
    whole = PretrainRun(place / "whole")
    assert out.steps() == whole.steps()
    a, b = (run.load(torch.device("cpu"))[0]["network"] for run in (out, whole))
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"data has fewer shards \(3\) than processes \(4\)"),
        ({"batch_size": 6}, "batch_size is 6; it must be a multiple of the 4 processes"),
        # 3 images of each process are no 2 parts.
        ({"batch_size": 12, "accumulate": 2}, "multiple of the 4 processes, times 2 parts"),
    ],
)
def test_what_processes_cannot_share_is_refused(place, changes, message, monkeypatch):
    group = ProcessGroupInfo(torch.device("cpu"), rank=0, size=4)
    monkeypatch.setattr(
        "designspace.pretraining.pretrain.process_group", lambda device: nullcontext(group)
    )
    data, options = f"webdataset:{place}/shards/{{000..002}}.tar", {"batch_size": 8, **changes}
    with pytest.raises(InputError, match=message):
        pretrain(SMALL, data=data, out=place / "few", cache=place / "cache", threads=1, **options)
    assert not (place / "few").exists()


def test_too_many_undecodable_images_are_refused(place, cli):
    broken = place / "shards" / "900.tar"
    with tarfile.open(broken, "w") as archive:
        for number in range(120):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = 8
            archive.addfile(member, io.BytesIO(b"no image"))
    done = cli(*words(place, "broken", shards="900"))
    assert done.code == 2
    assert "more than 1% of 120 images can't be decoded" in done.err
    assert "Traceback" not in done.err


@pytest.fixture(scope="module")
def spoiled(place):
    """Two hundred images in four shards, two of them undecodable."""
    write_shards(place / "spoiled", 4, 50)
    for name, numbers in (("001.tar", (60,)), ("003.tar", (199,))):
        shard = bytearray((place / "spoiled" / name).read_bytes())
        for number in numbers:  # the content follows a header of 512 bytes
            start = shard.index(f"{number:05d}.png".encode()) + 512
            shard[start : start + 8] = b"no image"
        (place / "spoiled" / name).write_bytes(shard)
    return f"webdataset:{place}/spoiled/{{000..003}}.tar"


def test_undecodable_images_are_named_in_log_status_and_page(place, spoiled, cli):
    command = words(place, "named")
    command[command.index("--data") + 1] = spoiled
    first = cli(*command, "--epochs", "1")
    names = [f"{place}/spoiled/001.tar: 00060.png", f"{place}/spoiled/003.tar: 00199.png"]
    text = "; ".join(f"{name} (not an image)" for name in names)
    assert "2 images can't be decoded (2 so far); another of the batch stands in" in first.err
    assert text in first.err
    run = PretrainRun(place / "named")
    assert f"2 images could not be decoded: {run.undecodable_file}" in first.out
    assert run.undecodable() == dict.fromkeys(names, "not an image")
    page = (run.path / "report" / "index.html").read_text()
    assert all(name in page for name in names)
    # Another call knows them: it names no image twice, and counts them.
    assert "can't be decoded" not in cli(*command).err
    assert [epoch["undecodable"] for epoch in run.epochs()] == [2, 2]
    assert len(run.undecodable_file.read_text().splitlines()) == 2
    assert f"2 images could not be decoded: {text}" in cli("status", run.path).out


def test_undecodable_images_of_all_processes_are_counted(place, spoiled):
    @dataclass(frozen=True)
    class TwoProcesses(ProcessGroupInfo):
        def gather_objects(self, value):
            return [value, {"other.tar: a.png": "empty file"}]

    index = index_shards(spoiled, place / "index")
    images = ShardStream(index, Geometry(16, 16))
    recipe = load_recipe("quick").override(batch_size=100)
    loader = StreamCropLoader(recipe, images, 0, TwoProcesses(torch.device("cpu")))
    for _ in loader.epoch(0):
        pass
    with pytest.raises(InputError, match=r"more than 1% of 200 images can't be decoded: .*other"):
        loader.new_undecodable()


def test_labels_of_shards_are_missing_where_they_are_needed(place):
    source = load_source(f"webdataset:{place}/shards/{{000..002}}.tar")
    assert (len(source.train), source.classes) == (60, ())
    with pytest.raises(InputError, match="images without labels"):
        split(source, "held-out")
