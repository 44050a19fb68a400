"""What a run is trained on, as it stands in recipe.yaml beside the recipe."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from designspace.io.files import validate


@dataclass(frozen=True)
class DataRecord:
    """The data, the split and the seed that all trials of a run share.

    Attributes:
        source: How the person named the data: digits, cifar10, folder:PATH. For information: the
            same images at another path are the same data.
        val: Which images the error is measured on: held-out or test.
        split: The same in words, as each trial records it.
        seed: Seed of the run; the trial of model i draws from (seed, i) alone.
        classes: Number of classes.
        train_images: Images that are trained on.
        val_images: Images that the error is measured on.
        content: Hash of the images and labels of both.
    """

    source: str
    val: str
    split: str
    seed: int
    classes: int
    train_images: int
    val_images: int
    content: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def differences(self, other: "DataRecord") -> list[str]:
        """Name what differs in meaning, as `what: this, other`."""
        names = [name for name in self.to_dict() if name != "source"]
        found = [
            f"{name}: {getattr(self, name)}, {getattr(other, name)}"
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]
        if any(line.startswith("content") for line in found) and self.source != other.source:
            found.append(f"source: {self.source}, {other.source}")
        return found


class _DataMap(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    source: str
    val: str
    split: str
    seed: int = Field(ge=0)
    classes: int = Field(ge=2)
    train_images: int = Field(ge=1)
    val_images: int = Field(ge=1)
    content: str


def parse_data(data: dict[str, Any], path: Path | str) -> DataRecord:
    """Check plain data and make a record of it.

    Raises:
        InputError: A key is unknown, missing or out of range.
    """
    return DataRecord(**validate(_DataMap, data, path, "recipe: data").model_dump())
