"""What surrounds the stages of a network: input, stem, strides and classifier."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from designspace.io.validation import check_fields, from_plain

Resolution = Annotated[int, Field(ge=1, le=8192, strict=True)]
Channels = Annotated[int, Field(ge=1, le=10_000, strict=True)]
Classes = Annotated[int, Field(ge=1, le=10**7, strict=True)]
StemWidth = Annotated[int, Field(ge=1, le=10**5, strict=True)]
Stride = Annotated[int, Field(ge=1, le=2, strict=True)]


@dataclass(frozen=True)
class Skeleton:
    """The fixed parts of all networks of a space (DDS §3.2: stem and head are kept simple).

    Attributes:
        resolution: Side of the square input image, in pixels.
        classes: Outputs of the final linear layer.
        stem_width: Output channels of the 3x3 stem convolution.
        stem_stride: Stride of the stem, 1 or 2.
        strides: Stride of each stage's first block; its length is the number of stages.
        channels: Channels of the input image; files state it only where it is not 3.
    """

    resolution: Resolution = 224
    classes: Classes = 1000
    stem_width: StemWidth = 32
    stem_stride: Stride = 2
    strides: Annotated[tuple[Stride, ...], Field(min_length=1, max_length=16)] = (2, 2, 2, 2)
    channels: Channels = 3

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def num_stages(self) -> int:
        """The number of stages."""
        return len(self.strides)

    def stage_resolutions(self) -> tuple[int, ...]:
        """Side of the feature map in pixels: after the stem, then after each stage."""
        sides = [-(-self.resolution // self.stem_stride)]
        for stride in self.strides:
            sides.append(-(-sides[-1] // stride))
        return tuple(sides)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in files."""
        data = {**asdict(self), "strides": list(self.strides)}
        if self.channels == 3:
            del data["channels"]
        return data

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Skeleton":
        """Read what `to_dict` wrote.

        Raises:
            InputError: A key is unknown, or a value is out of range.
        """
        return from_plain(Skeleton, data, "input")
