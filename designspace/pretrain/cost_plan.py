"""What a pretraining run costs, from the description alone: nothing is allocated.

Memory is predicted, not measured: what a float32 or mixed-precision step must hold at its peak.
Buffers of the convolution library and of communication come on top.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from designspace.arch import Model
from designspace.errors import InputError
from designspace.pretrain.recipe import SwavRecipe
from designspace.pretrain.swav_network import SwavNetwork

_FLOAT, _HALF = 4, 2
# Sustained arithmetic of one GPU, in 10^12 floating-point operations a second, unless stated.
DEFAULT_TERAFLOPS = 15.0


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU.

    Attributes:
        parameters: Weights, float32; its share where they are sharded.
        gradients: As many.
        optimizer: Momentum, as many.
        gathered: Where they are sharded, what the largest block needs beside its part: its whole
            weights and the next block's, its gradients, and those again in float32 as they are
            averaged. Else 0.
        activations: For the backward pass, when all are kept.
        activations_checkpointed: The same when runs of blocks are computed again.
        total: With the activations that the recipe keeps.
    """

    parameters: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int
    activations_checkpointed: int
    total: int


@dataclass(frozen=True)
class Plan:
    """What a run costs.

    Attributes:
        model: Name of the trunk.
        recipe: Name of the recipe.
        trunk_parameters: Without classifier.
        head_parameters: Of the projection head.
        prototype_parameters: Of the prototypes.
        parameters: All of them.
        trunk_flops: Multiply-adds of the trunk, forward, for all crops of one image.
        flops: The same with head and prototypes.
        images: Images an epoch.
        batch_size: Images an iteration, over all GPUs.
        iterations: In all.
        gpus: GPUs.
        batch_per_gpu: Images an iteration on each.
        checkpointed: Whether activations are computed again in the backward pass.
        precision: mixed (float16 or bfloat16 beside float32 weights) or float32.
        memory: On one GPU.
        communicated: Bytes that each GPU sends an iteration for gradients (ring all-reduce), or,
            where they are sharded, for parameters (gathered forward and backward for each size of
            crop) and gradients (averaged and scattered for each size of crop).
        teraflops: Stated arithmetic of one GPU, 10^12 operations a second.
        images_per_second: Over all GPUs.
        days: Of the whole run.
    """

    model: str
    recipe: str
    trunk_parameters: int
    head_parameters: int
    prototype_parameters: int
    parameters: int
    trunk_flops: int
    flops: int
    images: int
    batch_size: int
    iterations: int
    gpus: int
    batch_per_gpu: int
    checkpointed: bool
    precision: str
    memory: Memory
    communicated: int
    teraflops: float
    images_per_second: float
    days: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def plan(
    model: Model,
    recipe: SwavRecipe,
    images: int | None = None,
    gpus: int | None = None,
    teraflops: float = DEFAULT_TERAFLOPS,
    precision: str = "mixed",
) -> Plan:
    """Count what a run costs.

    Args:
        model: The trunk; its classifier is left out.
        recipe: How it is pretrained.
        images: Images an epoch; the recipe's unless given.
        gpus: The recipe's unless given.
        teraflops: Sustained arithmetic of one GPU; a multiply-add is two operations.
        precision: mixed or float32.

    Raises:
        InputError: The trunk is too deep, the batch can't be split, or images are too few.
    """
    for name, value in (("images", images), ("gpus", gpus), ("teraflops", teraflops)):
        if value is not None and not value > 0:
            raise InputError(f"--{name} is {value:g}; it must be above 0")
    images, gpus = images or recipe.images, gpus or recipe.gpus
    if images is None:
        raise InputError(f"recipe {recipe.name} states no number of images; give --images")
    if images < recipe.batch_size:
        raise InputError(
            f"{images} images are fewer than a batch of {recipe.batch_size}; lower --batch-size"
        )
    if recipe.batch_size % gpus:
        raise InputError(f"a batch of {recipe.batch_size} can't be split over {gpus} GPUs evenly")
    network = SwavNetwork(model, recipe, device="meta")
    trunk, head, prototypes = map(_count, (network.trunk, network.head, network.prototypes))
    trunk_flops = sum(g.count * trunk_multiply_adds(model, g.size) for g in recipe.crops)
    dense = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    per_crop = sum(m.weight.numel() + (m.out_features if m.bias is not None else 0) for m in dense)
    flops = trunk_flops + recipe.total_crops * per_crop
    iterations = images // recipe.batch_size * recipe.epochs
    checkpointed = recipe.checkpoint_after is not None
    # Forward once (twice with checkpointing), backward as much as two forward passes.
    operations = 2 * flops * (4 if checkpointed else 3)
    rate = gpus * teraflops * 1e12 / operations
    parameters = trunk + head + prototypes
    batch = recipe.batch_size // gpus
    # A ring all-reduce is a scatter and a gather. Sharded, each size of crop gathers parameters
    # for its forward and its backward pass and scatters gradients in float32.
    size = _HALF if precision == "mixed" else _FLOAT
    sizes = len({group.size for group in recipe.crops})
    each = sizes * (2 * size + _FLOAT) if recipe.shard else 2 * _FLOAT
    return Plan(
        model=model.name,
        recipe=recipe.name,
        trunk_parameters=trunk,
        head_parameters=head,
        prototype_parameters=prototypes,
        parameters=parameters,
        trunk_flops=trunk_flops,
        flops=flops,
        images=images,
        batch_size=recipe.batch_size,
        iterations=iterations,
        gpus=gpus,
        batch_per_gpu=batch,
        checkpointed=checkpointed,
        precision=precision,
        memory=_memory(model, recipe, network, batch, gpus, precision),
        communicated=round(each * parameters * (gpus - 1) / gpus),
        teraflops=teraflops,
        images_per_second=rate,
        days=iterations * recipe.batch_size / rate / 86400,
    )


def trunk_multiply_adds(model: Model, side: int) -> int:
    """Return the forward multiply-adds of a trunk, without classifier, on one crop."""
    sized = model.at(resolution=side)
    return sized.flops - (model.body.widths[-1] + 1) * model.skeleton.classes


def _count(part: torch.nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def _memory(
    model: Model, recipe: SwavRecipe, network: SwavNetwork, batch: int, gpus: int, precision: str
) -> Memory:
    weights = _FLOAT * _count(network)
    held = math.ceil(weights / gpus) if recipe.shard else weights
    size = _HALF if precision == "mixed" else _FLOAT
    kept = sum(g.count * batch * stored_elements(model, g.size) for g in recipe.crops)
    fewer = sum(
        g.count * batch * checkpointed_elements(model, recipe, g.size) for g in recipe.crops
    )
    # One run of blocks at a time is held whole again, for one size of crop.
    largest = max(g.count * batch * _largest_run(model, recipe, g.size) for g in recipe.crops)
    checkpointed = size * (fewer + largest)
    activations = size * kept
    parts = [network.head, *(b for s in network.trunk.trunk_output for b in s)]
    largest_part = max(_count(part) for part in parts)
    gathered = (3 * size + _FLOAT) * largest_part if recipe.shard else 0
    used = activations if recipe.checkpoint_after is None else checkpointed
    return Memory(
        parameters=held,
        gradients=held,
        optimizer=held,
        gathered=gathered,
        activations=activations,
        activations_checkpointed=checkpointed,
        total=3 * held + gathered + used,
    )


def stored_elements(model: Model, side: int) -> int:
    """Elements that the backward pass of one crop needs: each convolution's output twice.

    Once as the input of its BatchNorm, once normalised as the input of the next layer (ReLU works
    in place).
    """
    stem, blocks = _elements(model, side)
    return stem + sum(whole for stage in blocks for whole, _ in stage)


def checkpointed_elements(model: Model, recipe: SwavRecipe, side: int) -> int:
    """Elements kept of one crop where runs of blocks are computed again: each run's input."""
    stem, blocks = _elements(model, side)
    return stem + sum(run[-1][1] for run in _runs(blocks, recipe))


def _largest_run(model: Model, recipe: SwavRecipe, side: int) -> int:
    _, blocks = _elements(model, side)
    return max(sum(whole for whole, _ in run) for run in _runs(blocks, recipe))


def _runs(blocks: list[list[tuple[int, int]]], recipe: SwavRecipe) -> list[list[tuple[int, int]]]:
    after = recipe.checkpoint_after
    runs = []
    for index, stage in enumerate(blocks):
        chosen = range(1, len(stage)) if after is None or after == "block" else after[index]
        cuts = sorted({*chosen, len(stage)} - {0})
        runs += [stage[a:b] for a, b in zip((0, *cuts[:-1]), cuts, strict=True)]
    return runs


def _elements(model: Model, side: int) -> tuple[int, list[list[tuple[int, int]]]]:
    """Elements stored for the stem, and for each block of each stage: (in all, its output's)."""
    skeleton = model.at(resolution=side).skeleton
    sides = skeleton.stage_resolutions()
    body = model.body
    stem = 2 * skeleton.stem_width * sides[0] ** 2
    width_in, blocks = skeleton.stem_width, []
    for i, stride in enumerate(skeleton.strides):
        width, area = body.widths[i], sides[i + 1] ** 2
        inner = round(width / body.bottleneck_ratios[i])
        stage = []
        for block in range(body.depths[i]):
            first = block == 0
            projected = first and (stride != 1 or width_in != width)
            area_in = sides[i] ** 2 if first else area
            # 1x1 and 3x3 with their normalised outputs, c and the shortcut before BatchNorm, the
            # sum; squeeze-and-excitation keeps its scaled copy.
            whole = 2 * inner * area_in + 2 * inner * area + width * area * (2 + projected)
            whole += inner * area if body.se_ratio else 0
            stage.append((whole, width * area))
            width_in = width
        blocks.append(stage)
    return stem, blocks
