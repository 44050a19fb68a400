"""One network, whole: a name, its body, its frame, and the RegNet parameters behind it, if any."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from designspace.arch.blocks import BOTTLENECK
from designspace.arch.body import Arch, Stages
from designspace.arch.cost import Cost, cost
from designspace.arch.regnet import RegNet
from designspace.arch.skeleton import Frame
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
        regnet: The parameters that `arch` comes from, or None for a free body.
        provenance: Where it comes from, as (what, value) pairs: space, seed, run, parent, rule.
    """

    name: str
    arch: Arch
    frame: Frame = field(default_factory=Frame)
    regnet: RegNet | None = None
    provenance: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.arch.num_stages != self.frame.num_stages:
            raise InputError(
                f"{self.name}: {self.arch.num_stages} stages but {self.frame.num_stages} strides; "
                "give one stride a stage"
            )
        if self.regnet is not None and self.regnet.arch(self.arch.se_ratio) != self.arch:
            made = self.regnet.arch(self.arch.se_ratio)
            raise InputError(
                f"{self.name}: the RegNet parameters give depths {list(made.depths)} and widths "
                f"{list(made.widths)}, the explicit stages say {list(self.arch.depths)} and "
                f"{list(self.arch.widths)}; drop one of the two"
            )

    @staticmethod
    def from_regnet(
        name: str, regnet: RegNet, se_ratio: float = 0.0, frame: Frame | None = None
    ) -> "Model":
        """Make a model of RegNet parameters; without a frame, that of ImageNet at 224 pixels."""
        arch = regnet.arch(se_ratio)
        frame = frame or Frame(strides=(2,) * arch.num_stages)
        return Model(name, arch, frame, regnet)

    @property
    def cost(self) -> Cost:
        """Cost as arrays of one model."""
        return cost(Stages.from_archs([self.arch]), self.frame)

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
        frame = replace(
            self.frame,
            resolution=self.frame.resolution if resolution is None else resolution,
            classes=self.frame.classes if classes is None else classes,
        )
        return replace(self, frame=frame)

    def summary(self) -> dict[str, Any]:
        """Return name, frame, cost and stages as plain data, as `complexity --json` prints them.

        Another block than RegNet's has `block` and `extras` (its axes) in place of RegNet's own.
        """
        stages = self.arch.to_dict()
        if self.arch.block != BOTTLENECK:
            stages = {key: stages[key] for key in ("block", "depths", "widths", "extras")}
        return {
            "name": self.name,
            "resolution": self.frame.resolution,
            "classes": self.frame.classes,
            "flops": self.flops,
            "params": self.params,
            "acts": self.acts,
            **stages,
        }
