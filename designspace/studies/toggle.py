"""Paired populations: the same models with one setting changed."""

from collections.abc import Mapping

import numpy as np

from designspace.arch import Body, BodyBatch, Population, Skeleton, cost, group_compatible
from designspace.errors import InputError, nearest

Setting = float | str
# Keys of a body with a value for every stage, by the letter that spaces and tables use.
_PER_STAGE = {
    **{"d": "depths", "w": "widths", "b": "bottleneck_ratios", "g": "group_widths"},
}
_OF_BODY = ("se_ratio", "activation")


def toggled(population: Population, toggle: Mapping[str, Setting]) -> Population:
    """Return the population with one setting of every model changed.

    Model i of the result is model i of the population but for the setting, so that errors can be
    compared pair by pair. Widths are rounded again where b or g changes. Models that differ in the
    setting alone become equal; each stays the pair of its own.

    Args:
        population: The models.
        toggle: The setting and its value: se_ratio, activation, b, g, d or w, an axis of the block,
            or a part of the skeleton, such as stem_width or resolution.

    Raises:
        InputError: There is no such setting, or it changes nothing.
    """
    ((name, value),) = toggle.items()
    skeleton, bodies = population.skeleton, population.bodies
    parts = skeleton.to_dict()
    if name in parts:
        skeleton = Skeleton.from_dict({**parts, name: value})
    else:
        changed = [_changed(body, name, value) for body in population.iter_bodies()]
        bodies = BodyBatch.from_bodies(changed)
    # RegNet parameters describe the stages, so they outlast any other change.
    kept = name not in _PER_STAGE
    regnets = population.regnets if kept else None
    result = Population(skeleton, bodies, cost(bodies, skeleton), regnets)
    if result.ids == population.ids and skeleton == population.skeleton:
        raise InputError(f"toggle: every model has {name} = {value} already", "toggle")
    return result


def _changed(body: Body, name: str, value: Setting) -> Body:
    data = body.to_dict()
    stages = body.num_stages
    if name in _PER_STAGE:
        data[_PER_STAGE[name]] = [value] * stages
    elif name in _OF_BODY:
        data[name] = value
    elif name in dict(body.extras):
        data["extras"] = {**data["extras"], name: [value] * stages}
    else:
        settings = [*_OF_BODY, *_PER_STAGE, *dict(body.extras), *Skeleton().to_dict()]
        raise InputError(f"toggle: no setting {name!r}; {nearest(name, settings)}", "toggle")
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
