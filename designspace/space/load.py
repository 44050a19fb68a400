"""YAML to Space: shipped spaces by name, a person's own by path, either with a setting behind @.

What a file leaves out it takes from its parent, so that it says just how it narrows it. A file that
has every key stands alone, as those in run folders do.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from designspace.arch import BOTTLENECK, Skeleton
from designspace.errors import InputError, nearest, shortened
from designspace.io.text_files import check_links
from designspace.io.validation import validate
from designspace.io.yaml_files import read_yaml
from designspace.space.schema import NAME_PATTERN, SettingFile, SpaceFile
from designspace.space.space import Cap, Space, axes_of

_INHERITED = ("family", "input", "axes", "share", "monotone", "tie", "caps", "se_ratio")
_BLOCK = "block"
# Come from the parent too; a file that stands alone may leave them out.
_OPTIONAL = (_BLOCK, "distinct", "total_depth")
_MERGED = ("input", "axes", "monotone", "distinct", "tie", "caps")
_SUFFIXES = (".yaml", ".yml")
_MOST_PARENTS = 50


def shipped_folder() -> Path:
    """Return the folder of the spaces that come with the package."""
    package = Path(__file__).parents[1]
    installed = package / "_spaces"
    return installed if installed.is_dir() else package.parent / "spaces"


def shipped_spaces() -> list[str]:
    """Return the names of the shipped spaces, parents before children."""
    found = {path.stem: path for path in sorted(shipped_folder().glob("*.yaml"))}
    parents = {name: read_yaml(path, "space").get("parent") for name, path in found.items()}

    def lineage(name: str) -> list[str]:
        chain: list[str] = []
        current: str | None = name
        while current is not None and current not in chain:
            chain.insert(0, current)
            current = parents.get(current)
        return chain

    return sorted(found, key=lineage)


def shipped_settings() -> list[str]:
    """Return the names of the shipped settings, smallest first."""
    stems = [path.stem for path in (shipped_folder() / "settings").glob("*.yaml")]
    return sorted(stems, key=lambda stem: (not stem.isdigit(), int(stem) if stem.isdigit() else 0))


def load_space(text: str) -> Space:
    """Load `NAME`, `FILE.yaml`, `NAME@SETTING` or `FILE.yaml@SETTING`; a setting may be a file too.

    Raises:
        InputError: There is no such space or setting, or its file is wrong.
    """
    setting = None
    if "@" in text and not Path(text).is_file():
        text, _, setting = text.rpartition("@")
    path = _find(text, shipped_folder(), shipped_spaces, "space")
    data = _resolve(path, ())
    if setting is not None:
        data = _apply(data, setting, path)
    return parse_space(data, path)


def _find(name: str, folder: Path, known: Any, what: str) -> Path:
    if name.endswith(_SUFFIXES):
        return Path(name)
    path = folder / f"{name}.yaml"
    if "/" in name or "\\" in name or not name or not path.is_file():
        raise InputError(
            f"no {what} {shortened(repr(name))}; {nearest(name, known())} "
            "(or the path of a .yaml file)"
        )
    return path


def _resolve(path: Path, below: tuple[str, ...]) -> dict[str, Any]:
    """Read a file and fill in from its parents what it leaves out.

    Args:
        path: The file.
        below: The names of the files that it is a parent of, the one that was asked for first.
    """
    data = read_yaml(path, "space")
    parent = data.get("parent")
    missing = [key for key in _INHERITED if key not in data]
    if not missing or parent is None:
        return data
    if not isinstance(parent, str):
        shown = shortened(repr(parent))
        raise InputError(f"space: {path}: parent: must be the name of a space; found {shown}")
    chain = (*below, path.stem)
    if len(chain) > _MOST_PARENTS:
        raise InputError(f"space: {path}: more than {_MOST_PARENTS} parents above one another")
    if parent in chain:
        circle = " -> ".join([*chain[chain.index(parent) :], parent])
        raise InputError(
            f"space: {path}: parent: {shortened(circle, 300)} is a circle; a file beside this one "
            "comes before a shipped space of its name: rename it, or name another parent"
        )
    base = _resolve(_parent_file(parent, path), chain)
    block, axes = base.get(_BLOCK, BOTTLENECK), base.get("axes")
    if data.get("family", base.get("family")) != base.get("family"):
        base = {key: base[key] for key in ("input",) if key in base}
    elif data.get(_BLOCK, block) != block and isinstance(axes, dict):
        # Other blocks have other axes beside depth and width, and what is said of them goes, too.
        base = {key: base[key] for key in ("family", "input") if key in base}
        base["axes"] = {name: axes[name] for name in ("d", "w") if name in axes}
    merged = {key: base[key] for key in (*_INHERITED, *_OPTIONAL) if key in base}
    for key, value in data.items():
        before = merged.get(key)
        if key in _MERGED and isinstance(before, dict) and isinstance(value, dict):
            merged[key] = {**before, **value}
        else:
            merged[key] = value
    return merged


def _parent_file(parent: str, child: Path) -> Path:
    """A parent lies beside its child, or is a shipped space; a path is not followed."""
    shown = shortened(repr(parent))
    if not re.fullmatch(NAME_PATTERN, parent):
        raise InputError(
            f"space: {child}: parent: {shown} must be a name, not a path: a shipped space or a "
            "file in the same folder"
        )
    beside = child.parent / f"{parent}.yaml"
    check_links(child.parent, [beside.name])
    if beside.is_file():
        return beside
    base, _, setting = parent.partition("@")
    if setting:
        raise InputError(
            f"space: {child}: parent {shown} has a setting, so this file must state every key "
            f"itself ({', '.join(_INHERITED)})"
        )
    try:
        return _find(base, shipped_folder(), shipped_spaces, "space")
    except InputError as error:
        raise InputError(f"space: {child}: parent: {error}") from None


def _apply(data: dict[str, Any], setting: str, path: Path) -> dict[str, Any]:
    """Fit a space to another input size."""
    folder = shipped_folder() / "settings"
    file = _find(setting, folder, shipped_settings, "setting")
    checked = validate(SettingFile, read_yaml(file, "setting"), file, "setting")
    space = validate(SpaceFile, data, path, "space")
    changes = checked.input.model_dump(exclude_none=True)
    first = changes.pop("first_stride", None)
    skeleton = {**space.input.model_dump(), **changes}
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


def parse_space(data: dict[str, Any], path: Path | str) -> Space:
    """Check a space's plain data, with every key in it, and make the space.

    Raises:
        InputError: A key is unknown, missing or out of range.
    """
    checked = validate(SpaceFile, data, path, "space")
    plain = checked.model_dump(exclude={"sample", "fingerprint"}, exclude_none=False)
    for axis in plain["axes"].values():
        if axis["counted_as"] is None:
            del axis["counted_as"]
    if not plain["evidence"]:
        del plain["evidence"]
    if plain["block"] == BOTTLENECK:
        del plain["block"]
    for key in ("distinct", "total_depth"):
        if not plain[key]:
            del plain[key]
    return Space(
        name=checked.name,
        parent=checked.parent,
        reason=" ".join(checked.reason.split()),
        family=checked.family,
        skeleton=Skeleton.from_dict(checked.input.model_dump()),
        # The order that uniform numbers are dealt in must not depend on the file's.
        axes={name: checked.axes[name].axis() for name in axes_of(checked.family, checked.block)},
        share=tuple(checked.share),
        monotone={str(name): way for name, way in checked.monotone.items()},
        distinct=dict(checked.distinct),
        total_depth=(depth.low, depth.high) if (depth := checked.total_depth) else None,
        tie={str(name): str(other) for name, other in checked.tie.items()},
        caps=tuple(_cap(checked, measure) for measure in checked.caps),
        se_ratio=checked.se_ratio,
        block=checked.block,
        source=plain,
    )


def _cap(checked: SpaceFile, measure: Any) -> Cap:
    cap = checked.caps[measure]
    return Cap(measure, cap.constant, cap.factor, cap.power)
