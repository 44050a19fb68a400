"""Cost of whole populations in closed form: multiply-adds, parameters and activations.

Convention (DDS table 2, pycls): `flops` are multiply-adds of convolutions and linear layers plus
one addition for each bias element they produce; `acts` are the output elements of convolutions and
linear layers; `params` are all learnable numbers, BatchNorm included. Of blocks of one's own,
`flops` have the multiply-adds of all matrix products, those of attention too: half of what torch's
`FlopCounterMode` counts.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from pkgutil import resolve_name

import numpy as np
from numpy.typing import NDArray

from designspace.arch.array_batch import ArrayBatch
from designspace.arch.blocks import BOTTLENECK, Block, find_block
from designspace.arch.body import Body, BodyBatch, IntArray
from designspace.arch.layer_counter import LayerCounter
from designspace.arch.skeleton import Skeleton
from designspace.errors import InputError, shortened

MEASURES = ("flops", "params", "acts")
# Counts are exact up to here, in 64 bits.
_LIMIT = 2.0**62
# Models counted at once: their arrays fit into the second-level cache.
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Cost(ArrayBatch):
    """Cost of n models.

    Attributes:
        flops: Multiply-adds, (n,).
        params: Learnable numbers, (n,).
        acts: Output elements of convolutions and linear layers, (n,).
    """

    flops: IntArray
    params: IntArray
    acts: IntArray

    def __len__(self) -> int:
        return len(self.flops)


def cost(bodies: BodyBatch, skeleton: Skeleton) -> Cost:
    """Count the cost of every model at the skeleton's resolution, exactly, in int64.

    A body of fewer stages than the skeleton has strides takes the first ones.

    Raises:
        InputError: Counts may exceed 64 bits, or the cost function of another block fails or does
            not return a `Cost`.
    """
    bound = _bounds(bodies, skeleton, axis=None) if len(bodies) else 0.0
    # One bound over all models is cheap and mostly enough.
    if bound > _LIMIT and (bound := _bounds(bodies, skeleton, axis=1).max()) > _LIMIT:
        raise InputError(
            f"a network of up to {bound:.0e} multiply-adds can't be counted in 64 bits; lower "
            "widths, depths or the resolution"
        )
    count = _cost if bodies.block == BOTTLENECK else partial(_cost_of, find_block(bodies.block))
    assert bodies.num_stages <= skeleton.num_stages
    if len(bodies) and (
        bodies.num_stages != skeleton.num_stages or (bodies.depths[:, -1] == 0).any()
    ):
        total = Cost(*(np.zeros(len(bodies), np.int64) for _ in MEASURES))
        for rows, some in bodies.by_stages():
            part = cost(some, skeleton.with_stages(some.num_stages))
            for name in MEASURES:
                getattr(total, name)[rows] = getattr(part, name)
        return total
    if len(bodies) <= _CHUNK:
        return count(bodies, skeleton)
    starts = range(0, len(bodies), _CHUNK)
    chunks = [count(bodies.take(slice(i, i + _CHUNK)), skeleton) for i in starts]
    return Cost.concatenate(chunks)


def countable(bodies: BodyBatch, skeleton: Skeleton) -> NDArray[np.bool_]:
    """Return which models surely can be counted in 64 bits, (n,), by a coarse upper bound."""
    return _bounds(bodies, skeleton, axis=1) <= _LIMIT


def _bounds(bodies: BodyBatch, skeleton: Skeleton, axis: int | None) -> NDArray[np.float64]:
    """Upper bounds of all counts: of each model (axis=1), or of all models (axis=None)."""
    width = np.maximum(bodies.widths.max(axis=axis, initial=0), skeleton.stem_width).astype(
        np.float64
    )
    inner = width / bodies.bottleneck_ratios.min(axis=axis, initial=1.0)
    blocks = bodies.depths.max(axis=axis, initial=0) * float(bodies.num_stages) + 1
    groups = bodies.group_widths.max(axis=axis, initial=0).astype(np.float64)
    if bodies.block != BOTTLENECK:  # a block without groups may have full 3x3 convolutions
        groups = width
    area = float(skeleton.stage_resolutions()[0]) ** 2
    last = np.maximum(width, skeleton.head_width)
    bound = 4 * blocks * inner * (2 * width + 9 * groups) * area + last * skeleton.classes
    bound = bound + width * skeleton.head_width * area
    bound = bound + 49.0 * skeleton.channels * skeleton.stem_width * 4 * area
    for values in bodies.extras.values():
        # The cost of another block may grow with an axis (an expansion) or its square (a kernel).
        bound = bound * np.maximum(values.max(axis=axis, initial=1.0), 1.0) ** 2
    return np.asarray(bound, np.float64)


def _cost_of(block: Block, bodies: BodyBatch, skeleton: Skeleton) -> Cost:
    """Call the cost function of another block and check its result."""
    n, where = len(bodies), f"block {block.name}: its cost"
    if block.cost is None:
        counts = [_measured(block, bodies.body(i), skeleton) for i in range(n)]
        table = np.array(counts, np.int64).reshape(n, 3)
        return Cost(*(np.ascontiguousarray(column) for column in table.T))
    try:
        result: object = block.cost(bodies.read_only(), skeleton)
    except (Exception, SystemExit) as error:  # another's code may fail in any way
        raise InputError(f"{where} failed: {type(error).__name__}: {error}") from error
    rule = f"for {n} networks; it must give a Cost of three integer arrays ({n},), 0 or more"
    if not isinstance(result, Cost):
        raise InputError(f"{where} gave {shortened(repr(result))} {rule}")
    for name in MEASURES:
        counts = getattr(result, name)
        if not isinstance(counts, np.ndarray):
            problem = shortened(repr(counts))
        elif counts.shape != (n,) or counts.dtype.kind not in "iu":
            problem = f"an array {counts.shape} of {counts.dtype}"
        elif n and not 0 <= counts.min() <= counts.max() < 2**63:
            problem = f"numbers from {counts.min()} to {counts.max()}"
        else:
            continue
        raise InputError(f"{where} gave {name} as {problem} {rule}")
    # Copies, as the function may keep the arrays.
    return Cost(*(getattr(result, name).astype(np.int64) for name in MEASURES))


@lru_cache(maxsize=100_000)
def _measured(block: Block, body: Body, skeleton: Skeleton) -> tuple[int, int, int]:
    """Count a built network; loading torch waits until a block without a cost needs it."""
    measure = resolve_name("designspace.networks.count_cost:measured_cost")
    try:
        counts: tuple[int, int, int] = measure(block, body, skeleton)
    except (Exception, SystemExit) as error:  # another's code may fail in any way
        raise InputError(
            f"block {block.name}: its network could not be counted: {type(error).__name__}: {error}"
        ) from error
    return counts


def _cost(bodies: BodyBatch, skeleton: Skeleton) -> Cost:
    sides = skeleton.stage_resolutions()
    count = LayerCounter(len(bodies))
    count.stem(skeleton)
    flops, params, acts = count.flops, count.params, count.acts  # added to in place

    inner_widths = bodies.inner_widths
    width_in = np.full(len(bodies), skeleton.stem_width, dtype=np.int64)
    for i, stride in enumerate(skeleton.strides):
        area_in, area = sides[i] ** 2, sides[i + 1] ** 2
        depth, width = bodies.depths[:, i], bodies.widths[:, i]
        inner = inner_widths[:, i]
        rest = depth - 1

        # Convolutions: 1x1 in (the first block's still at the stage's input size), 3x3, 1x1 out.
        grouped = 9 * inner * bodies.group_widths[:, i]
        pointwise = inner * width
        first = inner * width_in
        weights = first + rest * pointwise + depth * (grouped + pointwise)
        flops += first * area_in + (rest * pointwise + depth * (grouped + pointwise)) * area
        acts += inner * (area_in + rest * area) + depth * (inner + width) * area
        norms = depth * (2 * inner + width)

        # The first block's shortcut, where shape changes: strided 1x1 convolution, BatchNorm.
        projected = np.ones(len(bodies), dtype=bool) if stride != 1 else width_in != width
        shortcut = np.where(projected, width_in * width, 0)
        weights += shortcut
        flops += shortcut * area
        acts += np.where(projected, width * area, 0)
        norms += np.where(projected, width, 0)
        params += weights + 2 * norms

        # Squeeze-and-excitation: two 1x1 convolutions with bias on a 1x1 map, inside every block
        # whose squeeze width is not 0.
        if bodies.se_ratios.any():
            squeeze = np.rint(bodies.se_ratios * width_in).astype(np.int64)
            squeeze_rest = np.rint(bodies.se_ratios * width).astype(np.int64)
            squeezes = squeeze + rest * squeeze_rest
            biases = squeezes + ((squeeze > 0) + rest * (squeeze_rest > 0)) * inner
            flops += 2 * squeezes * inner + biases
            params += 2 * squeezes * inner + biases
            acts += biases
        width_in = width

    count.head(width_in, skeleton)
    return Cost(flops=flops, params=params, acts=acts)
