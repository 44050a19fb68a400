"""What an export wrote, for whoever gets the files: cost, checksums, proofs."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.arch import Model
from designspace.export.exporter import Exported, Options, export
from designspace.export.target import Target
from designspace.io.atomic_write import write_text

MANIFEST = "manifest.json"


def export_one(
    model: Model, targets: Sequence[Target], out: Path, options: Options, say: Callable[[str], None]
) -> Exported:
    """Export a model into a folder, as `export` does, with a manifest.

    Raises:
        InputError: The folder or the checkpoint is at fault, or the block is not RegNet's.
        RuntimeError: A proof failed: a mistake of our own.
    """
    made = export(model, targets, out, options, say)
    write_manifest(out, {}, targets, [entry(made, out)])
    return made


def write_manifest(
    out: Path,
    about: Mapping[str, Any],
    targets: Sequence[Target],
    models: Sequence[Mapping[str, Any]],
) -> None:
    """Write the manifest of a folder.

    Args:
        out: The folder.
        about: What is said of all models, such as the study that they come from.
        targets: Where to they were exported.
        models: The entry of each model.
    """
    manifest = {
        "schema": 1,
        **about,
        "targets": [target.name for target in targets],
        "models": list(models),
    }
    write_text(out / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def entry(made: Exported, out: Path) -> dict[str, Any]:
    """Return what the manifest of a folder says of one model in it."""
    model = made.model
    return {
        "name": model.name,
        "resolution": model.skeleton.resolution,
        "classes": model.skeleton.classes,
        "flops": model.flops,
        "params": model.params,
        "acts": model.acts,
        "files": [
            {
                "path": path.relative_to(out).as_posix(),
                "bytes": path.stat().st_size,
                "sha256": _sha256(path),
            }
            for path in made.files
        ],
        "proofs": [proof.to_dict() for proof in made.proofs],
        "notes": list(made.notes),
        "refused": made.refused,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
