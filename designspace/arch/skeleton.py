"""What lies around the stages of a network: input, stem, strides and classifier."""

from dataclasses import asdict, dataclass
from typing import Any

from designspace.errors import InputError

MAX_RESOLUTION = 8192
MAX_STAGES = 16


@dataclass(frozen=True)
class Skeleton:
    """The fixed parts of all networks of a space (DDS §3.2: stem and head are kept simple).

    Attributes:
        resolution: Side of the square input image, in pixels.
        classes: Outputs of the final linear layer.
        stem_width: Output channels of the 3x3 stem convolution.
        stem_stride: Stride of the stem, 1 or 2.
        strides: Stride of each stage's first block; its length is the number of stages.
    """

    resolution: int = 224
    classes: int = 1000
    stem_width: int = 32
    stem_stride: int = 2
    strides: tuple[int, ...] = (2, 2, 2, 2)

    def __post_init__(self) -> None:
        _within("resolution", self.resolution, 1, MAX_RESOLUTION)
        _within("classes", self.classes, 1, 10**7)
        _within("stem_width", self.stem_width, 1, 10**5)
        _within("stem_stride", self.stem_stride, 1, 2)
        _within("the number of strides (one a stage)", len(self.strides), 1, MAX_STAGES)
        for i, stride in enumerate(self.strides):
            _within(f"strides[{i}]", stride, 1, 2)

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
        """Return plain data, as it stands in files."""
        return {**asdict(self), "strides": list(self.strides)}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Skeleton":
        """Read what `to_dict` wrote.

        Raises:
            InputError: A key is unknown or missing, or a value is out of range.
        """
        try:
            return Skeleton(**{**data, "strides": tuple(data["strides"])})
        except (KeyError, TypeError) as error:
            raise InputError(
                f"input: {error}; it has resolution, classes, stem_width, stem_stride and strides"
            ) from None


def _within(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; it must be a whole number from {low} to {high}")
