"""What people mean by MODEL: a published network by name, or the path of a model.yaml."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from designspace.arch import Model


def resolve_model(text: str) -> "Model":
    """Return the network that a person names.

    Args:
        text: A catalog name such as RegNetY-128GF, or the path of a model.yaml.

    Raises:
        InputError: There is no such model or file, or the file is wrong.
    """
    from designspace.arch import published
    from designspace.errors import InputError
    from designspace.export.model_file import read_model

    if text.endswith((".yaml", ".yml")) or Path(text).is_file():
        return read_model(text)
    if Path(text).is_dir() and (Path(text) / "model.yaml").is_file():
        return read_model(Path(text) / "model.yaml")
    try:
        return published(text)
    except InputError as error:
        raise InputError(f"{error} (or the path of a model.yaml)") from None
