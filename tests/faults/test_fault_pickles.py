"""A pickle in place of a checkpoint or of a table: refused with a clear message, and never run."""

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from disturbed import Command, clear

from designspace.training import checkpoint


class Payload:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def zipped(content):
    """A torch archive whose pickle is the given one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def legacy(value):
    """A torch file as torch before 1.6 wrote it."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def disguises(marker):
    """Contents of files that would run code if they were unpickled."""
    payload = Payload(marker)
    plain = {protocol: pickle.dumps(payload, protocol) for protocol in range(6)}
    state = {"format": 1, "key": "k", "network": payload}
    modern = io.BytesIO()
    torch.save(state, modern)
    return {
        **{f"pickle of protocol {protocol}": content for protocol, content in plain.items()},
        "pickle in a torch archive": zipped(plain[2]),
        "torch.save": modern.getvalue(),
        "torch.save of old": legacy(state),
    }


KINDS = [*disguises("x")]


@pytest.fixture
def marker(tmp_path):
    """The file that a payload makes; it must not be there at the end."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


def test_the_payload_would_run(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.torch"])
def test_weights_of_export_and_evaluate(kind, name, marker, tmp_path, refused, small_study):
    model = small_study.home / "small.yaml"
    path = tmp_path / name
    path.write_bytes(disguises(marker)[kind])
    words = ("--weights", path, "--to", "vissl", "--no-verify", "--out", tmp_path / "out")
    said = refused("export", model, *words)
    clear(said, path, "not a readable checkpoint", "safetensors")
    assert len(said) < 600, said
    words = ("--model", model, "--task", "knn", "--data", "digits")
    said = refused("evaluate", path, *words)
    clear(said, path, "not a readable checkpoint", "safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_a_trial(kind, marker, small_study, tmp_path):
    path = tmp_path / "0.pt"
    path.write_bytes(disguises(marker)[kind])
    assert checkpoint.load(path, "k", torch.device("cpu")) is None


def test_training_reports_it_and_restarts_that_trial(marker, small_study, tmp_path, times):
    place = Path(shutil.copytree(small_study.sampled, tmp_path / "run"))
    (place / "checkpoints").mkdir()
    for index, kind in enumerate(("pickle of protocol 4", "torch.save")):
        (place / "checkpoints" / f"{index:05d}.pt").write_bytes(disguises(marker)[kind])
    outcome = Command(*small_study.train(place)).end()
    assert outcome.code == 0, outcome
    for index in range(2):
        line = next(n for n in outcome.err.splitlines() if n.startswith(f"model {index}: "))
        assert f"{place}/checkpoints/{index:05d}.pt" in line
        assert "damaged or of another trial" in line
        assert "starts over" in line
    assert small_study.results(place) == small_study.results(small_study.trained)


@pytest.mark.slow
def test_pretraining_reports_it_and_restarts(marker, small_study, tmp_path, refused):
    out = tmp_path / "out"
    words = (
        *("pretrain", small_study.home / "small.yaml", "--data", "digits", "--recipe", "quick"),
        *("--epochs", 1, "--cache", small_study.home / "cache", "--device", "cpu", "--out", out),
    )
    assert Command(*words).end().code == 0
    for kind in ("pickle of protocol 4", "torch.save"):
        (out / "checkpoint.pt").write_bytes(disguises(marker)[kind])
        (out / "checkpoint.before.pt").unlink(missing_ok=True)
        said = refused("evaluate", out, "--task", "knn", "--cache", small_study.home / "cache")
        clear(said, out, "no undamaged checkpoint", "trunk.pt")
        clear(refused(*words), out, "no undamaged checkpoint", "another folder")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sweep.json", "sweep.csv", "sweep.pkl"])
def test_a_table_to_import(kind, name, marker, tmp_path, refused):
    path = tmp_path / name
    path.write_bytes(disguises(marker)[kind])
    for words in ((), ("--format", "csv"), ("--format", "pycls"), ("--format", "nds")):
        said = refused("import", path, "--out", tmp_path / "in", *words)
        clear(said, path)
        assert len(said) < 600, said
    assert not (tmp_path / "in").exists()


def test_a_cache_of_images_with_objects_in_it(marker, small_study, tmp_path):
    """NumPy's own files can hold pickles, too."""
    import numpy as np

    from designspace.data.batches import open_arrays
    from designspace.errors import InputError

    home = shutil.copytree(small_study.home / "cache" / "images", tmp_path / "images")
    cache = next(path for path in Path(home).iterdir() if (path / "meta.json").is_file())
    np.save(cache / "train.npy", np.array([Payload(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"is damaged .*; remove it") as caught:
        open_arrays(cache, torch.device("cpu"))
    assert str(cache) in str(caught.value)
