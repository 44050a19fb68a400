"""Paired populations: the same models with one setting changed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from designspace.arch import (
    Body,
    BodyBatch,
    Population,
    RegNetParams,
    Skeleton,
    activations_of,
    block_axes,
    body_axes,
    cost,
    group_compatible,
    has_squeeze,
)
from designspace.errors import InputError, check_number, nearest
from designspace.io.validation import check_value

Setting = float | str
# Keys of a body with a value for every stage, by the letter that spaces and tables use.
_PER_STAGE = {
    **{"d": "depths", "w": "widths", "b": "bottleneck_ratios", "g": "group_widths"},
}
_OF_BODY = ("se_ratio", "activation")
# Parts of the skeleton; classes and channels are those of the images, and strides are a list.
_OF_SKELETON = ("resolution", "stem", "stem_width", "stem_stride", "head_width")


def toggled(population: Population, toggle: Mapping[str, Setting]) -> Population:
    """Return the population with one setting of every model changed.

    Model i of the result is model i of the population but for the setting, so that errors can be
    compared pair by pair. Widths are rounded again where b or g changes. Models that differ in the
    setting alone become equal; each stays the pair of its own.

    Args:
        population: The models.
        toggle: The setting and its value: se_ratio, activation, b, g, d or w, an axis of the block,
            or of the skeleton resolution, stem, stem_width, stem_stride or head_width.

    Raises:
        InputError: There is no such setting, or it changes nothing.
    """
    check_toggle(toggle, population.bodies.block, population.skeleton)
    name, value = _setting(toggle)
    skeleton, bodies = population.skeleton, population.bodies
    if changed_parts := skeleton_toggle(toggle):
        skeleton = Skeleton.from_dict({**skeleton.to_dict(), **changed_parts})
    else:
        changed = [_changed(body, name, value) for body in population.iter_bodies()]
        bodies = BodyBatch.from_bodies(changed)
    # RegNet parameters describe the stages, so they outlast any other change.
    regnets = population.regnets if keeps_regnets(toggle) else None
    result = Population(skeleton, bodies, cost(bodies, skeleton), regnets)
    if result.ids == population.ids and skeleton == population.skeleton:
        raise InputError(f"toggle: every model has {name} = {value} already", "toggle")
    return result


def check_toggle(toggle: Mapping[str, Setting], block: str, skeleton: Skeleton) -> None:
    """Check a toggle of models that are made of a block, in a skeleton.

    Raises:
        InputError: They have no such setting, or it can't have the value.
    """
    name, value = _setting(toggle)
    extras = {axis.name: axis for axis in block_axes(block)}
    activations = list(activations_of(block))
    settings = [
        *(["se_ratio"] if has_squeeze(block) else []),
        *(["activation"] if activations else []),
        *("d", "w", *body_axes(block), *extras, *_OF_SKELETON),
    ]
    if name not in settings:
        raise InputError(
            f"toggle: {block} blocks have no setting {name!r}; {nearest(name, settings)}", "toggle"
        )
    try:
        if name == "activation" and value not in activations:
            raise InputError(f"{value!r} is none of {', '.join(activations)}")
        if name in extras:
            extras[name].check(check_number(value, "it"))
        elif name == "se_ratio":
            check_value(Body, name, value)
        elif name == "b":
            check_value(RegNetParams, name, value)
        elif name in _PER_STAGE:
            check_value(Body, _PER_STAGE[name], (value,))
        elif name != "activation":
            Skeleton.from_dict({**skeleton.to_dict(), name: value})
    except ValueError as error:
        raise InputError(f"toggle: {name}: {error}", "toggle") from None


def toggled_source(
    source: Mapping[str, Any], toggle: Mapping[str, Setting], result: Population
) -> dict[str, Any]:
    """Return the keys of a space with a setting changed, as `toggled` changed its models.

    RegNets whose widths, depths, b or g are changed become AnyNets, which no space describes;
    their axes are left out.

    Args:
        source: Keys of the space of the models.
        toggle: The setting and its value.
        result: The changed models.
    """
    name, value = _setting(toggle)
    source = {**source, "input": result.skeleton.to_dict()}
    if name in _OF_BODY:
        return {**source, name: value}
    if source["family"] == "regnet" and result.regnets is None:
        kept = {key: v for key, v in source.items() if key != "axes"}
        return {**kept, "family": "anynet", "parent": None}
    if name in source["axes"]:
        axis = {"distribution": "choice", "values": [value]}
        source["axes"] = {**source["axes"], name: axis}
        for key in ("monotone", "distinct"):
            source[key] = {k: v for k, v in (source.get(key) or {}).items() if k != name}
        if name == "d":
            source["total_depth"] = None
    return source


def toggled_hash(sample: str, toggle: Mapping[str, Setting]) -> str:
    """Return the hash of a sample with a setting changed; both parts can be read from it."""
    ((name, value),) = toggle.items()
    return f"{sample}-{name}-{value}"


def keeps_regnets(toggle: Mapping[str, Setting] | None) -> bool:
    """Return whether RegNet parameters still describe the models once a setting is changed."""
    return toggle is None or _setting(toggle)[0] not in _PER_STAGE


def may_leave_models_equal(toggle: Mapping[str, Setting] | None) -> bool:
    """Return whether some models of a population may have the toggle's value already.

    They may in settings that models of a space differ in: all but se_ratio and the skeleton.
    """
    return toggle is not None and _setting(toggle)[0] not in ("se_ratio", *_OF_SKELETON)


def skeleton_toggle(toggle: Mapping[str, Setting] | None) -> dict[str, Setting]:
    """Return the part of the skeleton that a toggle changes, with its value; empty for others."""
    if toggle is None:
        return {}
    name, value = _setting(toggle)
    return {name: value} if name in _OF_SKELETON else {}


def _setting(toggle: Mapping[str, Setting]) -> tuple[str, Setting]:
    """Return the setting and its value; a study file holds whole numbers as decimals."""
    ((name, value),) = toggle.items()
    return name, int(value) if isinstance(value, float) and value.is_integer() else value


def _changed(body: Body, name: str, value: Setting) -> Body:
    data = body.to_dict()
    stages = body.num_stages
    if name in _PER_STAGE:
        data[_PER_STAGE[name]] = [value] * stages
    elif name in _OF_BODY:
        data[name] = value
    else:
        data["extras"] = {**data["extras"], name: [value] * stages}
    if name in ("b", "g", "w"):
        data["widths"], data["group_widths"] = _rounded(data)
    return Body.from_dict(data)


def _rounded(data: Mapping[str, list[float]]) -> tuple[list[int], list[int]]:
    widths, groups = group_compatible(
        np.array(data["widths"], np.int64),
        np.array(data["bottleneck_ratios"], np.float64),
        np.array(data["group_widths"], np.int64),
    )
    return widths.tolist(), groups.tolist()
