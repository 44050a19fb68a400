"""manifest.json: what an export wrote, with cost, checksums and verification reports."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.export.target import Target
from designspace.io.atomic_write import write_text

MANIFEST = "manifest.json"


def write_manifest(
    out: Path,
    about: Mapping[str, Any],
    targets: Sequence[Target],
    models: Sequence[Mapping[str, Any]],
) -> None:
    """Write the manifest of a folder.

    Args:
        out: The folder.
        about: What is common to all models, such as the study that they come from.
        targets: The targets.
        models: One entry per model.
    """
    manifest = {
        "schema": 1,
        **about,
        "targets": [target.name for target in targets],
        "models": list(models),
    }
    write_text(out / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def file_record(path: Path, out: Path) -> dict[str, Any]:
    """Return a file's path in a folder, size and SHA-256 checksum."""
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    relative = path.relative_to(out).as_posix()
    return {"path": relative, "bytes": path.stat().st_size, "sha256": checksum}
