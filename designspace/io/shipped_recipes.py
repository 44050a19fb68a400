"""Recipes by name (shipped in a package's folder `recipes`) or by the path of a YAML file."""

from importlib import resources
from pathlib import Path
from typing import Any

from designspace.errors import InputError, nearest, shortened
from designspace.io.yaml_files import read_yaml


def shipped_names(package: str) -> list[str]:
    """Return the names of the YAML files in the folder `recipes` of a package."""
    names = (entry.name for entry in (resources.files(package) / "recipes").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def _with_parent(
    path: Path, package: str, what: str, children: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Read a recipe's file, with the keys that it doesn't have from its parent."""
    data = read_yaml(path, what)
    parent = data.pop("parent", None)
    if parent is None:
        return data
    if not isinstance(parent, str):
        raise InputError(f"{what}: {path}: parent must be a recipe's name or a .yaml file")
    if path.resolve() in children:
        raise InputError(f"{what}: {path}: parent: the recipe descends from itself")
    if parent.endswith((".yaml", ".yml")):
        file = path.parent / parent
        inherited = _with_parent(file, package, what, (*children, path.resolve()))
    else:
        inherited, _ = read_recipe_data(parent, package, f"{what} (parent of {path})")
    return {**inherited, "name": path.stem, **data}


def read_recipe_data(name: str, package: str, what: str) -> tuple[dict[str, Any], str]:
    """Read a shipped recipe by name, or any recipe by the path of its file.

    A file may name a `parent`, shipped or another file, and hold only what differs.

    Returns:
        The data, and what messages call the file.

    Raises:
        InputError: There is no such recipe, or its file can't be read.
    """
    if name.endswith((".yaml", ".yml")):
        return _with_parent(Path(name), package, what), name
    names = shipped_names(package)
    name = next((one for one in names if one.lower() == name.lower()), name)
    if name not in names:
        if Path(name).is_dir():
            raise InputError(f"{what}: {name} is a folder; name a .yaml file")
        raise InputError(
            f"no {what} {shortened(repr(name))}; {nearest(name, names)} "
            "(or the path of a .yaml file)"
        )
    with resources.as_file(resources.files(package) / "recipes" / f"{name}.yaml") as path:
        return read_yaml(path, what), path.name
