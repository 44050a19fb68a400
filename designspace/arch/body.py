"""AnyNet bodies: depth, width, bottleneck ratio and group width of each stage.

A body of another block than RegNet's (`body.blocks`) has that block's axes as extras.

`BodyBatch` holds n bodies as arrays, one row a model; `Body` is one of them as plain values. Every
rule is written once, for arrays: a single model is a population of one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.arch.blocks import BOTTLENECK
from designspace.errors import InputError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MAX_DEPTH = 1000
MAX_WIDTH = 10**6


@dataclass(frozen=True)
class Body:
    """One AnyNet body, with group-compatible widths.

    Attributes:
        depths: Blocks of each stage.
        widths: Output channels of each stage's blocks.
        bottleneck_ratios: Block width over the width of its 3x3 convolution.
        group_widths: Channels a group in each stage's 3x3 convolution.
        se_ratio: Squeeze width over the block's input width; 0 for X blocks, which have none.
        block: What the stages are made of.
        extras: Another block's axes, by name, each with a value for every stage.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck_ratios: tuple[float, ...]
    group_widths: tuple[int, ...]
    se_ratio: float = 0.0
    block: str = BOTTLENECK
    extras: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.depths)
        lists = [("widths", self.widths), ("bottleneck_ratios", self.bottleneck_ratios)]
        for name, values in (*lists, ("group_widths", self.group_widths), *self.extras):
            if len(values) != n:
                raise InputError(
                    f"{name} has {len(values)} values for {n} depths; give one value a stage"
                )
        if n == 0:
            raise InputError("depths is empty; a network has at least one stage")
        for i, (d, w, b, g) in enumerate(
            zip(self.depths, self.widths, self.bottleneck_ratios, self.group_widths, strict=True)
        ):
            where = f"stage {i + 1}"
            if not 1 <= d <= MAX_DEPTH:
                raise InputError(f"{where}: depth is {d}; it must be 1 to {MAX_DEPTH}")
            if not 1 <= w <= MAX_WIDTH:
                raise InputError(f"{where}: width is {w}; it must be 1 to {MAX_WIDTH}")
            if not 1 / 64 <= b <= 64:
                raise InputError(f"{where}: bottleneck ratio is {b}; it must be 1/64 to 64")
            inner = round(w / b)
            if not 1 <= g <= inner or inner % g:
                raise InputError(
                    f"{where}: group width {g} does not divide the bottleneck width {inner} "
                    f"(width {w} / ratio {b:g})"
                )
        if not 0 <= self.se_ratio <= 1:
            raise InputError(f"se_ratio is {self.se_ratio}; it must be 0 (none) to 1")

    @property
    def num_stages(self) -> int:
        """The number of stages."""
        return len(self.depths)

    @property
    def id(self) -> str:
        """Content hash: 12 hexadecimal digits that equal bodies share."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as it stands in files; RegNet's block goes without saying."""
        data = {
            "depths": list(self.depths),
            "widths": list(self.widths),
            "bottleneck_ratios": [_plain(b) for b in self.bottleneck_ratios],
            "group_widths": list(self.group_widths),
            "se_ratio": _plain(self.se_ratio),
        }
        if self.block == BOTTLENECK:
            return data
        extras = {name: [_plain(value) for value in values] for name, values in self.extras}
        return {**data, "block": self.block, "extras": extras}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Body":
        """Read what `to_dict` wrote.

        Raises:
            InputError: A key is missing or a value breaks a rule of the class.
        """
        try:
            return Body(
                depths=tuple(int(d) for d in data["depths"]),
                widths=tuple(int(w) for w in data["widths"]),
                bottleneck_ratios=tuple(float(b) for b in data["bottleneck_ratios"]),
                group_widths=tuple(int(g) for g in data["group_widths"]),
                se_ratio=float(data.get("se_ratio") or 0.0),
                block=str(data.get("block", BOTTLENECK)),
                extras=tuple(
                    (str(name), tuple(float(value) for value in values))
                    for name, values in data.get("extras", {}).items()
                ),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"arch: {error!r}; it must have lists depths, widths, bottleneck_ratios and "
                "group_widths, a number for each stage"
            ) from None


@dataclass(frozen=True, eq=False)
class BodyBatch:
    """n AnyNet bodies of one block as arrays: (n, stages), and se_ratios (n,)."""

    depths: IntArray
    widths: IntArray
    bottleneck_ratios: FloatArray
    group_widths: IntArray
    se_ratios: FloatArray
    block: str = BOTTLENECK
    extras: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.depths.shape
        assert len(shape) == 2
        assert self.widths.shape == self.bottleneck_ratios.shape == self.group_widths.shape == shape
        assert self.se_ratios.shape == shape[:1]
        assert all(values.shape == shape for values in self.extras.values())

    def __len__(self) -> int:
        return len(self.depths)

    @property
    def num_stages(self) -> int:
        """The number of stages of every model."""
        return int(self.depths.shape[1])

    @staticmethod
    def from_bodies(bodies: Sequence[Body]) -> "BodyBatch":
        """Stack single models of one block, which must have equal numbers of stages."""
        first = bodies[0] if bodies else None
        names = [name for name, _ in first.extras] if first else []
        assert all(body.block == (first and first.block) for body in bodies)
        extras = [dict(body.extras) for body in bodies]
        return BodyBatch(
            depths=np.array([a.depths for a in bodies], dtype=np.int64),
            widths=np.array([a.widths for a in bodies], dtype=np.int64),
            bottleneck_ratios=np.array([a.bottleneck_ratios for a in bodies], dtype=np.float64),
            group_widths=np.array([a.group_widths for a in bodies], dtype=np.int64),
            se_ratios=np.array([a.se_ratio for a in bodies], dtype=np.float64),
            block=first.block if first else BOTTLENECK,
            extras={name: np.array([e[name] for e in extras], np.float64) for name in names},
        )

    @staticmethod
    def concatenate(parts: Sequence["BodyBatch"]) -> "BodyBatch":
        """Join populations of one block with equal numbers of stages, in order."""
        block, names = parts[0].block, list(parts[0].extras)
        assert all(part.block == block and list(part.extras) == names for part in parts)
        arrays = [np.concatenate(alike) for alike in zip(*map(_arrays, parts), strict=True)]
        extras = {name: np.concatenate([part.extras[name] for part in parts]) for name in names}
        return _stages(arrays, block, extras)

    def take(self, rows: NDArray[Any] | slice) -> "BodyBatch":
        """Select models by index, mask or slice."""
        extras = {name: values[rows] for name, values in self.extras.items()}
        return _stages([array[rows] for array in _arrays(self)], self.block, extras)

    def read_only(self) -> "BodyBatch":
        """Return the same bodies with arrays that can't be written into."""
        extras = {name: _locked(values) for name, values in self.extras.items()}
        return _stages([_locked(array) for array in _arrays(self)], self.block, extras)

    def body(self, i: int) -> Body:
        """Return model i as plain values."""
        return Body(
            depths=tuple(self.depths[i].tolist()),
            widths=tuple(self.widths[i].tolist()),
            bottleneck_ratios=tuple(self.bottleneck_ratios[i].tolist()),
            group_widths=tuple(self.group_widths[i].tolist()),
            se_ratio=float(self.se_ratios[i]),
            block=self.block,
            extras=tuple((name, tuple(v[i].tolist())) for name, v in self.extras.items()),
        )

    def block_widths(self, i: int) -> IntArray:
        """Width of each block of model i, (depth,)."""
        return np.repeat(self.widths[i], self.depths[i])


def group_compatible(
    widths: IntArray, bottleneck_ratios: FloatArray, group_widths: IntArray
) -> tuple[IntArray, IntArray]:
    """Adjust widths and group widths until groups divide (DDS appendix D).

    With bottleneck width v = w / b: g becomes min(g, v), then v the nearest multiple of g, at
    least g, then w = v * b. For b < 1 the unit is the least common multiple of g and 1 / b, so
    that w stays whole. Ties round to even, as in pycls.

    Args:
        widths: Block widths, any shape.
        bottleneck_ratios: b, of the same shape.
        group_widths: Wished group widths, of the same shape.

    Returns:
        The adjusted widths and group widths.
    """
    inner = np.maximum(1, (widths / bottleneck_ratios).astype(np.int64))
    groups = np.minimum(group_widths, inner)
    unit = groups
    if bottleneck_ratios.min(initial=1.0) < 1:
        expansion = np.maximum(1, np.rint(1 / bottleneck_ratios)).astype(np.int64)
        unit = np.lcm(groups, expansion)
    inner = np.maximum(1, np.rint(inner / unit)).astype(np.int64) * unit
    return np.rint(inner * bottleneck_ratios).astype(np.int64), groups


def _arrays(bodies: BodyBatch) -> tuple[NDArray[Any], ...]:
    return (
        bodies.depths,
        bodies.widths,
        bodies.bottleneck_ratios,
        bodies.group_widths,
        bodies.se_ratios,
    )


def _stages(arrays: list[NDArray[Any]], block: str, extras: Mapping[str, FloatArray]) -> BodyBatch:
    depths, widths, bottleneck_ratios, group_widths, se_ratios = arrays
    return BodyBatch(depths, widths, bottleneck_ratios, group_widths, se_ratios, block, extras)


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)
