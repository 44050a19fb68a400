"""The cost of a pretraining, estimated from its description without allocating anything.

Memory is the predicted peak of a float32 or mixed-precision step, without the buffers of cuDNN and
NCCL.
"""

import math
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from designspace.arch import Model
from designspace.arch.unit_suffix import format_quantity
from designspace.errors import InputError, counted
from designspace.pretraining.loader_plan import ImageSizes, LoaderPlan, plan_loader
from designspace.pretraining.recipe import SwavRecipe, load_recipe
from designspace.pretraining.swav_network import SwavNetwork, has_stages, trunk_of

_FLOAT, _HALF = 4, 2
# Crops of a traced pass: so many that what is stored once per batch, such as BatchNorm's means,
# does not count.
_TRACED = 64
# Sustained 10^12 floating-point operations per second of one GPU.
DEFAULT_TERAFLOPS = 15.0


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on one GPU.

    Attributes:
        parameters: Float32 weights, or this GPU's shard of them.
        gradients: Same size; if sharded and accumulated, of all parameters.
        optimizer: Momentum, same size.
        gathered: If sharded, what the largest block needs besides its shard: its whole weights and
            the next block's, its gradients, and these again in float32 while they are averaged.
        activations: For the backward pass, if all are kept. In mixed precision all count two bytes
            a number; autocast keeps LayerNorm's in float32 (for ConvNeXt-T, 11 % more in all).
        activations_checkpointed: The same with activation checkpointing.
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
class CostPlan:
    """The cost of a pretraining.

    Attributes:
        model: Name of the trunk.
        recipe: Name of the recipe.
        trunk_parameters: Without classifier.
        head_parameters: Of the projection head.
        prototype_parameters: Of the prototypes.
        parameters: All of them.
        trunk_flops: Forward multiply-adds of the trunk for all crops of one image.
        flops: The same with head and prototypes.
        images: Images per epoch.
        batch_size: Images per iteration, over all GPUs.
        iterations: Total number.
        gpus: Number of GPUs.
        batch_per_gpu: Images per iteration on each; with `accumulate`, in so many parts.
        checkpointed: Whether activations are recomputed in the backward pass.
        precision: mixed (float16 or bfloat16 with float32 weights) or float32.
        memory: On one GPU.
        communicated: Bytes that each GPU sends per iteration: gradients (ring all-reduce) or, if
            sharded, parameters (gathered for the forward and backward pass of each crop size) and
            gradients (scattered).
        teraflops: Assumed sustained rate of one GPU, 10^12 operations per second.
        images_per_second: Over all GPUs.
        days: Duration.
        loader: Cores, network and disk that feed the GPUs.
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
    memory: MemoryPlan
    communicated: int
    teraflops: float
    images_per_second: float
    days: float
    loader: LoaderPlan

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def __str__(self) -> str:
        memory = self.memory
        kept = "activations recomputed" if self.checkpointed else "all activations kept"
        lines = [
            f"{self.model} by {self.recipe}",
            f"  trunk              {self.trunk_parameters:>18,} parameters",
            f"  head               {self.head_parameters:>18,}",
            f"  prototypes         {self.prototype_parameters:>18,}",
            f"  in pretraining     {self.parameters:>18,} parameters",
            f"  an image           {format_quantity(self.trunk_flops):>18} multiply-adds forward "
            f"in the trunk, all crops ({format_quantity(self.flops)} with the head)",
            f"  iterations         {self.iterations:>18,} of {self.batch_size:,} images; "
            f"{self.images:,} images an epoch",
            f"  GPUs               {self.gpus:>18,} with {self.batch_per_gpu} images each, "
            f"{self.precision} precision, {kept}{', sharded' if memory.gathered else ''}",
            "  memory per GPU (GiB)",
            f"    parameters       {_gib(memory.parameters)}",
            f"    gradients        {_gib(memory.gradients)}",
            f"    momentum         {_gib(memory.optimizer)}",
            f"    gathered         {_gib(memory.gathered)}" if memory.gathered else "",
            f"    activations      {_gib(memory.activations)}   all kept",
            f"                     {_gib(memory.activations_checkpointed)}   recomputed",
            f"    total            {_gib(memory.total)}   ({kept})",
            f"  sent per iteration {_gib(self.communicated)}   GiB by each GPU",
            f"  at {self.teraflops:g} Tflop/s per GPU: "
            f"{format_quantity(self.images_per_second)} images/s, {self.days:.2f} days",
            f"  loader             {self.loader}",
        ]
        return "\n".join(line for line in lines if line)


def plan_pretraining(
    model: Model,
    recipe: SwavRecipe | Path | str = "quick",
    images: ImageSizes | int | None = None,
    gpus: int | None = None,
    teraflops: float | None = None,
    precision: str = "mixed",
) -> CostPlan:
    """Estimate what a pretraining costs.

    Args:
        model: The trunk; its classifier is ignored.
        recipe: A recipe, the name of a shipped one, or a YAML file.
        images: Images per epoch, or these of a data set with their sizes; None for the recipe's.
        gpus: Number of GPUs; None for the recipe's.
        teraflops: Sustained rate of one GPU in 10^12 operations per second; a multiply-add is two.
        precision: mixed or float32.

    Raises:
        InputError: The trunk is too deep, the batch can't be split, or there are too few images.
    """
    recipe = load_recipe(recipe)
    sizes = images if isinstance(images, ImageSizes) else None
    images = images.images if isinstance(images, ImageSizes) else images
    for name, value in (("images", images), ("gpus", gpus), ("teraflops", teraflops)):
        if value is not None and not value > 0:
            raise InputError(f"{name} is {value:g}; it must be above 0", argument=name)
    images, gpus = images or recipe.images, gpus or recipe.gpus
    teraflops = teraflops or DEFAULT_TERAFLOPS
    batch = recipe.batch_size
    if images is None:
        raise InputError(
            f"images is missing: recipe {recipe.name} states no number of images",
            argument="images",
        )
    if images < batch:
        raise InputError(
            f"batch_size is {batch}; there {'is' if images == 1 else 'are'} only "
            f"{counted(images, 'image')}; choose a smaller batch",
            argument="batch_size",
        )
    if batch % (gpus * recipe.accumulate):
        parts = f", times {recipe.accumulate} parts" if recipe.accumulate > 1 else ""
        raise InputError(f"batch_size is {batch}; it must be a multiple of the {gpus} GPUs{parts}")
    network = SwavNetwork(model, recipe, device="meta")
    trunk, head, prototypes = map(_count, (network.trunk, network.head, network.prototypes))
    parameters = trunk + head + prototypes
    trunk_flops = sum(g.count * trunk_multiply_adds(model, g.size) for g in recipe.crops)
    dense = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    per_crop = sum(m.weight.numel() + (m.out_features if m.bias is not None else 0) for m in dense)
    flops = trunk_flops + recipe.total_crops * per_crop
    iterations = images // batch * recipe.epochs
    checkpointed = recipe.checkpoint_after is not None
    # Forward once (twice with checkpointing), backward twice as much.
    operations = 2 * flops * (4 if checkpointed else 3)
    rate = gpus * teraflops * 1e12 / operations
    return CostPlan(
        model=model.name,
        recipe=recipe.name,
        trunk_parameters=trunk,
        head_parameters=head,
        prototype_parameters=prototypes,
        parameters=parameters,
        trunk_flops=trunk_flops,
        flops=flops,
        images=images,
        batch_size=batch,
        iterations=iterations,
        gpus=gpus,
        batch_per_gpu=batch // gpus,
        checkpointed=checkpointed,
        precision=precision,
        memory=_memory(model, recipe, network, batch // gpus // recipe.accumulate, gpus, precision),
        communicated=round(_sent_per_parameter(recipe, precision) * parameters * (gpus - 1) / gpus),
        teraflops=teraflops,
        images_per_second=rate,
        days=iterations * batch / rate / 86400,
        loader=plan_loader(
            recipe, sizes or ImageSizes(images), model.skeleton.channels, rate, gpus
        ),
    )


def _sent_per_parameter(recipe: SwavRecipe, precision: str) -> int:
    """Bytes sent per parameter and iteration.

    A ring all-reduce is a scatter and a gather. Sharded, each crop size of each part of the batch
    gathers parameters for its forward and its backward pass. Gradients are scattered in float32,
    once; what parts before the last have accumulated goes ahead if there are several crop sizes.
    """
    if not recipe.shard:
        return 2 * _FLOAT
    sizes = len({group.size for group in recipe.crops})
    gathered = 2 * sizes * recipe.accumulate * (_HALF if precision == "mixed" else _FLOAT)
    scattered = _FLOAT * (2 if recipe.accumulate > 1 and sizes > 1 else 1)
    return gathered + scattered


def trunk_multiply_adds(model: Model, side: int) -> int:
    """Return the forward multiply-adds of a trunk, without classifier, on one crop."""
    sized = model.at(resolution=side)
    return sized.flops - (model.output_width + 1) * model.skeleton.classes


def _gib(size: int) -> str:
    return f"{size / 2**30:>18.2f}"


def _count(part: torch.nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def _memory(
    model: Model, recipe: SwavRecipe, network: SwavNetwork, batch: int, gpus: int, precision: str
) -> MemoryPlan:
    weights = _FLOAT * _count(network)
    held = math.ceil(weights / gpus) if recipe.shard else weights
    size = _HALF if precision == "mixed" else _FLOAT
    elements = {g.size: _elements(model, g.size) for g in recipe.crops}
    kept = sum(g.count * batch * _kept(elements[g.size]) for g in recipe.crops)
    fewer = sum(g.count * batch * _checkpointed(elements[g.size], recipe) for g in recipe.crops)
    # One segment at a time is recomputed, for one crop size.
    largest = max(
        g.count * batch * _largest_segment(elements[g.size], recipe) for g in recipe.crops
    )
    checkpointed = size * (fewer + largest)
    activations = size * kept
    gathered = (3 * size + _FLOAT) * _largest_part(network) if recipe.shard else 0
    used = activations if recipe.checkpoint_after is None else checkpointed
    # Gradients are scattered once per iteration, after the last part.
    gradients = held if recipe.accumulate == 1 else weights
    return MemoryPlan(
        parameters=held,
        gradients=gradients,
        optimizer=held,
        gathered=gathered,
        activations=activations,
        activations_checkpointed=checkpointed,
        total=2 * held + gradients + gathered + used,
    )


def _largest_part(network: SwavNetwork) -> int:
    """Return the parameters of the largest part that is gathered at once."""
    stages = network.trunk.trunk_output
    return max(map(_count, (network.head, *(block for stage in stages for block in stage))))


@dataclass(frozen=True)
class _Elements:
    """Elements stored of one crop.

    Attributes:
        always: What can't be recomputed: of the stem, of what follows the stages, or of a network
            without stages.
        blocks: For each block of each stage, all that is stored, and its output alone.
    """

    always: int
    blocks: list[list[tuple[int, int]]]


def stored_elements(model: Model, side: int) -> int:
    """Return the numbers that the backward pass of one crop needs."""
    return _kept(_elements(model, side))


def _kept(elements: _Elements) -> int:
    return elements.always + sum(whole for stage in elements.blocks for whole, _ in stage)


def _checkpointed(elements: _Elements, recipe: SwavRecipe) -> int:
    """Elements kept of one crop with checkpointing: the input of each segment."""
    segments = _segments(elements.blocks, recipe)
    return elements.always + sum(segment[-1][1] for segment in segments)


def _largest_segment(elements: _Elements, recipe: SwavRecipe) -> int:
    segments = _segments(elements.blocks, recipe)
    return max((sum(whole for whole, _ in segment) for segment in segments), default=0)


def _segments(
    blocks: list[list[tuple[int, int]]], recipe: SwavRecipe
) -> list[list[tuple[int, int]]]:
    after = recipe.checkpoint_after
    segments = []
    for index, stage in enumerate(blocks):
        every = range(1, len(stage))
        ends = every if after is None or after == "block" else after[index]
        cuts = sorted({*ends, len(stage)} - {0})
        segments += [stage[a:b] for a, b in zip((0, *cuts[:-1]), cuts, strict=True)]
    return segments


def _elements(model: Model, side: int) -> _Elements:
    return _regnet_elements(model, side) if model.is_regnet_network else _traced(model, side)


def _regnet_elements(model: Model, side: int) -> _Elements:
    """Elements of a RegNet.

    Each convolution's output counts twice: as the input of its BatchNorm and, normalized, as the
    input of the next layer (ReLU works in place).
    """
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
            # 1x1 and 3x3 convolutions with their normalized outputs, the last 1x1 and the shortcut
            # before BatchNorm, and the sum; squeeze-and-excitation keeps a scaled copy.
            whole = 2 * inner * area_in + 2 * inner * area + width * area * (2 + projected)
            whole += inner * area if body.se_ratio else 0
            stage.append((whole, width * area))
            width_in = width
        blocks.append(stage)
    return _Elements(stem, blocks)


def _traced(model: Model, side: int) -> _Elements:
    """Elements of any network: what autograd stores on the device `meta`, which has no memory.

    Raises:
        InputError: The network can't be trained on such crops.
    """
    trunk = trunk_of(model, device="meta").train()
    stages = [list(stage) for stage in trunk.trunk_output] if has_stages(trunk) else []
    blocks = [block for stage in stages for block in stage]
    units = [trunk.stem, *blocks, trunk.avgpool] if stages else [trunk]
    # The unit that each storage belongs to; weights and buffers are of none.
    weights = [t.untyped_storage() for t in (*trunk.parameters(), *trunk.buffers())]
    owner = {storage._cdata: -1 for storage in weights}
    saved: list[torch.UntypedStorage] = []
    # Keeps storages alive, whose addresses would be used again.
    outputs = [torch.empty(_TRACED, model.skeleton.channels, side, side, device="meta")]

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor.untyped_storage())
        return tensor

    for index, unit in enumerate(units):
        before = len(saved)
        try:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                outputs.append(unit(outputs[-1]))
        except Exception as error:  # another's code may fail in any way
            raise InputError(
                f"{model.name}: its network of {model.body.block} blocks failed in training on "
                f"crops of {side} pixels: {type(error).__name__}: {error}"
            ) from error
        # An output is its block's, though only the next one stores it.
        for storage in (*saved[before:], outputs[-1].untyped_storage()):
            owner.setdefault(storage._cdata, index)
    stored = [0] * len(units)
    for address, size in {storage._cdata: storage.nbytes() for storage in saved}.items():
        if owner[address] >= 0:
            stored[owner[address]] += size
    whole = [math.ceil(size / (_FLOAT * _TRACED)) for size in stored]
    if not stages:
        return _Elements(whole[0], [])
    of_blocks = zip(whole[1:-1], (x[0].numel() for x in outputs[2:-1]), strict=True)
    return _Elements(whole[0] + whole[-1], [list(islice(of_blocks, len(s))) for s in stages])
