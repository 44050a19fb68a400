"""Cost of whole populations in closed form: multiply-adds, parameters and activations.

Convention (DDS table 2, pycls): `flops` are multiply-adds of convolutions and linear layers plus
one addition for each bias element they produce; `acts` are the output elements of convolutions and
linear layers; `params` are all learnable numbers, BatchNorm included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.arch.blocks import BOTTLENECK, Block, find_block
from designspace.arch.body import BodyBatch, IntArray
from designspace.arch.skeleton import Skeleton
from designspace.errors import InputError, shortened

# Counts are exact as long as they fit into 64 bits.
_MOST = 2.0**62
# Small enough that the working set of a chunk stays in the second-level cache.
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Cost:
    """Cost of n models, each array (n,): multiply-adds, parameters, activations."""

    flops: IntArray
    params: IntArray
    acts: IntArray

    def __len__(self) -> int:
        return len(self.flops)

    def take(self, rows: NDArray[Any] | slice) -> "Cost":
        """Select models by index, mask or slice."""
        return Cost(self.flops[rows], self.params[rows], self.acts[rows])

    @staticmethod
    def concatenate(parts: Sequence["Cost"]) -> "Cost":
        """Join the costs of populations, in order."""
        return Cost(
            flops=np.concatenate([part.flops for part in parts]),
            params=np.concatenate([part.params for part in parts]),
            acts=np.concatenate([part.acts for part in parts]),
        )


def cost(bodies: BodyBatch, skeleton: Skeleton) -> Cost:
    """Count the cost of every model at the frame's resolution, exactly, in int64.

    Raises:
        InputError: The networks are so large that their multiply-adds may not fit, or the count
            of another package's block fails or gives what can't be a cost.
    """
    n = len(bodies)
    _check_range(bodies, skeleton)
    count = _cost if bodies.block == BOTTLENECK else partial(_brought, find_block(bodies.block))
    if n <= _CHUNK:
        return count(bodies, skeleton)
    return Cost.concatenate(
        [count(bodies.take(slice(i, i + _CHUNK)), skeleton) for i in range(0, n, _CHUNK)]
    )


def countable(bodies: BodyBatch, skeleton: Skeleton) -> NDArray[np.bool_]:
    """Return of which models 64 bits surely hold all counts, by a coarse upper bound of each."""
    return _bounds(bodies, skeleton, axis=1) <= _MOST


def _check_range(bodies: BodyBatch, skeleton: Skeleton) -> None:
    # One bound over all models is quickly had, and mostly enough.
    if not len(bodies) or _bounds(bodies, skeleton, axis=None) <= _MOST:
        return
    bounds = _bounds(bodies, skeleton, axis=1)
    if bounds.max() > _MOST:
        raise InputError(
            f"a network of up to {bounds.max():.0e} multiply-adds can't be counted in 64 bits; "
            "lower widths, depths or the resolution"
        )


def _bounds(bodies: BodyBatch, skeleton: Skeleton, axis: int | None) -> NDArray[np.float64]:
    """Upper bounds of all counts: of each model (axis 1), or of any (None)."""
    width = np.maximum(bodies.widths.max(axis=axis, initial=0), skeleton.stem_width).astype(
        np.float64
    )
    inner = width / bodies.bottleneck_ratios.min(axis=axis, initial=1.0)
    blocks = bodies.depths.max(axis=axis, initial=0) * float(bodies.num_stages) + 1
    groups = bodies.group_widths.max(axis=axis, initial=0).astype(np.float64)
    area = float(skeleton.stage_resolutions()[0]) ** 2
    bound = 4 * blocks * inner * (2 * width + 9 * groups) * area + width * skeleton.classes
    for values in bodies.extras.values():
        # What another block makes of an axis is not known here: an expansion multiplies its cost,
        # the side of a kernel does so twice.
        bound = bound * np.maximum(values.max(axis=axis, initial=1.0), 1.0) ** 2
    return np.asarray(bound, np.float64)


def _brought(block: Block, bodies: BodyBatch, skeleton: Skeleton) -> Cost:
    """Let a block of another package count, and hold what it gives against what a cost is."""
    try:
        found: object = block.cost(bodies.read_only(), skeleton)
    except (Exception, SystemExit) as error:  # another's code, which may fail in any way
        raise InputError(
            f"block {block.name}: its cost failed: {type(error).__name__}: {error}"
        ) from error
    n = len(bodies)
    right = f"it must give designspace.arch.Cost of three integer arrays ({n},), 0 or more"
    if not isinstance(found, Cost):
        given = shortened(repr(found))
        raise InputError(f"block {block.name}: its cost gave {given} for {n} networks; {right}")
    for name in ("flops", "params", "acts"):
        counts = getattr(found, name)
        if not isinstance(counts, np.ndarray):
            given = shortened(repr(counts))
        elif counts.shape != (n,) or counts.dtype.kind not in "iu":
            given = f"an array {counts.shape} of {counts.dtype}"
        elif n and not 0 <= counts.min() <= counts.max() < 2**63:
            given = f"numbers from {counts.min()} to {counts.max()}"
        else:
            continue
        raise InputError(
            f"block {block.name}: its cost gave {name} as {given} for {n} networks; {right}"
        )
    # Copies: the arrays may be the package's own.
    return Cost(*(counts.astype(np.int64) for counts in (found.flops, found.params, found.acts)))


def _cost(bodies: BodyBatch, skeleton: Skeleton) -> Cost:
    assert bodies.num_stages == skeleton.num_stages
    sides = skeleton.stage_resolutions()
    # Stem: 3x3 convolution of 3 channels, BatchNorm.
    stem_area = sides[0] ** 2
    flops = np.full(len(bodies), 27 * skeleton.stem_width * stem_area, dtype=np.int64)
    params = np.full(len(bodies), 29 * skeleton.stem_width, dtype=np.int64)
    acts = np.full(len(bodies), skeleton.stem_width * stem_area, dtype=np.int64)

    squeezing = bodies.se_ratios > 0
    width_in = np.full(len(bodies), skeleton.stem_width, dtype=np.int64)
    for i, stride in enumerate(skeleton.strides):
        area_in, area = sides[i] ** 2, sides[i + 1] ** 2
        depth, width = bodies.depths[:, i], bodies.widths[:, i]
        inner = np.rint(width / bodies.bottleneck_ratios[:, i]).astype(np.int64)
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

        # Squeeze-and-excitation: two 1x1 convolutions with bias on a 1x1 map, inside every block.
        if squeezing.any():
            squeeze = np.rint(bodies.se_ratios * width_in).astype(np.int64)
            squeeze_rest = np.rint(bodies.se_ratios * width).astype(np.int64)
            squeezes = np.where(squeezing, squeeze + rest * squeeze_rest, 0)
            biases = squeezes + np.where(squeezing, depth * inner, 0)
            flops += 2 * squeezes * inner + biases
            params += 2 * squeezes * inner + biases
            acts += biases
        width_in = width

    # Classifier: linear with bias.
    flops += (width_in + 1) * skeleton.classes
    params += (width_in + 1) * skeleton.classes
    acts += skeleton.classes
    return Cost(flops=flops, params=params, acts=acts)
