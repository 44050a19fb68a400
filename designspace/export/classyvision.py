"""ClassyVision: a model's JSON. VISSL's trunk has the same keys.

RegNets with b = 1 and stride 2 everywhere are written by their parameters, as in the published
configs; ClassyVision's rounding is then ours. All others are written as an `anynet`, whose stages
it does not adjust. Registered names are never used: ClassyVision's regnet_y_256gf is another
network, of widths 640 1696 2544 5088.
"""

import json
from typing import Any

from designspace.arch import Model
from designspace.arch.pycls_names import PYCLS_STEMS
from designspace.export.identifiers import identifier
from designspace.export.target import Target


def has_published_form(model: Model) -> bool:
    """Whether RegNet parameters alone give the network: b = 1 and stride 2 everywhere."""
    plain = model.regnet is not None and model.regnet.b == 1
    return plain and set(model.skeleton.strides) == {2}


def trunk_config(model: Model) -> dict[str, Any]:
    """Return the keys of a trunk; an anynet has a `name`, RegNet parameters have none."""
    body, skeleton, regnet = model.body, model.skeleton, model.regnet
    stem: dict[str, Any] = {
        "stem_type": PYCLS_STEMS["conv3", skeleton.stem_stride],
        "stem_width": skeleton.stem_width,
        "block_type": "res_bottleneck_block",
        "use_se": body.se_ratio > 0,
    }
    if body.se_ratio:
        stem["se_ratio"] = body.se_ratio
    if regnet is not None and has_published_form(model):
        parameters = {
            "depth": regnet.d,
            "w_0": regnet.w_0,
            "w_a": regnet.w_a,
            "w_m": regnet.w_m,
            "group_width": regnet.g,
        }
        return {**parameters, **stem}
    stages = {
        "name": "anynet",
        "depths": list(body.depths),
        "widths": list(body.widths),
        "group_widths": list(body.group_widths),
        "bottleneck_multipliers": [1 / b for b in body.bottleneck_ratios],
        "strides": list(skeleton.strides),
    }
    return {**stages, **stem}


def _files(model: Model) -> dict[str, str]:
    head = {
        "name": "fully_connected",
        "unique_id": "default_head",
        "num_classes": model.skeleton.classes,
        "in_plane": model.body.widths[-1],
        "fork_block": f"block{model.body.num_stages}-{model.body.depths[-1] - 1}",
    }
    data = {"name": "regnet", **trunk_config(model), "heads": [head]}
    return {f"{identifier(model)}.json": json.dumps(data, indent=2) + "\n"}


CLASSYVISION = Target("classyvision", _files)
