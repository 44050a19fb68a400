"""One network, whole: a name, its body, its frame, and the RegNet parameters behind it, if any."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from designspace.arch.blocks import BOTTLENECK
from designspace.arch.body import Body, BodyBatch
from designspace.arch.cost import Cost, cost
from designspace.arch.regnet import RegNetParams
from designspace.arch.skeleton import Skeleton
from designspace.errors import InputError

# Names stand in files, folders and code of many libraries.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$"


def model_name(*parts: object) -> str:
    """Return a name of a model that is made of others' names, whatever letters those have."""
    text = re.sub(r"[^A-Za-z0-9._@+-]+", "-", "-".join(map(str, parts))).strip("-._@+")
    return text[-100:].lstrip("-._@+") or "model"


def check_name(name: str) -> None:
    """Hold a name that a person chose against the pattern.

    Raises:
        InputError: It is none that all libraries' files can have.
    """
    if not re.match(NAME_PATTERN, name) or name.endswith("\n"):
        raise InputError(
            f"{name!r} can't name a network: letters, digits and ._@+- only, up to 100, a letter "
            "or digit first"
        )


@dataclass(frozen=True)
class Model:
    """A network that can be costed, built, derived from and exported.

    Attributes:
        name: What people call it.
        arch: The body: explicit stages.
        frame: Input, stem, strides, classes.
        regnet: The parameters that `body` comes from, or None for a free body.
        provenance: Where it comes from, as (what, value) pairs: space, seed, run, parent, rule.
    """

    name: str
    body: Body
    skeleton: Skeleton = field(default_factory=Skeleton)
    regnet: RegNetParams | None = None
    provenance: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.body.num_stages != self.skeleton.num_stages:
            raise InputError(
                f"{self.name}: {self.body.num_stages} stages but {self.skeleton.num_stages} "
                "strides; give one stride per stage"
            )
        if self.regnet is not None and self.regnet.body(self.body.se_ratio) != self.body:
            made = self.regnet.body(self.body.se_ratio)
            raise InputError(
                f"{self.name}: the RegNet parameters give depths {list(made.depths)} and widths "
                f"{list(made.widths)}, the explicit stages say {list(self.body.depths)} and "
                f"{list(self.body.widths)}; drop one of the two"
            )

    @staticmethod
    def from_regnet(
        name: str, regnet: RegNetParams, se_ratio: float = 0.0, skeleton: Skeleton | None = None
    ) -> "Model":
        """Make a model of RegNet parameters; without a frame, that of ImageNet at 224 pixels."""
        body = regnet.body(se_ratio)
        skeleton = skeleton or Skeleton(strides=(2,) * body.num_stages)
        return Model(name, body, skeleton, regnet)

    @property
    def cost(self) -> Cost:
        """Cost as arrays of one model."""
        return cost(BodyBatch.from_bodies([self.body]), self.skeleton)

    @property
    def flops(self) -> int:
        """Multiply-adds at the frame's resolution."""
        return int(self.cost.flops[0])

    @property
    def params(self) -> int:
        """Learnable numbers."""
        return int(self.cost.params[0])

    @property
    def acts(self) -> int:
        """Output elements of convolutions and linear layers."""
        return int(self.cost.acts[0])

    def at(self, resolution: int | None = None, classes: int | None = None) -> "Model":
        """Return the same network for another input size or number of classes."""
        skeleton = replace(
            self.skeleton,
            resolution=self.skeleton.resolution if resolution is None else resolution,
            classes=self.skeleton.classes if classes is None else classes,
        )
        return replace(self, skeleton=skeleton)

    def summary(self) -> dict[str, Any]:
        """Return name, frame, cost and stages as plain data, as `complexity --json` prints them.

        Another block than RegNet's has `block` and `extras` (its axes) in place of RegNet's own.
        """
        bodies = self.body.to_dict()
        if self.body.block != BOTTLENECK:
            bodies = {key: bodies[key] for key in ("block", "depths", "widths", "extras")}
        return {
            "name": self.name,
            "resolution": self.skeleton.resolution,
            "classes": self.skeleton.classes,
            "flops": self.flops,
            "params": self.params,
            "acts": self.acts,
            **bodies,
        }
