"""How the trials of a run are executed, as recorded in recipe.yaml beside the recipe."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from designspace.io.validation import validate


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Execution:
    """Options of a run that do not decide whether its errors are comparable.

    Attributes:
        device: auto, cpu, cuda, cuda:N or mps.
        exact: On CUDA, use deterministic algorithms.
        compile: Use torch.compile.
        time_limit: Seconds that a trial may train, or None.
        image_results: Keep which validation images each model classified correctly; None by their
            number.
    """

    device: str = "auto"
    exact: bool = False
    compile: bool = False
    time_limit: float | None = Field(default=None, gt=0)
    image_results: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the options that differ from their defaults."""
        default = asdict(Execution())
        return {key: value for key, value in asdict(self).items() if value != default[key]}


def parse_execution(data: dict[str, Any], path: Path | str) -> Execution:
    """Turn plain data into options; `path` names its origin in messages.

    Raises:
        InputError: A key is unknown or a value is out of range.
    """
    return validate(Execution, data, path, "recipe: execution")
