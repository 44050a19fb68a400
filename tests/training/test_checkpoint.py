"""A checkpoint that can't be read for another reason than its content is not taken for damaged."""

import errno
import zipfile

import pytest
import torch

from designspace.errors import InputError
from designspace.training import checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "one.pt"
    checkpoint.save(path, "key", {"weights": torch.arange(1000.0)})
    return path


def fail(error):
    def load(*args, **kwargs):
        raise error

    return load


@pytest.mark.parametrize("size", [0, 1, 100, 1000, 4000])
def test_a_torn_file_is_damaged(file, size):
    whole = file.read_bytes()
    assert size < len(whole)
    file.write_bytes(whole[:size])
    assert checkpoint.load(file, "key", CPU) is None
    file.write_bytes(whole[-size:] if size else b"")
    assert checkpoint.load(file, "key", CPU) is None


def test_changed_bytes_are_damage(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    assert checkpoint.load(file, "key", CPU) is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("CUDA error: an illegal memory access"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_and_device_are_no_damage(file, monkeypatch, error):
    monkeypatch.setattr(torch, "load", fail(error))
    with pytest.raises(type(error)):
        checkpoint.load(file, "key", CPU)


def test_a_failing_file_system_is_no_damage(file, monkeypatch):
    error = OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(zipfile.ZipFile, "testzip", fail(error))
    with pytest.raises(InputError, match=f"cannot read {file}: Input/output error"):
        checkpoint.load(file, "key", CPU)
