"""The names of parameters that a population has, before it is sampled."""

from collections.abc import Mapping

from designspace.arch import REGNET_AXES
from designspace.space import Space
from designspace.studies.toggle import Setting, keeps_regnets

_OTHERS = ("activation", "stages")


def parameter_names(space: Space, toggle: Mapping[str, Setting] | None = None) -> list[str]:
    """Return the parameters of the models of a space, as the tables of its results name them.

    A parameter that its stages share has one name (`b`), any other one a stage (`b1` to `b4`).
    Networks whose every stage has a single group have no parameter g.

    Args:
        space: The space.
        toggle: The setting that is changed in all models, if any.
    """
    changed = {} if toggle is None else dict(toggle)
    stages = range(1, max(space.stage_counts) + 1)
    own = [axis for axis in space.axes if axis not in (*REGNET_AXES, "w", *_OTHERS)]
    more = [*space.recipe]
    if len(space.stage_counts) > 1:
        more.append("stages")
    if len(space.activations) > 1 and "activation" not in changed:
        more.append("activation")
    if space.family == "regnet" and keeps_regnets(toggle):
        return [*(name for name in REGNET_AXES if name in space.axes), *own, *more]
    names = ["d", *(f"{name}{i}" for name in "dw" for i in stages)]
    letters = "b" if _one_group(space, changed) else "bg"
    for name in (*(name for name in letters if name in space.axes), *own):
        shared = space.family == "regnet" or name in space.share or name in changed
        shared = shared or len(space.axes[name].values) == 1 or space.distinct.get(name) == 1
        if shared:
            names.append(name)
        if not shared or len(stages) == 1 or (name == "g" and name not in space.share):
            names += [f"{name}{i}" for i in stages]
    return [*names, *more]


def _one_group(space: Space, changed: Mapping[str, Setting]) -> bool:
    """Return whether g is at least the width of the widest 3x3 convolution."""
    if "g" not in space.axes or changed.keys() & {"b", "w"}:  # g fits the convolution before
        return False
    least, most = (
        {name: float(end(axis.values)) for name, axis in space.axes.items()} for end in (min, max)
    )
    g = float(changed["g"]) if "g" in changed else least["g"]
    # A regnet's widths of blocks are w_0 + w_a j, then rounded to a power of w_m.
    w_a = most.get(space.tie.get("w_a", "w_a"), 0.0)
    width = most["w"] if "w" in most else (most["w_0"] + w_a * most["d"]) * most["w_m"]
    return g >= width / least.get("b", 1.0)
