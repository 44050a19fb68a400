"""Load spaces: shipped ones by name, your own by file or dict, each at a setting behind @.

What a file leaves out it takes from its parent, so that it states only how it narrows it. A file
with every key stands alone, as those in run folders do.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from designspace.arch import NAME_PATTERN
from designspace.errors import InputError, nearest, shortened
from designspace.io.text_files import check_links
from designspace.io.validation import mistakes, validate
from designspace.io.yaml_files import read_yaml
from designspace.space.inheritance import INHERITED, merge
from designspace.space.schema import SettingFile, SpaceFile
from designspace.space.space import Space, parse_space

_SUFFIXES = (".yaml", ".yml")
_MAX_PARENTS = 50


def shipped_folder() -> Path:
    """Return the folder of the spaces that come with the package."""
    package = Path(__file__).parents[1]
    installed = package / "_spaces"
    return installed if installed.is_dir() else package.parent / "spaces"


def shipped_spaces() -> list[str]:
    """Return the names of the shipped spaces, parents before children."""
    paths = {path.stem: path for path in sorted(shipped_folder().glob("*.yaml"))}
    parents = {name: read_yaml(path, "space").get("parent") for name, path in paths.items()}

    def lineage(name: str) -> list[str]:
        chain: list[str] = []
        current: str | None = name
        while current is not None and current not in chain:
            chain.insert(0, current)
            current = parents.get(current)
        return chain

    return sorted(paths, key=lineage)


def shipped_settings() -> list[str]:
    """Return the names of the shipped settings, smallest first."""
    stems = [path.stem for path in (shipped_folder() / "settings").glob("*.yaml")]
    return sorted(stems, key=lambda stem: (not stem.isdigit(), int(stem) if stem.isdigit() else 0))


def load_space(source: str | Path | Mapping[str, Any]) -> Space:
    """Load a space.

    Args:
        source: `NAME`, `FILE.yaml`, `NAME@SETTING` or `FILE.yaml@SETTING`, where a setting may be a
            file too; or the data of a space file as a dict, complete or with `parent`.

    Returns:
        The space. Your own may have values that its parent lacks; its `notes` names them.

    Raises:
        InputError: There is no such space or setting, or its data breaks a rule.

    Example:
        >>> import designspace as ds
        >>> ds.load_space("AnyNetXA@32").skeleton.resolution
        32
    """
    if isinstance(source, Mapping):
        label = str(source.get("name", "dict"))
        space = parse_space(_resolve(dict(source), label, None, ()), label)
        return _compared(space, None, None, source.keys())
    text, setting = str(source), None
    if "@" in text and not Path(text).is_file():
        text, _, setting = text.rpartition("@")
    path = _find(text, shipped_folder(), shipped_spaces, "space")
    space = parse_space(_read(path, setting, ()), path)
    if not text.endswith(_SUFFIXES):
        return space
    return _compared(space, path.parent, setting, read_yaml(path, "space").keys())


def _compared(
    space: Space, folder: Path | None, setting: str | None, stated: Collection[str]
) -> Space:
    """Compare a space that states these keys to its parent, where that can be loaded."""
    if space.parent is None:
        return space
    name, _, own_setting = space.parent.partition("@")
    try:
        if folder is not None and (folder / f"{space.parent}.yaml").exists():
            check_links(folder, [f"{space.parent}.yaml"])
            path, own_setting = folder / f"{space.parent}.yaml", ""
        else:
            path = _find(name, shipped_folder(), shipped_spaces, "space")
        parent = parse_space(_read(path, own_setting or setting, ()), path)
        return space.compared_to(parent, stated)
    except InputError:
        return space


def _read(path: Path, setting: str | None, chain: tuple[str, ...]) -> dict[str, Any]:
    data = _resolve(read_yaml(path, "space"), path, path.parent, (*chain, path.stem))
    return data if setting is None else _at_setting(data, setting, path)


def _find(name: str, folder: Path, names: Callable[[], list[str]], what: str) -> Path:
    if name.endswith(_SUFFIXES):
        return Path(name)
    path = next((p for p in folder.glob("*.yaml") if p.stem.lower() == name.lower()), None)
    if path is None:
        raise InputError(
            f"no {what} {shortened(repr(name))}; {nearest(name, names())} "
            "(or the path of a .yaml file)"
        )
    return path


def _resolve(
    data: dict[str, Any], label: Path | str, folder: Path | None, chain: tuple[str, ...]
) -> dict[str, Any]:
    """Take from the parents what the data leaves out.

    Args:
        data: Of a space file.
        label: What messages call it.
        folder: Where its parent may lie, besides the shipped spaces.
        chain: Names of the files between the requested one and this one, both included.
    """
    parent = data.get("parent")
    if parent is None or all(key in data for key in INHERITED):
        return data
    try:
        return _with_parent(parent, data, label, folder, chain)
    except InputError as error:
        # What the file itself has wrong shows up beside it; what it leaves out is no mistake.
        own = mistakes(SpaceFile, data | {"parent": None}, ("missing", "union_tag_not_found"))
        raise InputError(f"{error}; {own}" if own else str(error)) from None


def _with_parent(
    parent: Any,
    data: dict[str, Any],
    label: Path | str,
    folder: Path | None,
    chain: tuple[str, ...],
) -> dict[str, Any]:
    where = f"space: {label}: parent:"
    if not isinstance(parent, str):
        raise InputError(f"{where} must be the name of a space; found {shortened(repr(parent))}")
    if len(chain) > _MAX_PARENTS:
        raise InputError(f"space: {label}: more than {_MAX_PARENTS} parents above one another")
    if parent in chain:
        circle = " -> ".join([*chain[chain.index(parent) :], parent])
        raise InputError(
            f"{where} {shortened(circle, 300)} is a circle; a file beside this one comes before a "
            "shipped space of its name: rename it, or name another parent"
        )
    if not re.fullmatch(NAME_PATTERN, parent):
        raise InputError(
            f"{where} {shortened(repr(parent))} must be a name, not a path: a shipped space or a "
            "file in the same folder"
        )
    if folder is not None:
        check_links(folder, [f"{parent}.yaml"])
        if (beside := folder / f"{parent}.yaml").is_file():
            return merge(_read(beside, None, chain), data)
    name, _, setting = parent.partition("@")
    try:
        path = _find(name, shipped_folder(), shipped_spaces, "space")
        return merge(_read(path, setting or None, chain), data)
    except InputError as error:
        raise InputError(f"{where} {error}") from None


def _at_setting(data: dict[str, Any], setting: str, path: Path) -> dict[str, Any]:
    """Fit a space to another input size."""
    file = _find(setting, shipped_folder() / "settings", shipped_settings, "setting")
    checked = validate(SettingFile, read_yaml(file, "setting"), file, "setting")
    space = validate(SpaceFile, data, path, "space")
    changes = checked.input.model_dump(exclude_none=True)
    if space.input.stem == "conv7_pool":  # it divides the side by 4, whatever the image
        changes["stem"] = "conv3"
    first = changes.pop("first_stride", None)
    skeleton = {**space.input.to_dict(), **changes}
    if first is not None:
        skeleton["strides"] = [first, *skeleton["strides"][1:]]
    highs: Mapping[Any, float] = checked.high if space.family == "anynet" else checked.regnet_high
    axes = {
        name: axis.capped(highs[name]) if name in highs else axis.model_dump(exclude_none=True)
        for name, axis in space.axes.items()
    }
    reason = f"{space.reason.strip()} At {checked.name}: {checked.reason.strip()}"
    name = f"{space.name}@{checked.name}"
    return {**data, "name": name, "input": skeleton, "axes": axes, "reason": reason}
