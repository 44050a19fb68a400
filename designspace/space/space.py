"""A design space: which networks may be chosen, and how likely each is."""

import hashlib
import html
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from designspace.arch import (
    ACTIVATIONS,
    BOTTLENECK,
    REGNET_AXES,
    BodyBatch,
    Cost,
    RegNetParamsBatch,
    Skeleton,
    body_axes,
    group_compatible,
)
from designspace.arch.activation import Activation
from designspace.arch.body import FloatArray
from designspace.errors import InputError, check_number, counted, nearest
from designspace.io.validation import validate
from designspace.space.axis import Axis, choice, monotone_count
from designspace.space.body_rules import BodyRule, body_rules
from designspace.space.inheritance import left_out, merge
from designspace.space.schema import (
    ACTIVATION,
    STAGES,
    Direction,
    Family,
    SpaceFile,
    axes_of,
    restricted_choice,
)


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
        bodies: The bodies with as many stages as the skeleton.
        regnets: Their RegNet parameters, or None for AnyNets.
        fits: Which rows of uniform numbers gave a body, (rows,).
    """

    bodies: BodyBatch
    regnets: RegNetParamsBatch | None
    fits: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class Space:
    """A design space.

    Example:
        >>> import designspace as ds
        >>> space = ds.load_space("RegNetX")
        >>> space.dimensions, space.parent
        (6, 'AnyNetXE')

    Attributes:
        name: The space's name, with its setting behind an @.
        parent: The space that it was narrowed from, or None.
        reason: Why it was narrowed, or what it is for.
        family: `anynet` (d, w, b, g of each stage) or `regnet` (d, w_0, w_a, w_m, b, g).
        skeleton: Input, stem, strides and classes of all its networks.
        axes: The distribution of each parameter, or an AnyNet's fixed value of each stage;
            `activation`, if there are several, has their indices in `ACTIVATIONS`, and `stages`, if
            an AnyNet draws it, the number of stages.
        share: AnyNet axes with one value for all stages.
        monotone: AnyNet axes that never decrease (`increasing`) or never increase (`decreasing`)
            from stage to stage, as drawn: rounding widths to group widths may change that. Ties
            are allowed; `strictly_increasing` and `strictly_decreasing` axes have none in finished
            bodies either.
        distinct: Number of distinct values over the stages of a finished body, by axis.
        total_depth: Closed range of the number of blocks in all stages, or None.
        skipped_steps: Whether a RegNet's widths may skip a power of w_m, or two powers round to one
            width. pycls' sweeps refuse both.
        tie: RegNet axes that take another axis' value, such as w_a = w_0.
        caps: Upper bounds on params and acts as functions of flops.
        se_ratio: Squeeze-and-excitation ratio of all networks; 0 for X blocks.
        recipe: Settings of the training that are drawn for each model, by name.
        block: What the stages are made of; another block than RegNet's has axes of its own, and
            may lack b and g.
        activations: The activations that its networks may have.
        stage_counts: The numbers of stages that its networks may have, ascending. RegNets have the
            number that follows from their widths; others are refused.
        source: The complete plain data, as in run folders.
        notes: What a reader may not expect: values of an axis that the parent lacks, which make the
            space wider there.
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
    skipped_steps: bool
    tie: Mapping[str, str]
    caps: tuple[Cap, ...]
    se_ratio: float
    recipe: Mapping[str, Any]
    block: str
    activations: tuple[Activation, ...]
    stage_counts: tuple[int, ...]
    source: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @cached_property
    def hash(self) -> str:
        """Hash of everything that decides what is drawn: 16 hexadecimal digits; not of names."""
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
        # Keys of later versions count where they are set, so that older hashes stay valid.
        if self.block != BOTTLENECK:
            content["block"] = self.block
        if self.activations != ("relu",):
            content["activations"] = list(self.activations)
        if self.distinct:
            content["distinct"] = dict(self.distinct)
        if self.total_depth:
            content["total_depth"] = list(self.total_depth)
        if not self.skipped_steps:
            content["skipped_steps"] = False
        if self.stage_counts != (self.skeleton.num_stages,):
            content["stages"] = list(self.stage_counts)
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def dimensions(self) -> int:
        """Number of free parameters, as DDS counts them: an axis counts once for each stage."""
        return sum(self._draws(name) for name, axis in self.axes.items() if len(axis) > 1)

    @property
    def paper_size(self) -> float:
        """Size as DDS counts: a monotone axis of s stages divides by s!, which ignores ties."""
        return sum(map(self._paper_size, self._sized_stages))

    @property
    def exact_size(self) -> int:
        """Exact number of settings of the axes, before budgets, caps and a RegNet's stages.

        `size_is_bound` says where rules of finished bodies leave fewer.
        """
        return sum(map(self._exact_size, self._sized_stages))

    @property
    def size_is_bound(self) -> bool:
        """Whether rules of finished bodies, such as `distinct`, make the sizes upper bounds."""
        return bool(self.body_rules)

    @property
    def _sized_stages(self) -> tuple[int, ...]:
        return self.stage_counts if STAGES in self.axes else (self.skeleton.num_stages,)

    def _paper_size(self, stages: int) -> float:
        size = 1.0
        for name, axis in self._body_axes:
            draws = min(self._draws(name), stages)
            size *= float(axis.counted_as or len(axis)) ** draws
            if name in self.monotone:
                size /= math.factorial(draws)
        return size

    def _exact_size(self, stages: int) -> int:
        size = 1
        for name, axis in self._body_axes:
            draws = min(self._draws(name), stages)
            if name in self.monotone:
                strict = self.monotone[name].startswith("strictly")
                size *= monotone_count(len(axis), draws, strict)
            else:
                size *= len(axis) ** draws
        return size

    @property
    def _body_axes(self) -> Iterator[tuple[str, Axis]]:
        return ((name, axis) for name, axis in self.axes.items() if name != STAGES)

    @property
    def body_rules(self) -> dict[str, BodyRule]:
        """The rules of finished bodies that drawing does not build in, by name."""
        return body_rules(self.monotone, self.distinct, self.total_depth, self.skipped_steps)

    @property
    def columns(self) -> int:
        """Uniform numbers per candidate."""
        return sum(self._draws(name) for name in self.axes)

    def draw(self, uniforms: FloatArray) -> Candidates:
        """Turn uniforms (rows, columns) in [0, 1) into models; row i decides model i alone."""
        values: dict[str, FloatArray] = {}
        # The number of stages comes first here, although its column is the last one.
        counts = self.axes[STAGES].draw(uniforms[:, -1]) if STAGES in self.axes else None
        column = 0
        for name, axis in self._body_axes:
            draws = self._draws(name)
            part = uniforms[:, column : column + draws]
            column += draws
            if axis.fixed:
                values[name] = axis.values[None]
            elif name not in self.monotone:
                values[name] = axis.draw(part)
            elif counts is None:
                values[name] = self._draw_monotone(name, part)
            else:
                values[name] = np.zeros_like(part)
                for count in self.stage_counts:
                    rows = counts == count
                    values[name][rows, :count] = self._draw_monotone(name, part[rows, :count])
        for name, other in self.tie.items():
            values[name] = values[other]
        codes = values.pop(ACTIVATION, None)
        if codes is None and self.activations != ("relu",):
            codes = np.full((len(uniforms), 1), ACTIVATIONS.index(self.activations[0]))
        if self.family == "regnet":
            drawn = self._regnets(values)
        else:
            drawn = self._anynets(len(uniforms), values, counts)
        if codes is None:
            return drawn
        chosen = codes[drawn.fits, 0].astype(np.int64)
        return replace(drawn, bodies=replace(drawn.bodies, activations=chosen))

    def _draw_monotone(self, name: str, uniforms: FloatArray) -> FloatArray:
        decreasing = self.monotone[name].endswith("decreasing")
        strict = self.monotone[name].startswith("strictly")
        return self.axes[name].draw_monotone(uniforms, decreasing, strict)

    def _anynets(
        self, rows: int, drawn: dict[str, FloatArray], counts: FloatArray | None
    ) -> Candidates:
        shape = rows, self.skeleton.num_stages
        values = {name: np.broadcast_to(v, shape) for name, v in drawn.items()}
        if counts is not None:
            stage = np.arange(shape[1])
            last = np.minimum(stage, counts[:, None] - 1).astype(np.int64)
            values = {name: np.take_along_axis(v, last, axis=1) for name, v in values.items()}
            values["d"] = np.where(stage < counts[:, None], values["d"], 0)
        depths, widths = (values.pop(name).astype(np.int64) for name in ("d", "w"))
        ratios = values.pop("b", np.ones(shape))
        groups = values.pop("g", np.ones(shape)).astype(np.int64)
        if body_axes(self.block):
            widths, groups = group_compatible(widths, ratios, groups)
        se = np.full(shape[0], self.se_ratio)
        return Candidates(
            bodies=BodyBatch(depths, widths, ratios, groups, se, self.block, values),
            regnets=None,
            fits=np.ones(shape[0], dtype=bool),
        )

    def _regnets(self, drawn: dict[str, FloatArray]) -> Candidates:
        n, stages = len(drawn["d"]), max(self.stage_counts)
        columns = {name: drawn[name][:, 0] for name in REGNET_AXES if name in drawn}
        ones = {name: np.ones(n) for name in ("b", "g")}
        regnets = RegNetParamsBatch.from_columns({**ones, **columns})
        se = np.full(n, self.se_ratio)
        bodies, fits = regnets.bodies(self.stage_counts, se)
        if self.block != BOTTLENECK:
            extras = {
                name: np.repeat(values[fits], stages, axis=1)
                for name, values in drawn.items()
                if name not in REGNET_AXES
            }
            bodies = replace(bodies, block=self.block, extras=extras)
        return Candidates(bodies=bodies, regnets=regnets.take(fits), fits=fits)

    def _draws(self, name: str) -> int:
        """Number of values of an axis in one model."""
        if name in self.tie or self.axes[name].fixed:
            return 0
        if self.family == "regnet" or name in self.share or name in (ACTIVATION, STAGES):
            return 1
        return self.skeleton.num_stages

    def narrow(self, *, name: str, reason: str, **changes: Any) -> "Space":
        """Return a new space whose parent is this one.

        Values that this space lacks are allowed; `notes` of the new one names them.

        Args:
            name: Its name.
            reason: Why it is narrower.
            **changes: Keys of a space file (`share=["b"]`, `monotone={"w": "increasing"}`, `caps`,
                `se_ratio`, ...), which replace or extend this space's, and axes: a list is a choice
                (`b=[1, 2]`), a pair a closed range of this space's values (`d=(4, 28)`), a number
                the only value; a map is the axis as in a file.

        Raises:
            InputError: A key is unknown, or the new space breaks a rule.
        """
        keys = [key for key in SpaceFile.model_fields if key not in _FIXED]
        stated = changes.pop("axes", {})
        if not isinstance(stated, Mapping):
            raise InputError(f"axes is {stated!r}; give a map of axes", "axes")
        axes = dict(stated)
        for key in [key for key in changes if key not in keys]:
            if key not in self.axes:
                hint = nearest(key, [*self.axes, *keys])
                raise InputError(f"{key} is not a key of this space; {hint}", key)
            axes[key] = self._axis_data(key, changes.pop(key))
        source = {key: value for key, value in self.source.items() if key != "evidence"}
        changes |= {"name": name, "reason": reason, "parent": self.name, "axes": axes}
        return parse_space(merge(source, changes), name).compared_to(self, changes.keys())

    def compared_to(self, parent: "Space", stated: Collection[str] = ()) -> "Space":
        """Return the space with a note on each axis that has values which its parent lacks.

        Of a space with another family or block, the note names what it does not inherit, but for
        the keys that it states itself.
        """
        if (self.family, self.block) != (parent.family, parent.block):
            keys = left_out(parent.source, self.source, stated)
            kind = "block" if self.family == parent.family else "family"
            note = f"its {kind} differs from that of its parent {parent.name}, so that it does not "
            it = "it" if len(keys) == 1 else "them"
            note += f"inherit {', '.join(keys)}; state {it} to keep {it}"
            return replace(self, notes=(note,)) if keys else self
        notes = []
        for name, axis in self.axes.items():
            if name in parent.axes and name != ACTIVATION:
                extra = axis.values[~np.isin(axis.values, parent.axes[name].values)]
                shown = ", ".join(f"{value:g}" for value in extra[:5])
                more = f" and {len(extra) - 5} more" if len(extra) > 5 else ""
                if len(extra):
                    notes.append(f"{name} has {shown}{more}, which its parent {parent.name} lacks")
        return replace(self, notes=tuple(notes))

    def _axis_data(self, name: str, values: Any) -> Any:
        if isinstance(values, Mapping):
            return dict(values)
        if not isinstance(values, tuple):
            listed = values if isinstance(values, list) else [values]
            return {"distribution": "choice", "values": listed}
        if len(values) != 2:
            raise InputError(
                f"{name} is {values}; a range has two ends, and a list is a choice", name
            )
        low, high = (check_number(value, name) for value in values)
        if self.axes[name].fixed:
            raise InputError(f"{name} is {values}; {self.name} has it fixed: give an axis", name)
        kept = [v for v in self.axes[name].values.tolist() if low <= v <= high]
        if not kept:
            raise InputError(f"{name} is {values}; {self.name} has no value in that range", name)
        data = {k: v for k, v in self.source["axes"][name].items() if k != "counted_as"}
        if "values" in data:
            return restricted_choice(data, kept)
        return data | {"low": kept[0], "high": kept[-1]}

    def __repr__(self) -> str:
        axes = ", ".join(f"{name} {self._axis_values(name)}" for name in self.axes)
        return (
            f"Space({self.name!r}, {self.family}, {counted(self.dimensions, 'dimension')}, "
            f"{self.paper_size:.2g} networks at {self.skeleton.resolution} pixels: {axes})"
        )

    def _repr_html_(self) -> str:
        """Render name, reason, sizes and axes as HTML, for notebooks."""
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{self._axis_values(name)}</td>"
            f"<td>{len(axis)}</td><td>{html.escape(self._axis_rule(name))}</td></tr>"
            for name, axis in self.axes.items()
        )
        return (
            f"<p><b>{html.escape(self.name)}</b>: {html.escape(self.reason)}</p>"
            f"<p>{counted(self.dimensions, 'dimension')}, {self.paper_size:.3g} "
            f"networks as DDS counts them "
            f"({'at most' if self.size_is_bound else 'exactly'} {float(self.exact_size):.3g})</p>"
            f"{''.join(f'<p>note: {html.escape(note)}</p>' for note in self.notes)}"
            "<table><tr><th>axis</th><th>range</th><th>values</th><th>stages</th></tr>"
            f"{rows}</table>"
        )

    def _axis_values(self, name: str) -> str:
        return ", ".join(self.activations) if name == ACTIVATION else str(self.axes[name])

    def _axis_rule(self, name: str) -> str:
        if name in self.tie:
            return f"equals {self.tie[name]}"
        if self.axes[name].fixed:
            return "fixed"
        if self._draws(name) == 1:
            return "one value"
        return self.monotone.get(name, "free").replace("_", " ")


_PARAMETERS = {*axes_of("anynet"), *axes_of("regnet")}
# Keys that `narrow` sets itself or that belong to files.
_FIXED = ("name", "reason", "parent", "family", "evidence", "sample", "fingerprint")


def parse_space(data: Mapping[str, Any], path: Path | str) -> Space:
    """Make a space of complete plain data.

    Args:
        data: Every key of a space file.
        path: What messages call it.

    Raises:
        InputError: A key is unknown or missing, or a value breaks a rule.
    """
    misplaced = next((key for key in data if key in _PARAMETERS), None)
    if misplaced is not None:
        raise InputError(
            f"space: {path}: {misplaced}: parameters belong under axes, such as "
            f"axes: {{{misplaced}: {{distribution: choice, values: [1, 2]}}}}"
        )
    checked = validate(SpaceFile, dict(data), path, "space")
    source = checked.model_dump(exclude={"sample", "fingerprint"})
    skeleton = checked.input.with_stages(checked.stage_counts[-1])
    source["input"] = skeleton.to_dict()
    for axis in source["axes"].values():
        if axis.get("counted_as", ...) is None:
            del axis["counted_as"]
    # Keys of later versions are written where they are set.
    for key in ("evidence", "distinct", "total_depth", "activation", "stages", "recipe"):
        if not source[key]:
            del source[key]
    if checked.block == BOTTLENECK:
        del source["block"]
    if checked.skipped_steps:
        del source["skipped_steps"]
    # The order that uniform numbers are dealt in must not depend on the file's.
    axes = {name: checked.axes[name].axis() for name in axes_of(checked.family, checked.block)}
    if len(checked.activations) > 1:
        axes[ACTIVATION] = choice([ACTIVATIONS.index(name) for name in checked.activations])
    if checked.family == "anynet" and len(checked.stage_counts) > 1:
        axes[STAGES] = choice(list(checked.stage_counts))
    return Space(
        name=checked.name,
        parent=checked.parent,
        reason=" ".join(checked.reason.split()),
        family=checked.family,
        skeleton=skeleton,
        axes=axes,
        share=tuple(dict.fromkeys(checked.share)),
        monotone=dict(checked.monotone),
        distinct=dict(checked.distinct),
        total_depth=(depth.low, depth.high) if (depth := checked.total_depth) else None,
        skipped_steps=checked.skipped_steps,
        tie={str(name): str(other) for name, other in checked.tie.items()},
        caps=tuple(
            Cap(measure, cap.constant, cap.factor, cap.power)
            for measure, cap in sorted(checked.caps.items(), reverse=True)  # params, acts
        ),
        se_ratio=checked.se_ratio,
        recipe=source.get("recipe", {}),
        block=checked.block,
        activations=checked.activations,
        stage_counts=checked.stage_counts,
        source=source,
    )
