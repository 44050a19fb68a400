"""Checkpoints that several processes write and read together (torch.distributed.checkpoint, DCP).

A checkpoint is a folder. Each process writes its own shards; then the first writes `.metadata`
(the location of each shard) and finally `about.json` (everything but tensors, and the size of each
file). Any number of processes can read it, each only its own shards.
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
from designspace.training.checkpoint import raise_unless_damaged

_FORMAT = 1
_ABOUT = "about.json"
# Classes that DCP's pickled metadata may contain; none of them runs code.
_MODULE = "torch.distributed.checkpoint"
_METADATA = (
    "Metadata",
    "MetadataIndex",
    "StorageMeta",
    "TensorStorageMetadata",
    "TensorProperties",
    "ChunkStorageMetadata",
    "_MEM_FORMAT_ENCODING",
)
_ALLOWED = {
    *((f"{_MODULE}.metadata", name) for name in _METADATA),
    (f"{_MODULE}.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
}


def write(path: Path, key: str, state: dict[str, Any], group: ProcessGroupInfo) -> None:
    """Write a state as a new folder; collective.

    Tensors that are not sharded, such as BatchNorm's statistics, are taken from the first process.

    Raises:
        OSError: A process can't write.
    """
    if group.first:
        shutil.rmtree(path, ignore_errors=True)
    group.barrier()
    # Means and variances must come from the same process.
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
    """Return the iteration of a checkpoint; None if it is incomplete, or of another run.

    Raises:
        InputError: It can't be read now, which says nothing of its content.
    """
    try:
        about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
        if (about["format"], about["key"]) != (_FORMAT, key):
            return None
        if any((path / name).stat().st_size != size for name, size in about["files"].items()):
            return None
        return int(about["plain"]["iteration"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise_unless_damaged(error, path)
        return None


def read(
    path: Path, like: dict[str, Any] | None, group: ProcessGroupInfo, device: torch.device
) -> dict[str, Any] | None:
    """Read a state; collective.

    Args:
        path: A folder for which `iteration` returned a number.
        like: A state sharded like the result; None for whole tensors.
        group: The processes.
        device: Of whole tensors.

    Returns:
        The state, or None if files are damaged.

    Raises:
        InputError: They can't be read now, which says nothing of their content.
        RuntimeError: A device fails, or there is too little memory.
        MemoryError: Likewise.
    """
    reader = _SafeReader(path)
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
    except (CheckpointException, Exception) as error:  # torch raises many kinds for damaged files
        failures = error.failures.values() if isinstance(error, CheckpointException) else ()
        for cause in (error, *(failure[0] for failure in failures)):
            raise_unless_damaged(cause, path)
        return None
    about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
    return _join(about["plain"], tensors)


class _SafeReader(FileSystemReader):
    """Reads a checkpoint without executing code in its pickled metadata."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Return the location of each shard."""
        with open(Path(self.path) / ".metadata", "rb") as file:
            metadata = _SafeUnpickler(file).load()
        # Torch unpickles whatever is stored otherwise than as a tensor.
        if not isinstance(metadata, Metadata) or not all(
            type(entry) is TensorStorageMetadata for entry in metadata.state_dict_metadata.values()
        ):
            raise pickle.UnpicklingError("no metadata of a checkpoint of tensors")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Allow the classes of checkpoint metadata only."""
        if module == "pathlib._local":  # where Python 3.13 has them
            module = "pathlib"
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a checkpoint")


def _whole_tensors(metadata: Metadata, device: torch.device) -> dict[str, Tensor]:
    return {
        name: torch.empty(entry.size, dtype=entry.properties.dtype, device=device)
        for name, entry in metadata.state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def _tensors(state: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """The tensors of nested dictionaries by path."""
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            tensors[prefix + key] = value
        elif isinstance(value, dict):
            tensors |= _tensors(value, f"{prefix}{key}/")
    return tensors


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """The other values of nested dictionaries."""
    return {
        key: _plain(value) if isinstance(value, dict) else value
        for key, value in state.items()
        if not isinstance(value, Tensor)
    }


def _join(plain: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    for path, value in tensors.items():
        *folders, name = path.split("/")
        at = plain
        for folder in folders:
            at = at[folder]
        at[name] = value
    return plain


def _first_reason(error: CheckpointException) -> str:
    return "; ".join(str(failure) for failure, _ in error.failures.values())
