"""Train a detector and run it."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from designspace.arch import Model
from designspace.errors import InputError, counted
from designspace.evaluation.detection.mask_rcnn import Detector, mask_rcnn
from designspace.evaluation.detection.scenes import Scenes, encode_mask, targets
from designspace.pretraining.multicrop import mixed_seed
from designspace.training.lr_schedule import step_decay

# Batches read ahead, and threads that read them.
_AHEAD, _READERS = 4, 8
# Seconds between progress notes.
_NOTE_EVERY = 30.0
# Probability from which a pixel belongs to the object.
_MASK_THRESHOLD = 0.5


@dataclass(frozen=True)
class Schedule:
    """A training schedule: SGD with momentum 0.9, horizontal flips with probability 0.5.

    Attributes:
        name: Description.
        size: Of the detector.
        iterations: Number of batches.
        batch: Batch size.
        lr: Peak learning rate at this batch size.
        warmup: Iterations of linear warm-up from a thousandth of lr.
        steps: Fractions of training after which the learning rate is divided by ten.
        weight_decay: Applied to all parameters.
    """

    name: str
    size: Detector
    iterations: int
    batch: int
    lr: float
    warmup: int
    steps: tuple[float, ...] = (60 / 90, 80 / 90)
    weight_decay: float = 1e-4

    @property
    def digest(self) -> str:
        """Hash of the schedule, which scores of the journal depend on; so do the class names."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def learning_rate(self, iteration: int) -> float:
        """Return the learning rate of an iteration, from 0."""
        lr = self.lr * step_decay(iteration, self.iterations, self.steps, 0.1)
        if iteration < self.warmup:
            lr *= max(1e-3, iteration / self.warmup)
        return lr


def published_schedule() -> Schedule:
    """Return SEER's: 90,000 iterations of 16 images, lr 0.02, shorter side 640 to 800 pixels.

    The detector has torchvision's sizes: 256 channels, a box head of 1024, four mask layers.
    """
    shorter = tuple(range(640, 801, 32))
    size = Detector(256, 1024, 4, 256, 512, (2000, 1000), 100, shorter, 1333)
    return Schedule("published", size, 90_000, 16, 0.02, 100)


def small_schedule(side: int) -> Schedule:
    """Return a schedule for two cores: 200 iterations of 8 images, an eighth of the channels.

    The learning rate is the published one scaled to this batch size; its steps are the same.
    """
    size = Detector(32, 128, 2, 64, 16, (64, 64), 20, (side,), 2 * side)
    return Schedule("scaled down", size, 200, 8, 0.01, 20)


def train_detector(
    model: Model,
    weights: Mapping[str, Tensor] | None,
    scenes: Scenes,
    schedule: Schedule,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    seed: int,
    device: torch.device,
    note: Callable[[str], None],
    autocast: torch.dtype | None = None,
) -> nn.Module:
    """Train a detector on a trunk.

    Args:
        model: The trunk.
        weights: Of the trunk; None for random weights.
        scenes: Training images; those without objects are skipped.
        schedule: How to train.
        statistics: Mean and std of each channel for normalization, 0 to 255.
        seed: Of heads, order, flips and sampled regions.
        device: Where to train.
        note: Called with the loss now and then.
        autocast: Type of autocast, or None for float32.

    Raises:
        InputError: No image has an object, the loss became non-finite, or an image can't be read.
    """
    places = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=places):
        torch.manual_seed(seed)
        network: nn.Module = mask_rcnn(
            model, weights, schedule.size, len(scenes.categories), *statistics
        )
        network.to(device)
        network.train()
        optimizer = torch.optim.SGD(
            network.parameters(), lr=0.0, momentum=0.9, weight_decay=schedule.weight_decay
        )
        scaler = torch.amp.GradScaler(device.type, enabled=autocast is torch.float16)
        last = time.monotonic()
        for iteration, (images, objects) in enumerate(_batches(scenes, schedule, seed, device)):
            optimizer.param_groups[0]["lr"] = schedule.learning_rate(iteration)
            with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                losses = network(images, objects)
            loss = torch.stack([part.float() for part in losses.values()]).sum()
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
            if time.monotonic() - last > _NOTE_EVERY or iteration + 1 == schedule.iterations:
                last, value = time.monotonic(), loss.item()
                note(f"  iteration {iteration + 1} of {schedule.iterations}: loss {value:.3f}")
                if not math.isfinite(value):
                    raise InputError(
                        f"detect: the loss became non-finite by iteration {iteration + 1}; try a "
                        f"smaller lr than {schedule.lr:g}"
                    )
    return network


@torch.no_grad()
def detect(
    network: nn.Module,
    scenes: Scenes,
    batch: int,
    device: torch.device,
    autocast: torch.dtype | None = None,
) -> list[Any]:
    """Return the detections on all images as COCO's results."""
    precision = torch.autocast(device.type, dtype=autocast, enabled=autocast is not None)
    network.eval()
    detections: list[dict[str, Any]] = []
    for start in range(0, len(scenes), batch):
        rows = range(start, min(start + batch, len(scenes)))
        images = [_image(scenes, row, False).to(device) for row in rows]
        with precision:
            results = network(images)
        for row, result in zip(rows, results, strict=True):
            detections += _results(scenes, row, {key: value.cpu() for key, value in result.items()})
    return detections


def _results(scenes: Scenes, row: int, result: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    masks = (result["masks"][:, 0] >= _MASK_THRESHOLD).numpy().astype("uint8")
    for box, label, score, mask in zip(
        result["boxes"].tolist(),
        result["labels"].tolist(),
        result["scores"].tolist(),
        masks,
        strict=True,
    ):
        left, top, right, bottom = box
        yield {
            "image_id": scenes.images[row]["id"],
            "category_id": scenes.categories[label - 1][0],
            "bbox": [left, top, right - left, bottom - top],
            "score": score,
            "segmentation": encode_mask(mask),
        }


def _batches(
    scenes: Scenes, schedule: Schedule, seed: int, device: torch.device
) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Yield batches, read ahead by threads, in an order that depends only on the seed."""
    rows = _order(scenes, schedule, seed)
    with ThreadPoolExecutor(_READERS) as readers:
        ahead = []
        for start in range(0, len(rows), schedule.batch):
            part = rows[start : start + schedule.batch]
            ahead.append([readers.submit(_example, scenes, row, flip) for row, flip in part])
            if len(ahead) > _AHEAD:
                yield _to_device([one.result() for one in ahead.pop(0)], device)
        for futures in ahead:
            yield _to_device([one.result() for one in futures], device)


def _order(scenes: Scenes, schedule: Schedule, seed: int) -> list[tuple[int, bool]]:
    """Image rows of all iterations, and whether each image is flipped.

    Raises:
        InputError: No image has an object.
    """
    with_objects = [row for row in range(len(scenes)) if any(_trainable(scenes, row))]
    if not with_objects:
        raise InputError(
            f"{scenes.name}: none of {counted(len(scenes), 'training image')} has an object that "
            "is no crowd (iscrowd) and whose box is at least one pixel wide and high; are the "
            "boxes in pixels?",
            "data",
        )
    count = schedule.iterations * schedule.batch
    generator = torch.Generator().manual_seed(mixed_seed(seed, 4))
    order: list[int] = []
    while len(order) < count:
        permutation = torch.randperm(len(with_objects), generator=generator).tolist()
        order += [with_objects[place] for place in permutation]
    flips = torch.rand(count, generator=generator) < 0.5
    return list(zip(order, flips.tolist(), strict=False))


def _trainable(scenes: Scenes, row: int) -> Iterator[bool]:
    return (not one.get("iscrowd") and min(one["bbox"][2:]) >= 1 for one in scenes.objects(row))


def _example(scenes: Scenes, row: int, flip: bool) -> tuple[Tensor, dict[str, Tensor]]:
    target = targets(scenes, row)
    image, masks = _image(scenes, row, flip), torch.from_numpy(target.masks)
    boxes = torch.from_numpy(target.boxes)
    if flip:
        width = image.shape[2]
        boxes = torch.stack(
            [width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1
        )
        masks = masks.flip(2)
    return image, {"boxes": boxes, "labels": torch.from_numpy(target.labels), "masks": masks}


def _image(scenes: Scenes, row: int, flip: bool) -> Tensor:
    """Return an image for torchvision's detectors: (3, height, width), 0 to 1."""
    pixels = torch.from_numpy(scenes.pixels(row).copy()).permute(2, 0, 1).float() / 255
    return pixels.flip(2) if flip else pixels


def _to_device(
    examples: list[tuple[Tensor, dict[str, Tensor]]], device: torch.device
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [image.to(device, non_blocking=True) for image, _ in examples]
    return images, [{k: v.to(device) for k, v in target.items()} for _, target in examples]
