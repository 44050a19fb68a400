"""Quantized-linear fits: how well w_0, w_a and w_m explain a network's block widths (DDS §3.3).

For a network with block widths w_j, e_fit is the smallest mean |log(predicted / observed)| over its
blocks. A grid over the ratio r = w_a / w_0 and over w_m fixes every block's step
s_j = round(log(1 + r j) / log w_m); for these steps the best log w_0 is in closed form the median
of log w_j - s_j log w_m. The grid is then refined around the best, and w_0 rounded to a multiple of
8; the returned e_fit is that of the exact rule, `body.quantized_widths`.

A RegNet's stages differ in width. Where stages are known, each tie of neighbouring stages adds what
separating them takes: the smaller of the two by a ratio of 1.5, the least w_m of the paper.
"""

from dataclasses import dataclass

import numpy as np

from designspace.arch import quantized_widths
from designspace.errors import InputError
from designspace.stats.arrays import FloatArray, IntArray, Numbers

_RATIOS = np.concatenate([[0.0], np.geomspace(0.01, 32, 40)])
_STEPS = np.concatenate([np.linspace(1.1, 3.5, 60), np.linspace(3.75, 8, 6)])
_REFINEMENTS = (0.12, 0.03)
_MIN_LOG_W_0 = float(np.log(8))
# Multiples of 8 by which w_0 is shifted, and relative range of w_a and w_m - 1.
_SEARCHES = (((0, 1), 0.06), ((-1, 0, 1), 0.15), ((0,), 0.04))
_NUM_KEPT = 5
# Logarithms differ by less between CPUs.
_DECIMALS = 10
_LEAST_RATIO = 1.5


@dataclass(frozen=True, eq=False)
class LinearFits:
    """The best quantized-linear widths of n networks, each array (n,).

    Attributes:
        w_0: Initial width, a multiple of 8.
        w_a: Slope, channels per block.
        w_m: Ratio between neighbouring stages.
        error: e_fit, the mean |log(predicted / observed)| over blocks, with the distance of tied
            stages; 0 is exact.
        tied: Number of neighbouring stages of equal width; 0 where only block widths are known.
    """

    w_0: FloatArray
    w_a: FloatArray
    w_m: FloatArray
    error: FloatArray
    tied: IntArray

    def __len__(self) -> int:
        return len(self.error)


@dataclass(frozen=True)
class WidthTrend:
    """A straight line through the origin for block widths: w_j = slope * (j + 1).

    DDS gives 48 for the best AnyNetX models at 400MF (§3.3).

    Attributes:
        slope: Channels per block that minimize the mean |log(line / observed)| over all blocks.
        error: That mean.
        models: Number of models it is fitted to.
    """

    slope: float
    error: float
    models: int


def fit_quantized_linear(widths: Numbers | IntArray, depths: IntArray | None = None) -> LinearFits:
    """Fit w_0, w_a and w_m to observed widths, for one network or many.

    Args:
        widths: Width of each block of one network, (d,); or of each stage of n networks,
            (n, stages), together with `depths`.
        depths: Blocks of each stage, (n, stages); 0 after a network's last one.

    Raises:
        InputError: The shapes don't match, a width or depth is no number or below 1, or a depth is
            no whole number.

    Example:
        >>> import designspace as ds
        >>> fits = ds.fit_quantized_linear([[24, 56, 152, 368]], [[1, 1, 4, 7]])
        >>> bool(fits.error[0] < 0.02)
        True
    """
    observed = _as_numbers(widths, "widths")
    if depths is None:
        if observed.ndim != 1 or not len(observed):
            raise InputError(
                f"widths has shape {observed.shape}; pass the block widths of one network, or "
                "stage widths (n, stages) with depths of the same shape",
                "widths",
            )
        blocks, depth = observed[None, :], np.array([len(observed)])
    else:
        stated = _as_numbers(depths, "depths")
        with np.errstate(invalid="ignore"):
            counts = stated.astype(np.int64)
        if (counts != stated).any():
            raise InputError(
                f"depths must be whole numbers; found {stated[counts != stated][0]:g}", "depths"
            )
        fits = observed.ndim == 2 and observed.shape[1] > 0 and counts.shape == observed.shape
        if fits:  # a network may lack its last stages
            least = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] > 0
            least[:, 0] = True
            fits = not (counts < least).any()
        if not fits:
            raise InputError(
                "depths must be at least 1, or 0 in all stages that a network lacks at its end, "
                f"and have the shape of widths, {observed.shape}",
                "depths",
            )
        blocks, depth = block_widths(counts, observed), counts.sum(axis=1)
    if (blocks[blocks != 0] < 1).any() or not np.isfinite(blocks).all():
        raise InputError("widths must be finite and at least 1", "widths")
    rows = [_fit(blocks[i, :d]) for i, d in enumerate(depth.tolist())]
    w_0, w_a, w_m, error = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    if depths is None:
        return LinearFits(w_0, w_a, w_m, error, np.zeros(1, dtype=np.int64))
    ties = (np.diff(observed, axis=1) == 0) & (counts[:, 1:] > 0)
    smaller = np.minimum(counts[:, 1:], counts[:, :-1])
    error = error + (ties * smaller).sum(axis=1) / depth * np.log(_LEAST_RATIO)
    return LinearFits(w_0, w_a, w_m, error, ties.sum(axis=1))


def _as_numbers(values: Numbers | IntArray, argument: str) -> FloatArray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{argument} must be numbers, as many in each row; a network that lacks stages has "
            "depth 0 there",
            argument,
        ) from None


def block_widths(depths: IntArray, widths: FloatArray | IntArray) -> FloatArray:
    """Repeat stage widths per block: (n, stages) to (n, max depth), 0 past a network's depth."""
    ends = np.cumsum(depths, axis=1)
    block = np.arange(int(ends[:, -1].max(initial=1)))
    stage = (block[None, :, None] >= ends[:, None, :]).sum(axis=2)
    padded = np.concatenate([widths, np.zeros((len(widths), 1))], axis=1)
    return np.take_along_axis(padded, stage, axis=1)


def width_trend(depths: IntArray, widths: IntArray) -> WidthTrend:
    """Return the line through the origin that the block widths of n networks follow best."""
    blocks = block_widths(depths, widths)
    place = np.broadcast_to(np.arange(1, blocks.shape[1] + 1), blocks.shape)
    ratio = np.log(blocks[blocks > 0] / place[blocks > 0])
    center = float(np.median(ratio))
    return WidthTrend(float(np.exp(center)), float(np.abs(ratio - center).mean()), len(blocks))


def _fit(observed: FloatArray) -> tuple[float, float, float, float]:
    """Fit one network; returns w_0, w_a, w_m and e_fit."""
    log_widths = np.log(observed)
    pool = _best_by_step(log_widths, _RATIOS[None, :], _STEPS)
    for width in _REFINEMENTS:
        errors, ratios, steps, _ = pool
        best = np.argsort(errors, kind="stable")[:4]
        around = 1 + width * np.linspace(-1, 1, 9)
        near_steps = (1 + (steps[best][:, None] - 1) * around).ravel()
        near_ratios = (ratios[best][:, None] * around).repeat(9, axis=0)
        near = _best_by_step(log_widths, near_ratios, near_steps)
        pool = np.concatenate([pool, near], axis=1)
    best = np.argsort(pool[0], kind="stable")[:24]
    return _on_the_rule(log_widths, *pool[1:, best])


def _best_by_step(log_widths: FloatArray, ratios: FloatArray, steps: FloatArray) -> FloatArray:
    """Return the best ratio for each w_m, so that the pool stays diverse.

    Args:
        log_widths: Logarithms of the block widths, (d,).
        ratios: Ratios w_a / w_0 to try with each step, (k, r), or with all steps alike, (1, r).
        steps: Values of w_m, (k,).

    Returns:
        Smallest mean |log(predicted / observed)|, its ratio, w_m, and its log w_0, (4, k).
    """
    log_m = np.log(steps)[:, None, None]
    j, share = np.arange(len(log_widths)), np.full(len(log_widths), 1 / len(log_widths))
    offset = np.log1p(ratios[:, :, None] * j) / log_m
    np.rint(offset, out=offset)
    offset *= -log_m
    offset += log_widths
    middle = len(j) // 2
    # w_0 is at least 8.
    starts = np.maximum(np.partition(offset, middle, axis=2)[:, :, middle], _MIN_LOG_W_0)
    offset -= starts[:, :, None]
    errors = _rounded(np.abs(offset, out=offset) @ share)
    rows, best = np.arange(len(steps)), errors.argmin(axis=1)
    own = ratios[np.minimum(rows, len(ratios) - 1), best]
    return np.stack([errors[rows, best], own, steps, starts[rows, best]])


def _on_the_rule(
    log_widths: FloatArray, ratios: FloatArray, steps: FloatArray, starts: FloatArray
) -> tuple[float, float, float, float]:
    """Round w_0 to multiples of 8, search around it, and measure by the exact rule.

    The grid ignores the rounding to multiples of 8, which matters for narrow networks; so all three
    are varied here, around the grid's best and then around the best of those.
    """
    start, share = np.exp(starts), np.full(len(log_widths), 1 / len(log_widths))
    below = np.floor(_rounded(start / 8)) * 8
    pool = np.stack([below, ratios * start, steps])
    for shifts, reach in _SEARCHES:
        nudges = reach * np.linspace(-1, 1, 5)
        w_0 = np.maximum(8, pool[0] + 8 * np.array(shifts)[:, None])[:, :, None, None]
        w_a = (pool[1][:, None] * (1 + nudges))[:, :, None]
        w_m = (1 + (pool[2][:, None] - 1) * (1 + nudges))[:, None, :]
        near = np.stack([part.ravel() for part in np.broadcast_arrays(w_0, w_a, w_m)])
        depth = np.full(near.shape[1], len(log_widths), dtype=np.int64)
        predicted = quantized_widths(depth, near[0].astype(np.int64), near[1], near[2])
        errors = _rounded(np.abs(np.log(predicted) - log_widths) @ share)
        order = np.argsort(errors, kind="stable")[:_NUM_KEPT]
        pool = near[:, order]
    w_0, w_a, w_m = pool[:, 0]
    return float(w_0), float(w_a), float(w_m), float(errors[order[0]])


def _rounded(values: FloatArray) -> FloatArray:
    """Round so that ties, of which the first counts, are ties on every CPU."""
    return np.round(values, _DECIMALS)
