"""Extract the features of a frozen trunk, and write them to a file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from designspace.errors import InputError
from designspace.export.convert_weights import write_safetensors
from designspace.io.atomic_write import temporary_path, write_bytes

_BATCH = 256
_SUFFIXES = (".npz", ".safetensors")


@torch.no_grad()
def extract_features(
    trunk: nn.Module,
    records: Tensor,
    side: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    autocast: torch.dtype | None = None,
) -> Tensor:
    """Return the pooled features of images; the trunk is left in evaluation mode.

    Args:
        trunk: From (n, channels, side, side) to (n, width).
        records: Images, (n, height, height, channels) uint8; their central squares are used.
        side: Side of that square in pixels.
        mean: Mean of each channel for normalization, 0 to 255.
        std: Standard deviation of each channel.
        device: Of the trunk.
        autocast: Type of autocast, or None for float32.

    Returns:
        (n, width) float32 on the device.
    """
    trunk.eval()
    shift = torch.tensor(mean, device=device).view(-1, 1, 1)
    scale = torch.tensor(std, device=device).view(-1, 1, 1)
    first = (records.shape[1] - side) // 2
    square = slice(first, first + side)
    features = []
    for start in range(0, max(1, len(records)), _BATCH):
        part = records[start : start + _BATCH, square, square].to(device)
        images = (part.permute(0, 3, 1, 2).float() - shift) / scale
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            features.append(trunk(images).float())
    return torch.cat(features)


def check_features_file(file: Path) -> None:
    """Check that features can be written to a file.

    Raises:
        InputError: The suffix is unknown, it is a folder, or its folder is missing.
    """
    if file.suffix not in _SUFFIXES:
        raise InputError(
            f"out is {file}; features are written as {' or '.join(_SUFFIXES)}", argument="out"
        )
    if file.is_dir():
        raise InputError(f"out is {file}, a folder; pass a file", argument="out")
    if not file.parent.is_dir():
        raise InputError(f"out is {file}; there is no folder {file.parent}", argument="out")


def write_features(
    file: Path, arrays: Mapping[str, Tensor], names: Sequence[str] = (), train: int = 0
) -> None:
    """Write arrays by name as NPZ or safetensors, atomically.

    Args:
        file: The file.
        arrays: Of images: features, labels, prototypes.
        names: Paths of the images, the first `train` of the training images; arrays `train_files`
            and `val_files` of an NPZ file, `FILE.files.txt` beside a safetensors file.
        train: Number of training images.

    Raises:
        InputError: The disk is full or not writable, or safetensors is not installed.
    """
    if file.suffix == ".safetensors":
        write_safetensors({k: v.cpu() for k, v in arrays.items()}, file, "features of images")
        if names:
            text = "\n".join(names) + "\n"
            # Names that are not UTF-8 are written as the bytes that they are.
            content = text.encode(errors="surrogateescape")
            write_bytes(file.with_name(f"{file.name}.files.txt"), content)
        return
    columns = {k: v.cpu().numpy() for k, v in arrays.items()}
    if names:
        # An empty array would be of float64 otherwise.
        train_files, val_files = (np.array(n, np.str_) for n in (names[:train], names[train:]))
        columns |= {"train_files": train_files, "val_files": val_files}
    part = temporary_path(file)
    try:
        with part.open("wb") as handle:
            np.savez(handle, **columns)  # type: ignore[arg-type]
        os.replace(part, file)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
