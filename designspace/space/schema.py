"""Schemas of space files and setting files."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    model_validator,
)

from designspace.arch import (
    ACTIVATIONS,
    BOTTLENECK,
    NAME_PATTERN,
    REGNET_AXES,
    Body,
    RegNetParams,
    Skeleton,
    activations_of,
    block_axes,
    body_axes,
    find_block,
    has_squeeze,
)
from designspace.arch.activation import Activation
from designspace.arch.skeleton import (
    Channels,
    Classes,
    HeadWidth,
    Resolution,
    StemStride,
    StemWidth,
    Stride,
)
from designspace.errors import shortened
from designspace.io.validation import FilePart, check_value
from designspace.space.axis import (
    MAX_CHOICES,
    Axis,
    Weight,
    check_weights,
    choice,
    fixed,
    log_uniform,
    uniform,
)
from designspace.space.body_rules import most_distinct
from designspace.space.recipe_axis import RecipeAxes

Family = Literal["anynet", "regnet"]
Direction = Literal["increasing", "decreasing", "strictly_increasing", "strictly_decreasing"]
# An axis of every space that lists several activations: one activation for a whole network.
ACTIVATION = "activation"
# The same for several numbers of stages, which an anynet draws and a regnet's rule decides.
STAGES = "stages"
ANYNET_AXES = ("d", "w", "b", "g")
MAX_VALUES = 100_000
_Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Counted = Annotated[int, Field(ge=1, le=10**9)]
# No network has values outside, and float64 can't tell them apart on a grid.
_LEAST, _MOST = 1e-6, 1e6
_Bound = Annotated[float, Field(ge=_LEAST, le=_MOST)]
# Fields of `Body` that hold the values of RegNet's block.
_BODY_FIELDS = {"d": "depths", "w": "widths", "g": "group_widths"}


def axes_of(family: Family, block: str = BOTTLENECK) -> tuple[str, ...]:
    """Return the axes of a family, in the order that uniform numbers are dealt in.

    Raises:
        InputError: The block is neither registered nor installed.
    """
    names = REGNET_AXES if family == "regnet" else ANYNET_AXES
    present = body_axes(block)
    kept = [name for name in names if name not in ("b", "g") or name in present]
    return (*kept, *(axis.name for axis in block_axes(block)))


class RangeAxis(FilePart):
    """A range with a step."""

    distribution: Literal["log_uniform", "uniform"]
    low: _Bound
    high: _Bound
    step: _Bound
    counted_as: _Counted | None = None

    @model_validator(mode="after")
    def _check(self) -> "RangeAxis":
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} must not be above high {self.high:g}")
        if (self.high - self.low) / self.step > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} values; take a larger step")
        return self

    def axis(self) -> Axis:
        """Return the distribution."""
        distribution = log_uniform if self.distribution == "log_uniform" else uniform
        table = distribution(self.low, self.high, self.step)
        return Axis(table.values, table.probabilities, self.counted_as)

    def capped(self, high: float) -> dict[str, Any]:
        """Return the axis with a lower upper end, as plain data."""
        if high >= self.high:
            return self.model_dump(exclude_none=True)
        steps = int((high - self.low) / self.step + 1e-9)
        top = round(self.low + steps * self.step, 6)
        kept = self.model_dump(exclude={"counted_as"})
        return {**kept, "high": max(self.low, top)}


class ChoiceAxis(FilePart):
    """A list of values, equally likely or in proportion to their weights."""

    distribution: Literal["choice"]
    values: list[_Bound] = Field(min_length=1, max_length=MAX_CHOICES)
    weights: list[Weight] | None = None
    counted_as: _Counted | None = None

    @model_validator(mode="after")
    def _check(self) -> "ChoiceAxis":
        if len(set(self.values)) != len(self.values):
            raise ValueError("duplicate value; give it a weight of 2: weights: [2, 1, …]")
        check_weights(self.values, self.weights)
        return self

    def axis(self) -> Axis:
        """Return the distribution."""
        table = choice(self.values, self.weights)
        return Axis(table.values, table.probabilities, self.counted_as)

    def capped(self, high: float) -> dict[str, Any]:
        """Return the axis with a lower upper end, as plain data; it keeps its smallest value."""
        limit = max(high, min(self.values))
        return restricted_choice(self.model_dump(), [v for v in self.values if v <= limit])


class FixedAxis(FilePart):
    """The value of each stage; nothing is drawn."""

    distribution: Literal["fixed"]
    values: list[_Bound] = Field(min_length=1, max_length=16)

    def axis(self) -> Axis:
        """Return the values."""
        return fixed(self.values)

    def capped(self, high: float) -> dict[str, Any]:
        """Return the axis with a lower upper end, as plain data."""
        return {"distribution": "fixed", "values": [min(value, high) for value in self.values]}


def restricted_choice(axis: Mapping[str, Any], values: Sequence[float]) -> dict[str, Any]:
    """Return the data of a choice with some of its values, with their weights if it has any."""
    data: dict[str, Any] = {"distribution": "choice", "values": [*values]}
    if axis.get("weights"):
        by_value = dict(zip(axis["values"], axis["weights"], strict=True))
        data["weights"] = [by_value[value] for value in values]
    return data


AxisFile = Annotated[RangeAxis | ChoiceAxis | FixedAxis, Field(discriminator="distribution")]


class CapFile(FilePart):
    """constant + factor * F ** power, F in billions of multiply-adds."""

    constant: _Number = 0.0
    factor: _Number = 0.0
    power: float = Field(default=1.0, ge=0, le=4)


class DepthFile(FilePart):
    """A closed range of the number of blocks in all stages together."""

    low: int = Field(default=1, ge=1, le=16_000)
    high: int = Field(default=16_000, ge=1, le=16_000)

    @model_validator(mode="after")
    def _check(self) -> "DepthFile":
        if self.low > self.high:
            raise ValueError(f"low {self.low} must not be above high {self.high}")
        return self


def _empty(value: Any) -> Any:
    """Read null as an empty map or list, so that a child can remove what its parent states."""
    return {} if value is None else value


def _axis_rule(family: Family, block: str) -> str:
    of = "" if block == BOTTLENECK else f" of {block} blocks"
    names = ", ".join(axes_of(family, block))
    return f"{'an' if family == 'anynet' else 'a'} {family}{of} has exactly the axes {names}"


def _present(block: str) -> str:
    """Refuse an unknown block here, rather than wherever its axes are needed."""
    if block != BOTTLENECK:
        find_block(block)
    return block


def _axis_name(name: str, info: ValidationInfo) -> str:
    """Refuse an unknown axis beside the mistakes in others' values."""
    family, block = info.data.get("family"), info.data.get("block")
    if family is not None and block is not None and name not in axes_of(family, block):
        raise ValueError(f"unknown axis; {_axis_rule(family, block)}")
    return name


def _total(values: list[float], stages: int, distinct: int) -> float:
    """Return the sum of the first values over stages, so many of them different."""
    return values[0] * (stages - distinct) + sum(values[:distinct])


class SpaceFile(FilePart):
    """A complete space: every key is in it, or comes from its parent."""

    name: _Name
    parent: _Name | None = None
    reason: str = Field(min_length=1)
    evidence: list[str] = Field(default_factory=list)
    family: Family
    block: Annotated[_Name, AfterValidator(_present)] = BOTTLENECK
    input: Skeleton
    axes: dict[Annotated[str, AfterValidator(_axis_name)], AxisFile]
    share: Annotated[list[str], BeforeValidator(lambda value: value or [])] = Field(
        default_factory=list
    )
    monotone: Annotated[dict[str, Direction], BeforeValidator(_empty)] = Field(default_factory=dict)
    distinct: Annotated[dict[str, Annotated[int, Field(ge=1, le=16)]], BeforeValidator(_empty)] = (
        Field(default_factory=dict)
    )
    total_depth: DepthFile | None = None
    skipped_steps: bool = True
    tie: Annotated[dict[Literal["w_a"], Literal["w_0"]], BeforeValidator(_empty)] = Field(
        default_factory=dict
    )
    caps: Annotated[dict[Literal["params", "acts"], CapFile], BeforeValidator(_empty)] = Field(
        default_factory=dict
    )
    se_ratio: float = Field(default=0.0, ge=0, le=1)
    activation: list[Activation] | Activation | None = None
    stages: Annotated[
        list[Annotated[int, Field(ge=1, le=16)]] | None,
        BeforeValidator(lambda value: [value] if isinstance(value, int) else value),
    ] = None
    recipe: Annotated[RecipeAxes, BeforeValidator(_empty)] = Field(default_factory=dict)
    sample: dict[str, Any] | None = None
    fingerprint: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "SpaceFile":
        if self.family == "regnet":
            if self.share or self.monotone:
                raise ValueError(
                    "share and monotone are for anynet; a regnet's stages follow one rule"
                )
        elif self.tie:
            raise ValueError("tie is for regnet axes; use share for an anynet")
        elif not self.skipped_steps:
            raise ValueError("skipped_steps is for regnet; an anynet's widths follow no steps")
        self._check_strides()
        self._check_stages()
        self._check_axis_names(axes_of(self.family, self.block))
        self._check_fixed()
        self._check_distinct()
        self._check_total_depth()
        for name, axis in self.axes.items():
            self._check_values(name, axis.axis().values.tolist())
        self._check_reachable()
        if self.se_ratio and not has_squeeze(self.block):
            raise ValueError(f"se_ratio: {self.block} blocks have none; it must be 0")
        self._check_activations()
        return self

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activations of its networks, in the order of `ACTIVATIONS`."""
        if self.activation is None:
            return activations_of(self.block)[:1] or ("relu",)
        listed = [self.activation] if isinstance(self.activation, str) else self.activation
        return tuple(name for name in ACTIVATIONS if name in listed)

    def _check_activations(self) -> None:
        if self.activation is None:
            return
        supported = activations_of(self.block)
        if not supported:
            raise ValueError(f"activation: {self.block} blocks decide it themselves; leave it out")
        if not self.activations:
            raise ValueError("activation: an empty list; give one or several, or leave it out")
        for name in self.activations:
            if name not in supported:
                raise ValueError(
                    f"activation: {self.block} blocks support {', '.join(supported)}; found {name}"
                )
        if isinstance(self.activation, list) and len(self.activations) != len(self.activation):
            raise ValueError("activation: give one or several different ones")

    @property
    def stage_counts(self) -> tuple[int, ...]:
        """The numbers of stages that its networks may have, ascending."""
        return tuple(sorted(self.stages or [self.input.num_stages]))

    def _check_stages(self) -> None:
        counts = self.stage_counts
        if self.stages == [] or len(set(counts)) < len(counts):
            raise ValueError("stages: give one or several different numbers, or leave it out")
        if counts[-1] > self.input.num_stages:
            raise ValueError(
                f"stages: up to {counts[-1]}, but input.strides has {self.input.num_stages}; give "
                "a stride for each stage of the largest network"
            )

    def _check_strides(self) -> None:
        """A stride of 2 does nothing on one pixel: several such strides are a mistake."""
        sides = self.input.stage_resolutions()
        idle = [i for i, side in enumerate(sides[:-1]) if side == 1 and self.input.strides[i] == 2]
        if len(idle) > 1:
            raise ValueError(
                f"input.strides: {len(sides) - 1} stages; an image of {self.input.resolution} "
                f"pixels is down to one before stage {idle[0] + 1}, and strides of 2 do nothing "
                "from there: give one stride a stage, fewer of them 2"
            )

    def _check_axis_names(self, names: tuple[str, ...]) -> None:
        if set(self.axes) != set(names):
            rule = _axis_rule(self.family, self.block)
            raise ValueError(f"axes: {rule}; found {', '.join(self.axes) or 'none'}")
        for key in ("share", "monotone"):
            for name in getattr(self, key):
                if name not in names:
                    raise ValueError(
                        f"{key}: no axis {shortened(name)}; the axes are {', '.join(names)}"
                    )
        for name in set(self.monotone) & set(self.share):
            raise ValueError(f"monotone.{name}: the axis is shared by all stages already")

    def _check_fixed(self) -> None:
        for name, axis in self.axes.items():
            if not isinstance(axis, FixedAxis):
                continue
            if self.family == "regnet":
                raise ValueError(
                    f"axes.{name}: fixed is for anynet; a regnet's axis has one value: "
                    "{distribution: choice, values: […]}"
                )
            stages = self.stage_counts[-1]
            if len(axis.values) != stages:
                raise ValueError(
                    f"axes.{name}: {len(axis.values)} fixed values for {stages} stages"
                )
            for key in ("share", "monotone", "distinct"):
                if name in getattr(self, key):
                    raise ValueError(f"{key}: {name} is fixed; leave it out of {key}")

    def _check_distinct(self) -> None:
        fewest, most = self.stage_counts[0], self.stage_counts[-1]
        for name, count in self.distinct.items():
            if name not in ANYNET_AXES:
                raise ValueError(f"distinct: no axis {shortened(name)}; it may be d, w, b or g")
            if name in ("b", "g") and name not in body_axes(self.block):
                raise ValueError(f"distinct.{name}: {self.block} blocks have no {name}")
            if count > fewest:
                raise ValueError(f"distinct.{name}: {count} values in {fewest} stages")
        for name, direction in self.monotone.items():
            values = len(self.axes[name].axis())
            if direction.startswith("strictly") and values < most:
                raise ValueError(f"monotone.{name}: {values} values can't differ in {most} stages")

    def _check_reachable(self) -> None:
        """Refuse more distinct values of an axis than one network can have."""
        shared = self.share if self.family == "anynet" else ["b"]
        for name, count in self.distinct.items():
            if self.family == "regnet" and name not in shared:
                continue  # what its stages have follows from its rule
            # Widths and group widths are rounded to each other.
            used = {"w", *body_axes(self.block)} if name in ("w", "g") else {name}
            values = {axis: self.axes[axis].axis().values for axis in used}
            most = most_distinct(name, values, shared)
            if count > most:
                raise ValueError(
                    f"distinct.{name}: no network has {count} values, as its axes give it at most "
                    f"{most}; lower it, or change axes or share"
                )

    def _check_total_depth(self) -> None:
        """Refuse a range that no network of the axes has."""
        if self.total_depth is None:
            return
        low, high = self.total_depth.low, self.total_depth.high
        values = self.axes["d"].axis().values.tolist()
        if self.family == "regnet":  # its d is the number of blocks in all stages
            if not any(low <= value <= high for value in values):
                raise ValueError(
                    f"total_depth: no value of axes.d, which has {values[0]:g} to {values[-1]:g}, "
                    f"is from {low} to {high}"
                )
            return
        few, many = self.stage_counts[0], self.stage_counts[-1]
        if isinstance(self.axes["d"], FixedAxis):
            fewest, most = sum(values[:few]), sum(values)
        else:
            fewest = _total(values, few, self._distinct_depths(few))
            most = _total(values[::-1], many, self._distinct_depths(many))
        if high < fewest:
            raise ValueError(
                f"total_depth: high is {high}, but {few} stages have at least {fewest:g} blocks"
            )
        if low > most:
            raise ValueError(
                f"total_depth: low is {low}, but {many} stages have at most {most:g} blocks"
            )
        sums = [count * value for count in self.stage_counts for value in values]
        if "d" in self.share and not any(low <= total <= high for total in sums):
            raise ValueError(
                f"total_depth: from {low} to {high} there is no value of axes.d, which the stages "
                "share, times the number of stages; widen it"
            )

    def _distinct_depths(self, stages: int) -> int:
        """Return how many different depths so many stages have at least."""
        strict = self.monotone.get("d", "").startswith("strictly")
        return stages if strict else self.distinct.get("d", 1)

    def _check_values(self, name: str, values: list[float]) -> None:
        """Check the values of an axis by the rules of the networks that have them."""
        extra = next((axis for axis in block_axes(self.block) if axis.name == name), None)
        for value in values:
            number = int(value) if value.is_integer() else value
            try:
                if extra is not None:
                    extra.check(value)
                elif self.family == "regnet" or name == "b":
                    check_value(RegNetParams, name, number)
                else:
                    check_value(Body, _BODY_FIELDS[name], (number,))
            except ValueError as error:
                raise ValueError(f"axes.{name}: {error}") from None


class SettingInput(FilePart):
    """What a setting changes around the stages."""

    resolution: Resolution
    channels: Channels | None = None
    classes: Classes | None = None
    stem_width: StemWidth | None = None
    stem_stride: StemStride | None = None
    head_width: HeadWidth | None = None
    first_stride: Stride | None = None


class SettingFile(FilePart):
    """An input size that goes with any space."""

    name: _Name
    reason: str = Field(min_length=1)
    input: SettingInput
    high: dict[Literal["d", "w", "b", "g"], _Number] = Field(default_factory=dict)
    regnet_high: dict[Literal["d", "w_0", "w_a", "w_m", "b", "g"], _Number] = Field(
        default_factory=dict
    )
