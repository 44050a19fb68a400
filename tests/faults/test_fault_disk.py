"""A full disk, a folder that can't be written, links that lead out of it, a clock that is wrong."""

import contextlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from disturbed import Command, clear, limit_files, obey_permissions, turn_the_clock_back
from marks import quick_share

from designspace.arch import published
from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.pretraining.features import write_features

FULL = ("File too large", "No space left on device")


@pytest.fixture
def model(tmp_path):
    """A small published model's file."""
    write_model(published("RegNetX-200MF"), tmp_path / "model.yaml")
    return tmp_path / "model.yaml"


@pytest.fixture
def table(tmp_path):
    """A table that can be imported."""
    path = tmp_path / "table.csv"
    path.write_text("error,width\n" + "".join(f"{20 + i % 7}.5,{8 * i + 8}\n" for i in range(300)))
    return path


def verbs(study, table, model, out):
    """Each verb that writes, as words that write into `out`."""
    return {
        "sample": ("sample", "AnyNetXE@8", "--flops", "100K:300K", "-n", 200, "--out", out),
        "import": ("import", table, "--out", out),
        "analyze": ("analyze", study.trained, "--out", out),
        "derive": ("derive", "--family", "regnety", "--flops", "400M", "--out", out / "new.yaml"),
        "export": ("export", model, "--to", "pycls", "--to", "vissl", "--no-verify", "--out", out),
        "merge": ("merge", study.trained, study.trained, "--out", out),
        "pretrain": (
            *("pretrain", study.home / "small.yaml", "--data", "digits", "--recipe", "quick"),
            *("--epochs", 1, "--cache", study.home / "cache", "--device", "cpu", "--out", out),
        ),
    }


WRITING = ["sample", "import", "analyze", "derive", "export", "merge"]


@pytest.mark.parametrize("verb", quick_share(WRITING, ["sample", "import"]))
def test_a_full_disk_is_reported_and_the_same_command_resumes(
    verb, small_study, table, model, tmp_path, times
):
    out, twin = tmp_path / "out", tmp_path / "twin"
    for place in (out, twin):
        place.mkdir()
    words = verbs(small_study, table, model, out)[verb]
    sizes = [0, 1, 100, 2000, 30_000, 100_000, 300_000]
    for size in sizes if times(1, 0) else (0, 2000):
        outcome = Command(*words, before=partial(limit_files, size)).end()
        assert outcome.code in (0, 2), (size, outcome)
        if not outcome.code:  # there was room for it
            break
        clear(outcome.err)
        assert any(reason in outcome.err for reason in FULL), (size, outcome)
    else:
        assert Command(*words).end().code == 0
    if verb not in ("import", "export"):
        assert Command(*verbs(small_study, table, model, twin)[verb]).end().code == 0
        assert tree(out) == tree(twin)
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]


def tree(folder):
    """The files of a folder with what is in them; where it lies itself doesn't count."""
    return {
        path.relative_to(folder): path.read_bytes().replace(bytes(folder), b"OUT")
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock" and path.suffix != ".png"
    }


def test_training_on_a_full_disk(small_study, times):
    """The journal is what matters: a checkpoint that can't be written is told, and not missed."""
    place = small_study.copy("full")
    sizes = [0, 700, 1500] if times(1, 0) else [1000]
    for size in sizes:
        outcome = Command(*small_study.train(place), before=partial(limit_files, size)).end()
        assert outcome.code in (0, 2), outcome
        if outcome.code:
            said = clear(outcome.err)
            assert any(reason in said for reason in FULL), said
            assert str(place) in said or str(small_study.home) in said
    assert Command(*small_study.train(place)).end().code == 0
    assert small_study.results(place) == small_study.results(small_study.trained)


@pytest.mark.slow
def test_pretraining_on_a_full_disk(small_study, table, model, tmp_path, times):
    out = tmp_path / "out"
    words = verbs(small_study, table, model, out)["pretrain"]
    for size in (100, 100_000) if times(1, 0) else (10_000,):
        outcome = Command(*words, before=partial(limit_files, size)).end()
        assert outcome.code == 2, outcome
        said = clear(outcome.err)
        assert any(reason in said for reason in FULL), said
        assert str(out) in said or str(small_study.home) in said
    assert Command(*words).end().code == 0
    assert (out / "trunk.pt").exists()


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors"])
def test_features_on_a_full_disk(name, tmp_path):
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most[1]))
    try:
        with pytest.raises(InputError, match=rf"cannot write .*{name}.*File too large"):
            write_features(tmp_path / name, {"train": torch.zeros(100, 100)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB, where this machine lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(place)]
    if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; RLIMIT_FSIZE stands for it")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_small_file_system(small_study, small_disk):
    place = small_disk / "run"
    shutil.copytree(small_study.sampled, place)
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 1000)
    outcome = Command(*small_study.train(place)).end()
    assert outcome.code == 2, outcome
    clear(outcome.err, "No space left on device")
    for verb in (("analyze", small_study.trained, "--out", small_disk / "report"),):
        clear(Command(*verb).end().err, "No space left on device")
    filler.unlink()
    assert Command(*small_study.train(place)).end().code == 0
    assert small_study.results(place) == small_study.results(small_study.trained)


@pytest.mark.parametrize("verb", quick_share([*WRITING, "pretrain"], ["sample", "pretrain"]))
def test_a_folder_that_can_only_be_read(verb, small_study, table, model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o555)
    words = verbs(small_study, table, model, out)[verb]
    outcome = Command(*words, before=obey_permissions).end()
    assert outcome.code == 2, outcome
    clear(outcome.err, out, "Permission denied")
    assert not list(out.iterdir())


def test_a_run_folder_that_can_only_be_read(small_study, tmp_path):
    place = Path(shutil.copytree(small_study.trained, tmp_path / "read"))
    for path in (*place.rglob("*"), place):
        path.chmod(0o555 if path.is_dir() else 0o444)
    outcome = Command(*small_study.train(place), before=obey_permissions).end()
    assert outcome.code == 2, outcome
    clear(outcome.err, place, "Permission denied")
    assert Command("status", place, before=obey_permissions).end().code == 0
    words = ("analyze", place, "--out", tmp_path / "report")
    assert Command(*words, before=obey_permissions).end().code == 0


def test_files_that_may_not_be_read(small_study, tmp_path):
    place = Path(shutil.copytree(small_study.trained, tmp_path / "locked"))
    for name in ("trials.jsonl", "population.jsonl", "space.yaml"):
        (place / name).chmod(0)
        outcome = Command("status", place, before=obey_permissions).end()
        assert outcome.code == 2, outcome
        clear(outcome.err, place / name, "Permission denied")
        (place / name).chmod(0o644)


LINKED = ["checkpoints", "trials.jsonl", "recipe.yaml", "population.jsonl", ".lock", "running.json"]


@pytest.mark.parametrize("name", LINKED)
def test_a_link_out_of_the_run_folder_is_refused(name, small_study, tmp_path, refused):
    """A folder from a stranger must not make us write to, or clean up, another place."""
    place = Path(shutil.copytree(small_study.sampled, tmp_path / "strange"))
    mine = tmp_path / "mine"
    if name == "checkpoints":
        mine.mkdir()
        (mine / "letter.txt").write_text("dear")
    else:
        mine.write_text("dear")
    (place / name).unlink(missing_ok=True)
    (place / name).symlink_to(mine)
    said = refused(*small_study.train(place))
    clear(said, place / name, "link", "copy")
    kept = mine / "letter.txt" if name == "checkpoints" else mine
    assert kept.read_text() == "dear"
    clear(refused("merge", small_study.trained, "--out", place), place / name)


IN_A_RUN = [
    "space.yaml",
    "population.jsonl",
    "recipe.yaml",
    "trials.jsonl",
    ".lock",
    "running.json",
]


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", IN_A_RUN)
def test_a_pipe_or_a_device_in_a_run_folder_is_not_waited_for(
    name, kind, small_study, tmp_path, times
):
    place = Path(shutil.copytree(small_study.trained, tmp_path / "strange"))
    (place / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place / name)
    else:
        (place / name).symlink_to("/dev/zero")
    verbs = [("status", place), ("analyze", place, "--out", tmp_path / "out")]
    verbs += [("complexity", f"{place}:0"), ("merge", place, "--out", tmp_path / "m")]
    for words in verbs[times(0, IN_A_RUN.index(name) % 4) :: times(1, 4)]:
        outcome = Command(*words).end(60)
        assert outcome.code == 2, outcome
        clear(outcome.err, place / name, "a pipe, a device" if kind == "pipe" else "")


def test_training_removes_none_but_its_own_files(small_study, tmp_path):
    place = Path(shutil.copytree(small_study.trained, tmp_path / "own"))
    half = place / "checkpoints" / ".00001.pt.designspace-00004711.tmp"
    half.write_text("half a checkpoint")
    (place / "checkpoints" / "notes.txt").write_text("mine")
    assert Command(*small_study.train(place)).end().code == 0
    assert [path.name for path in (place / "checkpoints").iterdir()] == ["notes.txt"]


def test_a_linked_report_folder_keeps_what_is_behind_it(small_study, tmp_path, refused):
    mine, out = tmp_path / "pictures", tmp_path / "out"
    mine.mkdir()
    out.mkdir()
    (mine / "widths.png").write_text("mine")
    (out / "figures").symlink_to(mine)
    clear(refused("analyze", small_study.trained, "--out", out), out / "figures", "link")
    assert (mine / "widths.png").read_text() == "mine"


def test_a_parent_that_leads_out_of_its_folder_is_refused(tmp_path, refused):
    (tmp_path / "secret.yaml").write_text("name: secret\nparent: AnyNetXA\nreason: x\n")
    folder = tmp_path / "spaces"
    folder.mkdir()
    (folder / "linked.yaml").symlink_to(tmp_path / "secret.yaml")
    for parent in ("../secret", "..\\secret", str(tmp_path / "secret"), "linked", ".."):
        child = folder / "child.yaml"
        child.write_text(f"name: child\nparent: {json.dumps(parent)}\nreason: x\n")
        said = clear(refused("spaces", child), folder)
        assert "is a link out of its folder" in said or f"{child}: parent: " in said


@pytest.mark.slow
def test_a_clock_that_goes_backwards(small_study, cli, times):
    place = small_study.copy("clock")
    words = small_study.train(place)
    chance = random.Random(0)
    for _ in range(times(3, 1)):
        command = Command(*words, before=turn_the_clock_back, in_process=False)
        if command.stop(chance.uniform(3, 6)):
            found = json.loads(cli("status", place, "--json").out)
            assert all(flight["seconds"] >= 0 for flight in found["in_flight"])
        command.end()
    outcome = Command(*words, before=turn_the_clock_back).end()
    assert outcome.code == 0, outcome
    assert small_study.results(place) == small_study.results(small_study.trained)
    found = json.loads(cli("status", place, "--json").out)
    assert found["seconds_trained"] >= 0


def test_the_clock_went_back_while_a_driver_is_at_work(small_study, cli):
    """The driver wrote the time of tomorrow, as it was before somebody set the clock right."""
    from designspace.io.file_lock import lock
    from designspace.runs import Run
    from designspace.runs.heartbeat import Heartbeat

    place = small_study.copy("tomorrow")
    with lock(place / ".lock", "x"):
        import time

        now = time.time() + 86400
        Heartbeat(4, 0.0, None, {0: now}, now).write(Run(place).heartbeat_file)
        found = json.loads(cli("status", place, "--json").out)
        assert found["in_flight"][0]["seconds"] == 0
        assert "-" not in cli("status", place).out.split("model 0 has trained for")[1]


def test_images_dated_in_the_future_and_before_1970(small_study, tmp_path):
    from PIL import Image

    for part in ("train", "test"):
        for label in range(2):
            folder = tmp_path / "images" / part / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(6):
                Image.new("RGB", (8, 8), (40 * i, 99, 120 * label)).save(folder / f"{i}.png")
                os.utime(folder / f"{i}.png", (4e9, 4e9) if i % 2 else (-5, -5))
    place = small_study.copy("dated")
    words = small_study.train(place, "--limit", 1, "--batch-size", 4, "--val", "test")
    words = [f"folder:{tmp_path}/images" if word == "digits" else word for word in words]
    outcome = Command(*words).end()
    assert outcome.code == 0, outcome


@pytest.mark.parametrize("home", ["/proc/nowhere", ""])
@pytest.mark.slow
def test_a_home_that_cannot_be_written(home, small_study, tmp_path):
    """A user of a cluster without a home, or one that the system doesn't know."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPL", "HOME"))}
    environment = {**kept, "TMPDIR": str(tmp_path), **({"HOME": home} if home else {})}
    run = small_study.copy(f"homeless{len(home)}")
    plain = small_study.train(run, "--limit", 1, "--epochs", 1, "--jobs", 1)
    words = [word for word in plain if word not in ("--cache", small_study.home / "cache")]
    for verb in (words, ["analyze", run, "--out", tmp_path / "report"]):
        command = [sys.executable, "-m", "designspace", *map(str, verb)]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "~").exists()
