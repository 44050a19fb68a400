"""ClassyVision: a model's JSON. VISSL's trunk takes the same keys.

RegNets with b = 1 and stride 2 everywhere are written by their parameters, as the published configs
are; ClassyVision's rounding is ours then. All others are written as an `anynet` with explicit
stages, whose widths it leaves alone. Its registered names are never used: its regnet_y_256gf is
another network, of widths 640 1696 2544 5088.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from designspace.arch import Model
from designspace.errors import InputError
from designspace.export.identifiers import identifier
from designspace.export.target import Target, same
from designspace.io.text_files import read_text
from designspace.io.validation import validate


class Stem(BaseModel):
    """The keys that both forms share, as ClassyVision's `from_config` reads them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    stem_type: Literal["res_stem_cifar", "res_stem_in", "simple_stem_in"] = "simple_stem_in"
    stem_width: int = Field(default=32, ge=1)
    block_type: Literal[
        "vanilla_block", "res_basic_block", "res_bottleneck_block", "res_bottleneck_linear_block"
    ] = "res_bottleneck_block"
    activation: Literal["relu", "silu"] = "relu"
    use_se: bool = True
    se_ratio: float = Field(default=0.25, ge=0, le=1)
    bn_epsilon: float = Field(default=1e-5, gt=0)
    bn_momentum: float = Field(default=0.1, gt=0, lt=1)


class RegNetKeys(Stem):
    """RegNet by its parameters."""

    depth: int = Field(ge=1)
    w_0: int = Field(ge=8, multiple_of=8)
    w_a: float = Field(ge=0)
    w_m: float = Field(gt=1)
    group_width: int = Field(ge=1)
    bottleneck_multiplier: float = Field(default=1.0, gt=0)


class AnyNetKeys(Stem):
    """A free body by its stages."""

    depths: list[int] = Field(min_length=1)
    widths: list[int] = Field(min_length=1)
    group_widths: list[int] = Field(min_length=1)
    bottleneck_multipliers: list[float] = Field(min_length=1)
    strides: list[int] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "AnyNetKeys":
        lists = (self.widths, self.group_widths, self.bottleneck_multipliers, self.strides)
        if any(len(values) != len(self.depths) for values in lists):
            raise ValueError("all lists must be as long as depths")
        return self


def by_parameters(model: Model) -> bool:
    """Whether the parameters alone give the network: RegNet, b = 1, stride 2 everywhere."""
    plain = model.regnet is not None and model.regnet.b == 1
    return plain and set(model.skeleton.strides) == {2}


def trunk(model: Model) -> dict[str, Any]:
    """Return the keys of a trunk; an anynet has a `name`, RegNet parameters have none."""
    stem: dict[str, Any] = {
        "stem_type": "simple_stem_in" if model.skeleton.stem_stride == 2 else "res_stem_cifar",
        "stem_width": model.skeleton.stem_width,
        "block_type": "res_bottleneck_block",
        "use_se": model.body.se_ratio > 0,
    }
    if model.body.se_ratio:
        stem["se_ratio"] = model.body.se_ratio
    regnet = model.regnet
    if regnet is not None and by_parameters(model):
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
        "depths": list(model.body.depths),
        "widths": list(model.body.widths),
        "group_widths": list(model.body.group_widths),
        "bottleneck_multipliers": [1 / b for b in model.body.bottleneck_ratios],
        "strides": list(model.skeleton.strides),
    }
    return {**stages, **stem}


def check_trunk(data: dict[str, Any], path: Path, what: str, trunks: bool) -> None:
    """Hold a trunk's keys against ClassyVision's.

    Raises:
        InputError: A key is unknown or missing, or a value breaks a rule.
    """
    keys = dict(data)
    name = keys.pop("name", None)
    if name not in (None, "regnet", "anynet") or (trunks and name == "regnet"):
        raise InputError(
            f"{what}: {path}: name: {name!r}; a registered name may be another network"
        )
    validate(AnyNetKeys if name == "anynet" else RegNetKeys, keys, path, what)


def _files(model: Model) -> dict[str, str]:
    keys = trunk(model)
    data = {"name": keys.pop("name", "regnet"), **keys}
    data["heads"] = [
        {
            "name": "fully_connected",
            "unique_id": "default_head",
            "num_classes": model.skeleton.classes,
            "in_plane": model.body.widths[-1],
            "fork_block": f"block{model.body.num_stages}-{model.body.depths[-1] - 1}",
        }
    ]
    return {f"{identifier(model)}.json": json.dumps(data, indent=2) + "\n"}


def _check(model: Model, folder: Path) -> list[str]:
    path = folder / f"{identifier(model)}.json"
    data = json.loads(read_text(path, "classyvision"))
    (head,) = data.pop("heads")
    if head["in_plane"] != model.body.widths[-1]:
        raise InputError(f"{path}: heads.in_plane is not the trunk's last width")
    check_trunk(data, path, "classyvision", trunks=False)
    return ["keys are ClassyVision's", f"head takes {head['in_plane']} channels"]


CLASSYVISION = Target("classyvision", None, same, _files, check=_check)
