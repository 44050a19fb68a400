"""The data that a run is trained on, as recorded in recipe.yaml beside the recipe."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from designspace.io.validation import validate
from designspace.runs.recipe import differing_items


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class DataRecord:
    """Data, split and seed, which all trials of a run share.

    Attributes:
        source: The data set as specified: digits, cifar10, folder:PATH. Informative only: the same
            images at another path are the same data.
        val: Images that the error is measured on: held-out or test.
        split: The same in words, as in each trial.
        seed: Seed of the run; the trial of model i depends on (seed, i) alone.
        classes: Number of classes.
        train_images: Number of training images.
        val_images: Number of images that the error is measured on.
        content: Hash of the images and labels of both.
    """

    source: str
    val: str
    split: str
    seed: Annotated[int, Field(ge=0)]
    classes: Annotated[int, Field(ge=2)]
    train_images: Annotated[int, Field(ge=1)]
    val_images: Annotated[int, Field(ge=1)]
    content: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def differences(self, other: "DataRecord") -> list[str]:
        """List the entries that differ in meaning, as `what: this, other`."""
        same_content = self.content == other.content
        ignore = ("source",) if same_content else ()
        return differing_items(self.to_dict(), other.to_dict(), ignore)


def parse_data(data: dict[str, Any], path: Path | str) -> DataRecord:
    """Turn plain data into a record; `path` names its origin in messages.

    Raises:
        InputError: A key is unknown, missing or out of range.
    """
    return validate(DataRecord, data, path, "recipe: data")


def source_name(source: str) -> str:
    """Return the short name of an image source: `cifar10` of `folder:/data/cifar10`."""
    return source.rstrip("/").rpartition("/")[2].rpartition(":")[2] or source
