"""Read networks from numeric columns: the stages of bodies, or RegNet parameters.

Columns `d1` … `dk` and `w1` … `wk` (with `b1` … and `g1` …, or one `b` and `g`) describe stages;
`d`, `w_0`, `w_a`, `w_m`, `b` and `g` describe a RegNet. A model whose columns are incomplete or
inconsistent is not described as a network; the others are. Where most complete rows are
inconsistent, the columns are plain numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from designspace.arch import BodyBatch, RegNetParams, RegNetParamsBatch
from designspace.arch.activation import ACTIVATIONS, Activation
from designspace.arch.blocks import BOTTLENECK, block_axes, body_axes, has_squeeze
from designspace.arch.parameter_columns import parameters
from designspace.errors import InputError
from designspace.stats.arrays import BoolArray, FloatArray

REGNET_COLUMNS = ("d", "w_0", "w_a", "w_m", "b", "g")
_MAX_STAGES = 16
# Larger numbers in columns d1 or w1 are no depths and widths of networks.
_MAX_BLOCKS, _MAX_WIDTH = 10_000, 10_000_000


@dataclass(frozen=True, eq=False)
class DescribedNetworks:
    """The networks that columns describe.

    Attributes:
        bodies: Bodies of all n models; those that are not described repeat one that is.
        regnets: RegNet parameters of all n models, likewise, or None where they are no RegNets.
        described: Which models are described, (n,).
        parameters: The parameters of the networks as columns, NaN where a model is not described.
    """

    bodies: BodyBatch
    regnets: RegNetParamsBatch | None
    described: BoolArray
    parameters: Mapping[str, FloatArray]


def read_networks(
    columns: Mapping[str, FloatArray],
    block: str = BOTTLENECK,
    activation: Activation = "relu",
) -> DescribedNetworks | None:
    """Return the networks that numeric columns, each (n,), describe, or None if there are none.

    Args:
        columns: At least one.
        block: What the stages are made of. RegNet parameters of a block without groups become
            stages, of the widths that pycls builds; columns don't describe a block with axes of
            its own.
        activation: The nonlinearity of all layers.
    """
    se_ratios = np.nan_to_num(columns.get("se_ratio", np.zeros(len(next(iter(columns.values()))))))
    if block_axes(block):
        return None
    regnet = set(REGNET_COLUMNS) <= set(columns)
    networks = (_read_regnets if regnet else _read_stages)(columns, se_ratios)
    if networks is None or (block == BOTTLENECK and activation == "relu"):
        return networks
    bodies = replace(networks.bodies, block=block)
    if activation != "relu":
        codes = np.full(len(bodies), ACTIVATIONS.index(activation), dtype=np.int64)
        bodies = replace(bodies, activations=codes)
    if not has_squeeze(block):
        bodies = replace(bodies, se_ratios=np.zeros(len(bodies)))
    if body_axes(block):
        return replace(networks, bodies=bodies)
    bodies = replace(
        bodies,
        bottleneck_ratios=np.ones_like(bodies.bottleneck_ratios),
        group_widths=np.ones_like(bodies.group_widths),
    )
    own = {k: _masked(v, networks.described) for k, v in parameters(bodies).items()}
    return DescribedNetworks(bodies, None, networks.described, own)


def is_network_column(name: str) -> bool:
    """Return whether a column describes a network: d, d1, w_0, …"""
    return name in REGNET_COLUMNS or (name[:1] in "dwbg" and name[1:].isdecimal())


def _read_regnets(
    columns: Mapping[str, FloatArray], se_ratios: FloatArray
) -> DescribedNetworks | None:
    table = np.stack([columns[name] for name in REGNET_COLUMNS], axis=1)
    valid: list[RegNetParams] = []
    rows: list[int] = []
    for i in np.flatnonzero(np.isfinite(table).all(axis=1)).tolist():
        d, w_0, w_a, w_m, b, g = table[i].tolist()
        if d % 1 or w_0 % 1 or g % 1:
            continue
        try:
            valid.append(RegNetParams(int(d), int(w_0), w_a, w_m, b, int(g)))
            rows.append(i)
        except InputError:
            continue  # not the paper's RegNet, such as w_0 that is not a multiple of 8
    if 2 * len(valid) <= np.isfinite(table).all(axis=1).sum():
        return None
    regnets = RegNetParamsBatch.from_list(valid)
    counts = regnets.stage_counts()
    # A population has one number of stages: the most common.
    bodies, fits = regnets.bodies(int(np.bincount(counts).argmax()), se_ratios[rows])
    kept = np.array(rows)[fits]
    place, described = _repeat_first(kept, len(table))
    names = {name: _masked(columns[name], described) for name in REGNET_COLUMNS}
    return DescribedNetworks(
        bodies.take(place), regnets.take(np.flatnonzero(fits)).take(place), described, names
    )


def _read_stages(
    columns: Mapping[str, FloatArray], se_ratios: FloatArray
) -> DescribedNetworks | None:
    counts = {
        letter: next(k for k in range(_MAX_STAGES + 1) if f"{letter}{k + 1}" not in columns)
        for letter in "dwbg"
    }
    k = counts["d"]
    if k == 0 or counts["w"] != k or any(counts[letter] not in (0, k) for letter in "bg"):
        return None

    def stages(letter: str) -> FloatArray | None:
        if counts[letter]:
            return np.stack([columns[f"{letter}{i + 1}"] for i in range(k)], axis=1)
        return np.repeat(columns[letter][:, None], k, axis=1) if letter in columns else None

    depths, widths, ratios, groups = (stages(letter) for letter in "dwbg")
    assert depths is not None
    assert widths is not None
    stated = {"b": ratios is not None, "g": groups is not None}
    ratios = np.ones_like(widths) if ratios is None else ratios
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.rint(widths / ratios)
        # Without group widths there are no groups. A shared g is cut where the 3x3 is narrower.
        groups = inner if groups is None else np.minimum(groups, np.maximum(inner, 1))
        described = (depths >= 1) & (widths >= 1) & (groups >= 1) & (ratios > 0) & (inner >= 1)
        described &= (widths <= _MAX_WIDTH) & np.isfinite(depths) & (inner % groups == 0)
        described &= (depths % 1 == 0) & (widths % 1 == 0) & (groups % 1 == 0)
        mask = described.all(axis=1) & (depths.sum(axis=1) <= _MAX_BLOCKS)
    kept = np.flatnonzero(mask)
    complete = np.isfinite(np.concatenate([depths, widths, ratios, groups], axis=1)).all(axis=1)
    if 2 * len(kept) <= complete.sum() or not len(kept):
        return None
    place, described_rows = _repeat_first(kept, len(widths))
    rows = kept[place]
    bodies = BodyBatch(
        depths[rows].astype(np.int64),
        widths[rows].astype(np.int64),
        ratios[rows],
        groups[rows].astype(np.int64),
        se_ratios[rows],
    )
    own = {
        name: _masked(values, described_rows)
        for name, values in parameters(bodies).items()
        if stated.get(name[0], True)
    }
    return DescribedNetworks(bodies, None, described_rows, own)


def _repeat_first(kept: np.ndarray, n: int) -> tuple[np.ndarray, BoolArray]:
    """For each of n rows its place among the kept ones, 0 where it is not kept; and the mask."""
    described = np.zeros(n, dtype=bool)
    described[kept] = True
    place = np.zeros(n, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    return place, described


def _masked(values: FloatArray, described: BoolArray) -> FloatArray:
    return np.where(described, values, np.nan)
