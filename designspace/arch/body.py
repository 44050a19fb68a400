"""AnyNet bodies: depth, width, bottleneck ratio and group width of each stage.

A body of another block than RegNet's (`arch.blocks`) has that block's axes as extras.

`BodyBatch` holds n bodies as arrays, one row a model; `Body` is one of them as plain values. Every
rule is written once, for arrays: a single model is a population of one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, Field

from designspace.arch.activation import ACTIVATIONS, Activation
from designspace.arch.array_batch import ArrayBatch
from designspace.arch.blocks import BOTTLENECK
from designspace.errors import InputError
from designspace.io.validation import check_fields, from_plain

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
_Value = TypeVar("_Value", int, float)

BottleneckRatio = Annotated[float, Field(ge=1 / 64, le=64, strict=True)]
_Count = Annotated[int, Field(ge=1, le=10**6, strict=True)]
_Extras = Annotated[
    tuple[tuple[str, tuple[float, ...]], ...],
    BeforeValidator(lambda value: tuple(value.items()) if isinstance(value, dict) else value),
]


def check_expansion(b: float) -> float:
    """Return the ratio; raise ValueError if it is below 1 and not 1/n (pycls has the same rule).

    Otherwise no width is a whole multiple of the bottleneck width.
    """
    if b < 1 and abs(1 / b - round(1 / b)) > 1e-6 / b:
        raise ValueError("must be 1/n where it is below 1, such as 0.5 or 0.25")
    return b


@dataclass(frozen=True)
class Body:
    """One AnyNet body, with group-compatible widths.

    Attributes:
        depths: Blocks of each stage.
        widths: Output channels of each stage's blocks.
        bottleneck_ratios: Block width over the width of its 3x3 convolution.
        group_widths: Channels a group in each stage's 3x3 convolution.
        se_ratio: Squeeze width over the block's input width; 0 for X blocks, which have none. A
            block whose squeeze width rounds to 0 has none either.
        block: Name of the block that the stages are made of.
        extras: Another block's axes, by name, each with a value for every stage.
        activation: The nonlinearity of all layers; files state it only where it is not `relu`.
    """

    depths: Annotated[tuple[Annotated[_Count, Field(le=1000)], ...], Field(min_length=1)]
    widths: tuple[_Count, ...]
    bottleneck_ratios: tuple[BottleneckRatio, ...]
    group_widths: tuple[Annotated[int, Field(ge=1, strict=True)], ...]
    se_ratio: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.0
    block: str = BOTTLENECK
    extras: _Extras = ()
    activation: Activation = "relu"

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        check_fields(self)
        lists = [("widths", self.widths), ("bottleneck_ratios", self.bottleneck_ratios)]
        for name, values in (*lists, ("group_widths", self.group_widths), *self.extras):
            if len(values) != len(self.depths):
                raise InputError(
                    f"{name} has {len(values)} values for {len(self.depths)} depths; give one "
                    "value a stage"
                )
        for i, (w, b, g) in enumerate(
            zip(self.widths, self.bottleneck_ratios, self.group_widths, strict=True)
        ):
            inner = round(w / b)
            if not inner or inner % g:
                raise InputError(
                    f"stage {i + 1}: group width {g} does not divide the bottleneck width {inner} "
                    f"(width {w} / ratio {b:g})"
                )

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
        """Return plain data, as in files, which name only other blocks than RegNet's."""
        data: dict[str, Any] = {
            "depths": list(self.depths),
            "widths": list(self.widths),
            "bottleneck_ratios": [_plain(b) for b in self.bottleneck_ratios],
            "group_widths": list(self.group_widths),
            "se_ratio": _plain(self.se_ratio),
        }
        if self.activation != "relu":
            data["activation"] = self.activation
        if self.block == BOTTLENECK:
            return data
        extras = {name: [_plain(value) for value in values] for name, values in self.extras}
        return {**data, "block": self.block, "extras": extras}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Body":
        """Read what `to_dict` wrote.

        Raises:
            InputError: A key is missing or unknown, or a value breaks a rule of the class.
        """
        return from_plain(Body, data, "arch")


@dataclass(frozen=True, eq=False)
class BodyBatch(ArrayBatch):
    """n AnyNet bodies of one block.

    Bodies may differ in their number of stages. The stages that one lacks have depth 0, and repeat
    its last stage in all else.

    Attributes:
        depths, widths, bottleneck_ratios, group_widths: Arrays (n, stages).
        se_ratios: Squeeze ratio of each body, (n,).
        block: Name of the block of all bodies.
        extras: Another block's axes, by name, each (n, stages).
        activations: Index of each body's activation in `ACTIVATIONS`, (n,); None where all are
            `relu`.
    """

    depths: IntArray
    widths: IntArray
    bottleneck_ratios: FloatArray
    group_widths: IntArray
    se_ratios: FloatArray
    block: str = BOTTLENECK
    extras: Mapping[str, FloatArray] = field(default_factory=dict)
    activations: IntArray | None = None

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
        """The largest number of stages, which is that of every model unless some lack stages."""
        return int(self.depths.shape[1])

    @cached_property
    def stage_counts(self) -> IntArray:
        """The number of stages of each model, (n,)."""
        counts: IntArray = (self.depths > 0).sum(axis=1, dtype=np.int64)
        return counts

    @property
    def repeated_depths(self) -> IntArray:
        """Depths in which missing stages repeat the last stage, as in the other arrays."""
        last = np.minimum(np.arange(self.num_stages), self.stage_counts[:, None] - 1)
        return np.take_along_axis(self.depths, last, axis=1)

    def by_stages(self) -> Iterator[tuple[NDArray[np.int64], "BodyBatch"]]:
        """Yield the bodies of each number of stages, without missing ones, with their rows."""
        for count in np.unique(self.stage_counts).tolist():
            rows = np.flatnonzero(self.stage_counts == count)
            yield rows, self.take(rows).first_stages(count)

    def first_stages(self, count: int) -> "BodyBatch":
        """Return the first `count` stages of all bodies."""
        kept = slice(count)
        return replace(
            self,
            depths=self.depths[:, kept],
            widths=self.widths[:, kept],
            bottleneck_ratios=self.bottleneck_ratios[:, kept],
            group_widths=self.group_widths[:, kept],
            extras={name: values[:, kept] for name, values in self.extras.items()},
        )

    @staticmethod
    def from_bodies(bodies: Sequence[Body]) -> "BodyBatch":
        """Stack single bodies of one block."""
        block = bodies[0].block if bodies else BOTTLENECK
        assert all(body.block == block for body in bodies)
        extras = [dict(body.extras) for body in bodies]
        stages = max((body.num_stages for body in bodies), default=0)

        def repeated(values: tuple[_Value, ...]) -> tuple[_Value, ...]:
            return values + values[-1:] * (stages - len(values))

        codes = np.array([ACTIVATIONS.index(a.activation) for a in bodies], dtype=np.int64)
        return BodyBatch(
            depths=np.array(
                [a.depths + (0,) * (stages - a.num_stages) for a in bodies], dtype=np.int64
            ),
            widths=np.array([repeated(a.widths) for a in bodies], dtype=np.int64),
            bottleneck_ratios=np.array(
                [repeated(a.bottleneck_ratios) for a in bodies], dtype=np.float64
            ),
            group_widths=np.array([repeated(a.group_widths) for a in bodies], dtype=np.int64),
            se_ratios=np.array([a.se_ratio for a in bodies], dtype=np.float64),
            block=block,
            extras={
                name: np.array([repeated(e[name]) for e in extras], np.float64)
                for name in (extras[0] if extras else ())
            },
            activations=codes if codes.any() else None,
        )

    def body(self, i: int) -> Body:
        """Return model i as plain values."""
        stages = int(self.stage_counts[i])
        return Body(
            depths=tuple(self.depths[i, :stages].tolist()),
            widths=tuple(self.widths[i, :stages].tolist()),
            bottleneck_ratios=tuple(self.bottleneck_ratios[i, :stages].tolist()),
            group_widths=tuple(self.group_widths[i, :stages].tolist()),
            se_ratio=float(self.se_ratios[i]),
            block=self.block,
            extras=tuple((name, tuple(v[i, :stages].tolist())) for name, v in self.extras.items()),
            activation="relu" if self.activations is None else ACTIVATIONS[self.activations[i]],
        )

    @property
    def inner_widths(self) -> IntArray:
        """Width of each stage's 3x3 convolutions, (n, stages)."""
        return np.rint(self.widths / self.bottleneck_ratios).astype(np.int64)

    def block_widths(self, i: int) -> IntArray:
        """Width of each block of model i, (depth,)."""
        return np.repeat(self.widths[i], self.depths[i])


def group_compatible(
    widths: IntArray, bottleneck_ratios: FloatArray, group_widths: IntArray
) -> tuple[IntArray, IntArray]:
    """Adjust widths and group widths until groups divide (DDS appendix D).

    With bottleneck width v = w / b: g becomes min(g, v), then v the nearest multiple of g, at
    least g, then w = v * b. For b = 1/n the unit is the least common multiple of g and n, so that
    w stays whole. Ties round to even, as in pycls.

    Args:
        widths: Block widths, any shape.
        bottleneck_ratios: b, of the same shape.
        group_widths: Requested group widths, of the same shape.

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


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)
