"""Features of a frozen trunk, and the file that they are written to."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from designspace.errors import InputError
from designspace.export.weights import write_safetensors
from designspace.io.atomic_write import temporary_path

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
) -> Tensor:
    """Return the pooled features of images, with the trunk in evaluation mode.

    Args:
        trunk: From (n, 3, side, side) to (n, width).
        records: Images, (n, height, height, 3) uint8; their central squares are seen.
        side: Side of that square in pixels.
        mean: Mean of each channel that the trunk was trained with, 0 to 255.
        std: Deviation of each channel.
        device: Where the trunk lies.

    Returns:
        (n, width) float32 on the device.
    """
    trunk.eval()
    shift = torch.tensor(mean, device=device).view(3, 1, 1)
    scale = torch.tensor(std, device=device).view(3, 1, 1)
    first = (records.shape[1] - side) // 2
    square = slice(first, first + side)
    made = []
    for start in range(0, len(records), _BATCH):
        part = records[start : start + _BATCH, square, square].to(device)
        images = (part.permute(0, 3, 1, 2).float() - shift) / scale
        made.append(trunk(images.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(made)


def check_features_file(file: Path) -> None:
    """Refuse a name that features can't be written to, before any work.

    Raises:
        InputError: Its suffix is another than we know, a folder has it, or its folder is missing.
    """
    if file.suffix not in _SUFFIXES:
        raise InputError(f"--out {file}: features are written as {' or '.join(_SUFFIXES)}")
    if file.is_dir():
        raise InputError(f"--out {file} is a folder; name a file")
    if not file.parent.is_dir():
        raise InputError(f"--out {file}: there is no folder {file.parent}")


def write_features(file: Path, arrays: Mapping[str, Tensor]) -> None:
    """Write arrays by name as NPZ or safetensors, whole or not at all.

    Raises:
        InputError: The disk is full or not writable, or safetensors is not installed.
    """
    if file.suffix == ".safetensors":
        write_safetensors({k: v.cpu() for k, v in arrays.items()}, file, "features of images")
        return
    part = temporary_path(file)
    try:
        with part.open("wb") as handle:
            np.savez(handle, **{k: v.cpu().numpy() for k, v in arrays.items()})  # type: ignore[arg-type]
        os.replace(part, file)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
