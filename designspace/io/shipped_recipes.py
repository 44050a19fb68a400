"""Recipes by name (shipped in a folder `recipes`), by the path of a YAML file, or as a map."""

from collections.abc import Mapping
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
    if path.resolve() in children:
        raise InputError(f"{what}: {path}: parent: the recipe descends from itself")
    return _inherit(read_yaml(path, what), path, package, what, (*children, path.resolve()))


def _inherit(
    data: Mapping[str, Any], path: Path, package: str, what: str, children: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Return the data without `parent`, with the keys that it lacks from there.

    The path of a parent is relative to the folder of `path`.
    """
    own = {key: value for key, value in data.items() if key != "parent"}
    parent = data.get("parent")
    if parent is None:
        return own
    if not isinstance(parent, str):
        raise InputError(f"{what}: {path}: parent must be a recipe's name or a .yaml file")
    if parent.endswith((".yaml", ".yml")):
        inherited = _with_parent(path.parent / parent, package, what, children)
    else:
        inherited, _ = read_recipe_data(parent, package, f"{what} (parent of {path})")
    return {**inherited, "name": path.stem, **own}


def read_recipe_data(
    recipe: str | Path | Mapping[str, Any], package: str, what: str
) -> tuple[dict[str, Any], str]:
    """Read a shipped recipe by name, any recipe by the path of its file, or one passed as data.

    Files and data may name a `parent`, shipped or another file, and hold only what differs.

    Returns:
        The data, and what messages call the recipe.

    Raises:
        InputError: There is no such recipe, or its file can't be read.
    """
    if isinstance(recipe, Mapping):
        own = {"name": "custom", **recipe}
        return _inherit(own, Path(str(own["name"])), package, what), "as passed"
    if not isinstance(recipe, str | Path):
        raise InputError(
            f"recipe is {shortened(repr(recipe))}; it must be a name, a path or a map of keys",
            "recipe",
        )
    name = str(recipe)
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
