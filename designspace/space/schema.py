"""The shape of a space's YAML file, and of a setting's, checked by pydantic."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from designspace.arch import BOTTLENECK, Skeleton, find_block
from designspace.arch.blocks import BLOCK_PATTERN
from designspace.errors import shortened
from designspace.space.axis import Axis, choice, log_uniform, uniform
from designspace.space.space import Direction, axes_of

MAX_VALUES = 100_000
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$"
_Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Counted = Annotated[int, Field(ge=1, le=10**9)]
# Values of an axis; what is smaller or larger no network has, and no float tells apart.
_LEAST, _MOST = 1e-6, 1e6
_INTEGER_AXES = ("d", "w", "g", "w_0")


def _entries(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield what stands in a map and in the maps and lists right in it, each with its path."""
    for key, value in data.items() if isinstance(data, dict) else ():
        yield key, value
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", part) for inner, part in value.items())
        elif isinstance(value, list):
            yield from ((f"{key}[{i}]", part) for i, part in enumerate(value))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _no_switches(cls, data: Any) -> Any:
        """YAML reads yes and no as true and false, which Python would take for 1 and 0."""
        for path, value in _entries(data):
            if isinstance(value, bool):
                raise ValueError(
                    f"{path}: found {str(value).lower()} (YAML reads yes, no, on and off as true "
                    "and false); write a number, or a name in quotes"
                )
        return data


class InputFile(_Strict):
    """What lies around the stages."""

    resolution: int = Field(ge=1, le=8192)
    classes: int = Field(ge=1, le=10_000_000)
    stem_width: int = Field(ge=1, le=100_000)
    stem_stride: int = Field(ge=1, le=2)
    strides: list[Annotated[int, Field(ge=1, le=2)]] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _check(self) -> "InputFile":
        """A stride of 2 does nothing on one pixel: where several do, the list is mistaken."""
        sides = Skeleton(
            **{**self.model_dump(), "strides": tuple(self.strides)}
        ).stage_resolutions()
        idle = [i for i, side in enumerate(sides[:-1]) if side == 1 and self.strides[i] == 2]
        if len(idle) > 1:
            raise ValueError(
                f"strides: {len(sides) - 1} stages; an image of {self.resolution} pixels is down "
                f"to one before stage {idle[0] + 1}, and strides of 2 do nothing from there: give "
                "one stride a stage, fewer of them 2"
            )
        return self


class RangeAxis(_Strict):
    """A range with a step."""

    distribution: Literal["log_uniform", "uniform"]
    low: float = Field(ge=_LEAST, le=_MOST)
    high: float = Field(ge=_LEAST, le=_MOST)
    step: float = Field(ge=_LEAST, le=_MOST)
    counted_as: _Counted | None = None

    @model_validator(mode="after")
    def _check(self) -> "RangeAxis":
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} must not be above high {self.high:g}")
        if (self.high - self.low) / self.step > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} values; take a larger step")
        return self

    def axis(self) -> Axis:
        """Make the table."""
        make = log_uniform if self.distribution == "log_uniform" else uniform
        made = make(self.low, self.high, self.step)
        return Axis(made.values, made.probabilities, self.counted_as)

    def capped(self, high: float) -> dict[str, Any]:
        """Return the axis with a lower upper end, as plain data."""
        if high >= self.high:
            return self.model_dump(exclude_none=True)
        steps = int((high - self.low) / self.step + 1e-9)
        top = round(self.low + steps * self.step, 6)
        kept = self.model_dump(exclude={"counted_as"})
        return {**kept, "high": max(self.low, top)}


class ChoiceAxis(_Strict):
    """A list of values, equally likely."""

    distribution: Literal["choice"]
    values: list[_Number] = Field(min_length=1, max_length=1000)
    counted_as: _Counted | None = None

    @model_validator(mode="after")
    def _check(self) -> "ChoiceAxis":
        if len(set(self.values)) != len(self.values):
            raise ValueError("a value stands twice")
        for value in self.values:
            if not _LEAST <= value <= _MOST:
                raise ValueError(f"values must be {_LEAST:g} to {_MOST:g}; found {value:g}")
        return self

    def axis(self) -> Axis:
        """Make the table."""
        made = choice(self.values)
        return Axis(made.values, made.probabilities, self.counted_as)

    def capped(self, high: float) -> dict[str, Any]:
        """Return the axis with a lower upper end, as plain data; the least value always stays."""
        least = min(self.values)
        kept = [value for value in self.values if value <= max(high, least)]
        return {"distribution": "choice", "values": kept}


AxisFile = Annotated[RangeAxis | ChoiceAxis, Field(discriminator="distribution")]


class CapFile(_Strict):
    """constant + factor * F ** power, F in billions of multiply-adds."""

    constant: _Number = 0.0
    factor: _Number = 0.0
    power: float = Field(default=1.0, ge=0, le=4)


class DepthFile(_Strict):
    """A closed range of the number of blocks in all stages together."""

    low: int = Field(default=1, ge=1, le=16_000)
    high: int = Field(default=16_000, ge=1, le=16_000)

    @model_validator(mode="after")
    def _check(self) -> "DepthFile":
        if self.low > self.high:
            raise ValueError(f"low {self.low} must not be above high {self.high}")
        return self


class SpaceFile(_Strict):
    """A whole space: every key stands in it, or comes from its parent."""

    name: _Name
    parent: _Name | None = None
    reason: str = Field(min_length=1)
    evidence: list[str] = []
    family: Literal["anynet", "regnet"]
    block: Annotated[str, Field(pattern=BLOCK_PATTERN)] = BOTTLENECK
    input: InputFile
    axes: dict[str, AxisFile]
    share: list[str] = []
    monotone: dict[str, Direction] = {}
    distinct: dict[str, Annotated[int, Field(ge=1, le=16)]] = {}
    total_depth: DepthFile | None = None
    tie: dict[Literal["w_a"], Literal["w_0"]] = {}
    caps: dict[Literal["params", "acts"], CapFile] = {}
    se_ratio: float = Field(default=0.0, ge=0, le=1)
    sample: dict[str, Any] | None = None
    fingerprint: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "SpaceFile":
        if self.family == "regnet" and self.block != BOTTLENECK:
            raise ValueError(f"block: {self.block} goes with family anynet")
        wanted = axes_of(self.family, self.block)
        if set(self.axes) != set(wanted):
            of = "" if self.block == BOTTLENECK else f" of {self.block} blocks"
            raise ValueError(
                f"axes: an {self.family}{of} has exactly the axes {', '.join(wanted)}; found "
                f"{', '.join(self.axes) or 'none'}"
            )
        for key, names in (("share", self.share), ("monotone", list(self.monotone))):
            unknown = [name for name in names if name not in wanted]
            if unknown and self.family == "anynet":
                raise ValueError(
                    f"{key}: no axis {shortened(unknown[0])}; the axes are {', '.join(wanted)}"
                )
        if self.family == "regnet" and (self.share or self.monotone):
            raise ValueError("share and monotone are for anynet; a regnet's stages follow one rule")
        if self.family == "anynet" and self.tie:
            raise ValueError("tie is for regnet axes; use share for an anynet")
        for shared in set(self.monotone) & set(self.share):
            raise ValueError(f"monotone.{shared}: the axis is shared by all stages already")
        self._check_distinct()
        self._check_values()
        return self

    def _check_distinct(self) -> None:
        stages = len(self.input.strides)
        for name, count in self.distinct.items():
            if name not in ("d", "w", "b", "g"):
                raise ValueError(f"distinct: no axis {shortened(name)}; it may be d, w, b or g")
            if name in ("b", "g") and self.block != BOTTLENECK:
                raise ValueError(f"distinct.{name}: {self.block} blocks have no {name}")
            if count > stages:
                raise ValueError(f"distinct.{name}: {count} values in {stages} stages")
        for name, direction in self.monotone.items():
            values = len(self.axes[name].axis())
            if direction.startswith("strictly") and values < stages:
                raise ValueError(
                    f"monotone.{name}: {values} values can't differ in {stages} stages"
                )

    def _check_values(self) -> None:
        for name, axis in self.axes.items():
            made = axis.axis().values
            if name in _INTEGER_AXES and (made % 1).any():
                raise ValueError(
                    f"axes.{name}: values must be whole; found {made[made % 1 > 0][0]}"
                )
            if name == "w_0" and (made % 8).any():
                raise ValueError(f"axes.w_0: values must be multiples of 8; found {made[0]:g}")
            if name == "w_m" and made[0] <= 1:
                raise ValueError(f"axes.w_m: values must be above 1; found {made[0]:g}")
            if name == "b" and not 1 / 64 <= made[0] <= made[-1] <= 64:
                raise ValueError("axes.b: values must be 1/64 to 64")
            if name == "d" and made[-1] > 1000:
                raise ValueError(f"axes.d: at most 1000 blocks; found {made[-1]:g}")
        if self.block == BOTTLENECK:
            return
        if self.se_ratio:
            raise ValueError(f"se_ratio: is of RegNet's block; {self.block} must state 0")
        for own in find_block(self.block).axes:
            made = self.axes[own.name].axis().values
            if own.whole and (made % 1).any():
                raise ValueError(
                    f"axes.{own.name}: values must be whole; found {made[made % 1 > 0][0]}"
                )
            if not own.low <= made[0] <= made[-1] <= own.high:
                raise ValueError(
                    f"axes.{own.name}: {own.about}: values must be {own.low:g} to {own.high:g}"
                )


class SettingInput(_Strict):
    """What a setting changes around the stages."""

    resolution: int = Field(ge=1, le=8192)
    classes: int | None = Field(default=None, ge=1, le=10_000_000)
    stem_width: int | None = Field(default=None, ge=1, le=100_000)
    stem_stride: int | None = Field(default=None, ge=1, le=2)
    first_stride: int | None = Field(default=None, ge=1, le=2)


class SettingFile(_Strict):
    """An input size that goes with any space."""

    name: _Name
    reason: str = Field(min_length=1)
    input: SettingInput
    high: dict[Literal["d", "w", "b", "g"], _Number] = {}
    regnet_high: dict[Literal["d", "w_0", "w_a", "w_m", "b", "g"], _Number] = {}
