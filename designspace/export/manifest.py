"""manifest.json: what an export wrote, with cost, checksums and verification reports."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.errors import InputError, name_some
from designspace.export.target import Target
from designspace.io.atomic_write import write_text

MANIFEST = "manifest.json"
# The key of files that an earlier export left, as this one wrote nothing in their place.
EARLIER = "earlier_files"


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


def check_manifest(out: Path) -> None:
    """Raise unless an export may write manifest.json to a folder.

    Raises:
        InputError: There is one that no export wrote (`out`).
    """
    manifest = out / MANIFEST
    if manifest.is_file() and not _is_ours(manifest):
        raise InputError(
            f"out: {manifest} was not written by an export; choose another folder, or move it",
            "out",
        )


def check_model_file(out: Path, text: str) -> None:
    """Raise unless an export may write model.yaml to a folder.

    It replaces what an earlier export wrote there, and nothing that a person did.

    Args:
        out: The folder; the manifest of several models lies in the one above.
        text: The new model.yaml.

    Raises:
        InputError: There is another one (`out`).
    """
    model = out / "model.yaml"
    if not model.is_file() or model.read_bytes() == text.encode():
        return
    checksum = file_record(model, out)["sha256"]
    for root in (out, out.parent):
        for record in earlier_records(root):
            if root / record["path"] == model and record["sha256"] == checksum:
                return
    raise InputError(
        f"out: {model} is another model, or was changed since it was exported; choose another "
        "folder, or move it",
        "out",
    )


def _is_ours(manifest: Path) -> bool:
    try:
        data = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and {"schema", "models"} <= data.keys()


def remove_earlier_files(
    out: Path, written: Iterable[Path], source: Path | None = None
) -> list[str]:
    """Remove what an earlier export wrote to a folder, by its manifest, and this one did not.

    Files that were changed since stay, as well as those that weights were read from.

    Args:
        out: The folder, before its manifest is written anew.
        written: The files that this export wrote.
        source: The checkpoint that weights were read from, a file or a folder.

    Returns:
        Notes on the files that were removed, and on those that stay.

    Raises:
        InputError: A file can't be removed.
    """
    new, kept = {path.resolve() for path in written}, None if source is None else source.resolve()
    removed, changed, read = [], [], []
    for record in earlier_records(out):
        path = out / record["path"]
        if not path.is_file() or path.resolve() in new:
            continue
        if kept in (path.resolve(), *path.resolve().parents):
            read.append(record["path"])
        elif file_record(path, out)["sha256"] != record["sha256"]:
            changed.append(record["path"])
        else:
            remove_file(path, out)
            removed.append(record["path"])
    notes = {
        "removed, as an earlier export wrote them": removed,
        "kept, as they were changed since an earlier export": changed,
        "kept, as the weights were read from them": read,
    }
    return [f"{what}: {name_some(paths)}" for what, paths in notes.items() if paths]


def earlier_records(out: Path) -> Iterator[dict[str, str]]:
    """Yield path and checksum of the files in a folder that its manifest lists, if it has one."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        listed = [record for model in manifest["models"] for record in model["files"]]
        listed += manifest.get(EARLIER, [])
        records = [(str(record["path"]), str(record["sha256"])) for record in listed]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return
    for path, checksum in records:
        if (out / path).resolve().is_relative_to(out.resolve()):
            yield {"path": path, "sha256": checksum}


def remove_file(path: Path, out: Path) -> None:
    """Remove a file, and the folders up to `out` that it leaves empty.

    Raises:
        InputError: It can't be removed.
    """
    try:
        path.unlink()
        for folder in path.relative_to(out).parents[:-1]:
            if any((out / folder).iterdir()):
                break
            (out / folder).rmdir()
    except OSError as error:
        raise InputError(f"cannot remove {path}: {error.strerror}") from None


def file_record(path: Path, out: Path) -> dict[str, Any]:
    """Return a file's path in a folder, size and SHA-256 checksum."""
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    relative = path.relative_to(out).as_posix()
    return {"path": relative, "bytes": path.stat().st_size, "sha256": checksum}
