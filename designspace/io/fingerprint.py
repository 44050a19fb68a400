"""Notice that a file was edited after it was written."""

import hashlib
import json
from pathlib import Path
from typing import Any

from designspace.errors import InputError
from designspace.io.yaml_files import dump_yaml, parse_yaml


def seal(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data with a `fingerprint` of everything else in it."""
    return {**data, "fingerprint": _fingerprint(data)}


def unseal(data: dict[str, Any], path: Path, what: str) -> dict[str, Any]:
    """Return sealed data without its fingerprint; data without one is returned as it is.

    Raises:
        InputError: The data was changed after it was sealed.
    """
    rest = {key: value for key, value in data.items() if key != "fingerprint"}
    if data.get("fingerprint", (expected := _fingerprint(rest))) != expected:
        raise InputError(
            f"{what}: {path} was edited after it was written, and the results beside it belong to "
            "the original; undo the edit, or start another run folder"
        )
    return rest


def _fingerprint(data: dict[str, Any]) -> str:
    # Of the data as it reads back: YAML may write a number differently.
    text = json.dumps(parse_yaml(dump_yaml(data)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
