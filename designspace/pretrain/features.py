"""Features of a frozen trunk."""

import torch
from torch import Tensor, nn

_BATCH = 256


@torch.no_grad()
def extract(
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
