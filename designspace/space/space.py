"""A design space: which networks may be chosen, and how likely each is."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from designspace.arch import (
    BOTTLENECK,
    BodyBatch,
    Cost,
    RegNetParamsBatch,
    Skeleton,
    find_block,
    group_compatible,
)
from designspace.arch.body import FloatArray, IntArray
from designspace.space.axis import Axis, monotone_count

Family = Literal["anynet", "regnet"]
Direction = Literal["increasing", "decreasing", "strictly_increasing", "strictly_decreasing"]
ANYNET_AXES = ("d", "w", "b", "g")
REGNET_AXES = ("d", "w_0", "w_a", "w_m", "b", "g")


def axes_of(family: Family, block: str = BOTTLENECK) -> tuple[str, ...]:
    """Return the axes that a family has, in the order that uniform numbers are dealt in.

    Raises:
        InputError: No installed package brings the block.
    """
    if family == "regnet":
        return REGNET_AXES
    if block == BOTTLENECK:
        return ANYNET_AXES
    return ("d", "w", *(axis.name for axis in find_block(block).axes))


@dataclass(frozen=True)
class Cap:
    """An upper bound (not reached) on params or acts that grows with flops.

    `constant + factor * F ** power`, with F in billions of multiply-adds (DDS §4, fig. 12).
    """

    measure: Literal["params", "acts"]
    constant: float
    factor: float
    power: float

    def holds(self, cost: Cost) -> NDArray[np.bool_]:
        """Return which models lie below the cap, (n,)."""
        bound = self.constant + self.factor * (cost.flops / 1e9) ** self.power
        return np.asarray(getattr(cost, self.measure) < bound)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Models drawn from a space, before any budget.

    Attributes:
        stages: The bodies of those that have as many stages as the frame.
        regnets: Their RegNet parameters, or None for AnyNets.
        fits: Which of the uniform rows gave a body, (rows,).
    """

    bodies: BodyBatch
    regnets: RegNetParamsBatch | None
    fits: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Space:
    """A design space.

    Attributes:
        name: The space's name, with its setting behind an @.
        parent: The space that it was narrowed from, or None.
        reason: Why it was narrowed, or what it is for.
        family: `anynet` (d, w, b, g of each stage) or `regnet` (d, w_0, w_a, w_m, b, g).
        frame: Input, stem, strides and classes of all its networks.
        axes: The distribution of each parameter.
        share: AnyNet axes with one value for all stages.
        monotone: AnyNet axes that never decrease (`increasing`) or never increase (`decreasing`)
            from stage to stage, as drawn; ties are allowed unless `strictly_` stands before.
        distinct: How many different values the stages of a finished body must have, for each axis.
        total_depth: Closed range of the number of blocks in all stages, or None.
        tie: RegNet axes that take another axis' value, such as w_a = w_0.
        caps: Upper bounds on params and acts as functions of flops.
        se_ratio: Squeeze-and-excitation ratio of all networks; 0 for X blocks.
        block: What the stages are made of; an AnyNet of another block than RegNet's has that
            block's axes in place of b and g.
        source: The file's plain data as resolved, which run folders keep.
    """

    name: str
    parent: str | None
    reason: str
    family: Family
    skeleton: Skeleton
    axes: Mapping[str, Axis]
    share: tuple[str, ...]
    monotone: Mapping[str, Direction]
    distinct: Mapping[str, int]
    total_depth: tuple[int, int] | None
    tie: Mapping[str, str]
    caps: tuple[Cap, ...]
    se_ratio: float
    block: str
    source: Mapping[str, Any]

    @cached_property
    def hash(self) -> str:
        """Hash of all that decides what is drawn: 16 hexadecimal digits; names don't count."""
        content: dict[str, Any] = {
            "family": self.family,
            "input": self.skeleton.to_dict(),
            "axes": {
                name: [axis.values.tolist(), axis.probabilities.tolist()]
                for name, axis in self.axes.items()
            },
            "share": sorted(self.share),
            "monotone": dict(self.monotone),
            "tie": dict(self.tie),
            "caps": [[c.measure, c.constant, c.factor, c.power] for c in self.caps],
            "se_ratio": self.se_ratio,
        }
        # Keys that came later count where they are set, so that older hashes stay.
        if self.block != BOTTLENECK:
            content["block"] = self.block
        if self.distinct:
            content["distinct"] = dict(self.distinct)
        if self.total_depth:
            content["total_depth"] = list(self.total_depth)
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def dimensions(self) -> int:
        """Number of free parameters, as DDS counts them: an axis counts once for each stage."""
        return sum(self._draws(name) for name, axis in self.axes.items() if len(axis) > 1)

    @property
    def paper_size(self) -> float:
        """Size as DDS counts: a monotone axis of s stages divides by s!, which ignores ties."""
        size = 1.0
        for name, axis in self.axes.items():
            draws = self._draws(name)
            size *= float(axis.counted_as or len(axis)) ** draws
            if name in self.monotone:
                size /= math.factorial(draws)
        return size

    @property
    def exact_size(self) -> int:
        """Exact number of settings of the axes, before budgets, caps and the number of stages."""
        size = 1
        for name, axis in self.axes.items():
            draws = self._draws(name)
            if name in self.monotone:
                strict = self.monotone[name].startswith("strictly")
                size *= monotone_count(len(axis), draws, strict)
            else:
                size *= len(axis) ** draws
        return size

    def body_rules(self, bodies: BodyBatch) -> dict[str, NDArray[np.bool_]]:
        """Which finished bodies keep each rule that is not built into the drawing, (n,) each."""
        values = {
            "d": bodies.depths,
            "w": bodies.widths,
            "b": bodies.bottleneck_ratios,
            "g": bodies.group_widths,
        }
        rules = {
            f"{count} distinct {name}": _distinct_values(values[name]) == count
            for name, count in self.distinct.items()
        }
        if self.total_depth:
            low, high = self.total_depth
            depth = bodies.depths.sum(axis=1)
            rules["total depth"] = (depth >= low) & (depth <= high)
        return rules

    @property
    def columns(self) -> int:
        """Uniform numbers that one candidate takes."""
        return sum(self._draws(name) for name in self.axes)

    def draw(self, uniforms: FloatArray) -> Candidates:
        """Turn uniforms (rows, columns) in [0, 1) into models; row i decides model i alone."""
        picked: dict[str, FloatArray] = {}
        column = 0
        for name, axis in self.axes.items():
            draws = self._draws(name)
            part = uniforms[:, column : column + draws]
            column += draws
            if name in self.monotone:
                direction = self.monotone[name]
                picked[name] = axis.draw_monotone(
                    part, direction.endswith("decreasing"), direction.startswith("strictly")
                )
            else:
                picked[name] = axis.draw(part)
        for name, other in self.tie.items():
            picked[name] = picked[other]
        return self._regnets(picked) if self.family == "regnet" else self._anynets(picked)

    def _anynets(self, picked: dict[str, FloatArray]) -> Candidates:
        rows, bodies = len(picked["d"]), self.skeleton.num_stages
        values = {name: np.broadcast_to(v, (rows, bodies)) for name, v in picked.items()}
        depths, widths = (values.pop(name).astype(np.int64) for name in ("d", "w"))
        if self.block == BOTTLENECK:
            ratios, groups = values.pop("b"), values.pop("g").astype(np.int64)
            widths, groups = group_compatible(widths, ratios, groups)
        else:
            ratios, groups = np.ones((rows, bodies)), np.ones((rows, bodies), np.int64)
        se = np.full(rows, self.se_ratio)
        return Candidates(
            bodies=BodyBatch(depths, widths, ratios, groups, se, self.block, values),
            regnets=None,
            fits=np.ones(rows, dtype=bool),
        )

    def _regnets(self, picked: dict[str, FloatArray]) -> Candidates:
        flat = {name: values[:, 0] for name, values in picked.items()}
        regnets = RegNetParamsBatch(
            d=flat["d"].astype(np.int64),
            w_0=flat["w_0"].astype(np.int64),
            w_a=flat["w_a"],
            w_m=flat["w_m"],
            b=flat["b"],
            g=flat["g"].astype(np.int64),
        )
        bodies, fits = regnets.bodies(
            self.skeleton.num_stages, np.full(len(regnets), self.se_ratio)
        )
        return Candidates(bodies=bodies, regnets=regnets.take(fits), fits=fits)

    def _draws(self, name: str) -> int:
        """How many values of an axis one model takes."""
        if name in self.tie:
            return 0
        return 1 if self.family == "regnet" or name in self.share else self.skeleton.num_stages


def _distinct_values(values: NDArray[Any]) -> IntArray:
    """Count the distinct values of each row of (n, stages), (n,)."""
    ordered = np.sort(values, axis=1)
    count: IntArray = 1 + (np.diff(ordered, axis=1) != 0).sum(axis=1, dtype=np.int64)
    return count
