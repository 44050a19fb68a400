"""Checkpoints that several processes write and read at once, through torch.distributed.checkpoint.

One is a folder. Each process writes what it alone holds; then the first writes `.metadata` (which
tensor's part lies where) and last of all `about.json` (what is no tensor, and the size of every
file). Any number of processes can read it, each no more than its own part.
"""

import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from designspace.io.atomic_write import write_text
from designspace.pretraining.distributed import ProcessGroupInfo

_FORMAT = 1
_ABOUT = "about.json"
# What the description of a checkpoint may be made of: data, and nothing that runs.
_MODULE = "torch.distributed.checkpoint"
_METADATA = (
    "Metadata",
    "MetadataIndex",
    "StorageMeta",
    "TensorStorageMetadata",
    "TensorProperties",
    "ChunkStorageMetadata",
    "BytesStorageMetadata",
    "_MEM_FORMAT_ENCODING",
)
_DATA = {
    *((f"{_MODULE}.metadata", name) for name in _METADATA),
    (f"{_MODULE}.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
}


def write(path: Path, key: str, state: dict[str, Any], group: ProcessGroupInfo) -> None:
    """Write a state, in parts or whole, as a new folder; collective.

    What each process holds whole (BatchNorm's statistics, say) is the first's.

    Raises:
        OSError: Some process can't write.
    """
    if group.first:
        shutil.rmtree(path, ignore_errors=True)
    group.barrier()
    # Through the lowest process: means and variances must come from one and the same.
    planner = DefaultSavePlanner(dedup_save_to_lowest_rank=True)
    try:
        writer = FileSystemWriter(path)
        save(_tensors(state), storage_writer=writer, planner=planner, process_group=group.handle)
    except CheckpointException as error:
        raise OSError(_first_reason(error)) from None
    if group.first:
        files = {file.name: file.stat().st_size for file in path.iterdir()}
        about = {"format": _FORMAT, "key": key, "files": files, "plain": _plain(state)}
        write_text(path / _ABOUT, json.dumps(about))


def iteration(path: Path, key: str) -> int | None:
    """Return the iterations done in a checkpoint; None if it isn't whole, or of another run."""
    try:
        about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
        if (about["format"], about["key"]) != (_FORMAT, key):
            return None
        if any((path / name).stat().st_size != size for name, size in about["files"].items()):
            return None
        return int(about["plain"]["iteration"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read(
    path: Path, like: dict[str, Any] | None, group: ProcessGroupInfo, device: torch.device
) -> dict[str, Any] | None:
    """Read a state; collective.

    Args:
        path: A folder for which `iteration` gave a number.
        like: A state whose tensors lie as the wanted ones shall; None for whole tensors.
        group: The processes.
        device: Where whole tensors go.

    Returns:
        The state, or None where the files are damaged.
    """
    reader = _Reader(path)
    try:
        if like is None:
            tensors = _whole_tensors(reader.read_metadata(), device)
        else:
            tensors = {name: torch.empty_like(value) for name, value in _tensors(like).items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(
                tensors,
                storage_reader=reader,
                process_group=group.handle,
                no_dist=group.handle is None,
            )
    except (CheckpointException, Exception):  # torch names no one error for damaged files
        return None
    about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
    return _joined(about["plain"], tensors)


class _Reader(FileSystemReader):
    """Reads a checkpoint's description without running what it may name."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Return which part of which tensor lies where."""
        with open(Path(self.path) / ".metadata", "rb") as file:
            made = _DataUnpickler(file).load()
        if not isinstance(made, Metadata):
            raise pickle.UnpicklingError("no description of a checkpoint")
        made.storage_meta = made.storage_meta or StorageMeta()
        made.storage_meta.load_id = self.load_id
        return made


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Refuse all but the classes that a description is made of."""
        if (module, name) in _DATA:
            return super().find_class(module, name)
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a checkpoint")


def _whole_tensors(metadata: Metadata, device: torch.device) -> dict[str, Tensor]:
    described = metadata.state_dict_metadata.items()
    return {
        name: torch.empty(about.size, dtype=about.properties.dtype, device=device)
        for name, about in described
        if isinstance(about, TensorStorageMetadata)
    }


def _tensors(state: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """All tensors of nested dictionaries, by their path."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            found[prefix + key] = value
        elif isinstance(value, dict):
            found |= _tensors(value, f"{prefix}{key}/")
    return found


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """All else of nested dictionaries."""
    return {
        key: _plain(value) if isinstance(value, dict) else value
        for key, value in state.items()
        if not isinstance(value, Tensor)
    }


def _joined(plain: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    for path, value in tensors.items():
        *folders, name = path.split("/")
        at = plain
        for folder in folders:
            at = at[folder]
        at[name] = value
    return plain


def _first_reason(error: CheckpointException) -> str:
    return "; ".join(str(failure) for failure, _ in error.failures.values())
