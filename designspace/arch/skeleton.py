"""What surrounds the stages of a network: input, stem, strides, head and classifier."""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from designspace.errors import InputError
from designspace.io.validation import check_fields, from_plain

Resolution = Annotated[int, Field(ge=1, le=8192, strict=True)]
Channels = Annotated[int, Field(ge=1, le=10_000, strict=True)]
Classes = Annotated[int, Field(ge=1, le=10**7, strict=True)]
StemWidth = Annotated[int, Field(ge=1, le=10**5, strict=True)]
StemStride = Annotated[int, Field(ge=1, le=4, strict=True)]
Stride = Annotated[int, Field(ge=1, le=2, strict=True)]
HeadWidth = Annotated[int, Field(ge=0, le=10**5, strict=True)]
Stem = Literal["conv3", "conv7_pool", "patch"]
_STEM_STRIDES: dict[Stem, tuple[int, ...]] = {
    "conv3": (1, 2),
    "conv7_pool": (4,),
    "patch": (1, 2, 4),
}


@dataclass(frozen=True)
class Skeleton:
    """The fixed parts of all networks of a space (DDS §3.2: stem and head are kept simple).

    Attributes:
        resolution: Side of the square input image, in pixels.
        classes: Outputs of the final linear layer.
        stem_width: Output channels of the stem.
        stem_stride: Stride of the stem: 1 or 2; 4 with `conv7_pool`; 1, 2 or 4 with `patch`.
        strides: Stride of each stage's first block; its length is the number of stages.
        channels: Channels of the input image; files state it only where it is not 3.
        stem: `conv3`, a 3x3 convolution; `conv7_pool`, ResNet's 7x7 convolution and 3x3 max-pool,
            both of stride 2; `patch`, a convolution of non-overlapping patches (ConvNeXt). Files
            state it only where it is not `conv3`.
        head_width: Output channels of a 1x1 convolution before the pooling, as in MobileNetV2; 0,
            which files leave out, is none.
    """

    resolution: Resolution = 224
    classes: Classes = 1000
    stem_width: StemWidth = 32
    stem_stride: StemStride = 2
    strides: Annotated[tuple[Stride, ...], Field(min_length=1, max_length=16)] = (2, 2, 2, 2)
    channels: Channels = 3
    stem: Stem = "conv3"
    head_width: HeadWidth = 0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        check_fields(self)
        strides = _STEM_STRIDES[self.stem]
        if self.stem_stride not in strides:
            raise InputError(
                f"stem_stride is {self.stem_stride}; a {self.stem} stem has stride "
                f"{' or '.join(map(str, strides))}"
            )

    @property
    def num_stages(self) -> int:
        """The number of stages."""
        return len(self.strides)

    def with_stages(self, count: int) -> "Skeleton":
        """Return the same with the first `count` strides, for a network of so many stages."""
        return self if count == self.num_stages else replace(self, strides=self.strides[:count])

    def stage_resolutions(self) -> tuple[int, ...]:
        """Side of the feature map in pixels: after the stem, then after each stage."""
        sides = [-(-self.resolution // self.stem_stride)]
        for stride in self.strides:
            sides.append(-(-sides[-1] // stride))
        return tuple(sides)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in files."""
        data = {**asdict(self), "strides": list(self.strides)}
        for name, default in (("channels", 3), ("stem", "conv3"), ("head_width", 0)):
            if data[name] == default:
                del data[name]
        return data

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Skeleton":
        """Read what `to_dict` wrote.

        Raises:
            InputError: A key is unknown, or a value is out of range.
        """
        return from_plain(Skeleton, data, "input")
