"""What a child space takes from its parent."""

from collections.abc import Collection, Mapping
from typing import Any

from designspace.arch import BOTTLENECK, body_axes
from designspace.errors import InputError

# A file with all of these stands alone.
INHERITED = ("family", "input", "axes", "share", "monotone", "tie", "caps", "se_ratio")
# Inherited too, but optional in a file that stands alone.
_OPTIONAL = (
    "block",
    "distinct",
    "total_depth",
    "skipped_steps",
    "activation",
    "stages",
    "recipe",
)
_EXTENDED = ("input", "axes")
_EXTENDED_OR_REMOVED = ("monotone", "distinct", "tie", "caps", "recipe")
# What a space of another block, or of another family, takes from its parent: what depends neither
# on the block's axes nor on the rules of the family.
_OF_ANY_BLOCK = ("family", "input", "tie", "stages", "total_depth", "skipped_steps", "recipe")
_OF_ANY_FAMILY = ("input", "block", "stages", "recipe")
_OF_BLOCK = ("se_ratio", "activation")
# Rules of single axes: missed only where the child has the axis.
_OF_STAGES = ("share", "monotone", "distinct", "tie")
# What a range takes from the parent's range of the same axis.
_RANGE = ("distribution", "low", "high", "step")


def merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """Return the child's data with what it leaves out taken from its parent.

    Maps extend the parent's, and so do ranges: `d: {high: 5}` keeps the lower end. An empty map or
    null removes the parent's monotone, distinct, tie, caps or recipe; null for one of their entries
    removes that entry. Of another family or block, the child takes only what holds for any.

    Args:
        parent: Complete data of a space.
        child: Data of a space file.
    """
    family, block = parent.get("family"), parent.get("block", BOTTLENECK)
    kept = [key for key in (*INHERITED, *_OPTIONAL) if key in parent]
    axes = parent.get("axes")
    if child.get("family", family) != family:
        same_block = child.get("block", block) == block
        kept = [*_OF_ANY_FAMILY, *(_OF_BLOCK if same_block else ())]
    elif child.get("block", block) != block and isinstance(axes, Mapping):
        # Other blocks have other axes besides depths and widths, and other rules.
        kept = [*_OF_ANY_BLOCK, "axes"]
        names = ("d", "w", "w_0", "w_a", "w_m", *_body_axes(child.get("block")))
        axes = {name: axes[name] for name in names if name in axes}
    merged = {key: axes if key == "axes" else parent[key] for key in kept if key in parent}
    for key, value in child.items():
        before = merged.get(key)
        if key in _EXTENDED_OR_REMOVED and not value:
            merged[key] = {}
        elif (
            key in _EXTENDED + _EXTENDED_OR_REMOVED
            and isinstance(before, Mapping)
            and isinstance(value, Mapping)
        ):
            both = {**before, **value}
            if key == "axes":
                both |= {name: _extended(before.get(name), axis) for name, axis in value.items()}
            removable = key in _EXTENDED_OR_REMOVED
            merged[key] = {k: v for k, v in both.items() if not removable or v is not None}
        else:
            merged[key] = value
    return merged


def left_out(
    parent: Mapping[str, Any], child: Mapping[str, Any], stated: Collection[str]
) -> list[str]:
    """Return the keys that a space of another family or block did not take from its parent.

    Args:
        parent: Complete data of a space.
        child: Complete data of its child.
        stated: Keys that the child states itself, empty ones too.
    """
    inherited = [key for key in (*INHERITED, *_OPTIONAL) if key not in stated]
    keys = [key for key in inherited if parent.get(key) and not child.get(key)]
    own = set(child["axes"]) if child.get("family") == parent.get("family") else set()
    return [key for key in keys if key not in _OF_STAGES or own & set(parent[key])]


def _extended(before: Any, axis: Any) -> Any:
    """Return the data of an axis with what its range leaves out taken from the parent's range."""
    if not (isinstance(before, Mapping) and isinstance(axis, Mapping)):
        return axis
    kinds = {before.get("distribution"), axis.get("distribution")}
    if "values" in axis or kinds & {"choice", "fixed"}:
        return axis
    return {**{key: before[key] for key in _RANGE if key in before}, **axis}


def _body_axes(block: Any) -> tuple[str, ...]:
    """Return which of b and g a block has; what is no block is refused where the file is read."""
    try:
        return body_axes(block) if isinstance(block, str) else ()
    except InputError:
        return ()
