"""One complete network: name, body, skeleton, and the RegNet parameters behind it, if any."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from numbers import Integral
from typing import Any, Self

from designspace.arch.blocks import BOTTLENECK, activations_of, body_axes, has_squeeze
from designspace.arch.body import Body, BodyBatch
from designspace.arch.cost import Cost, cost
from designspace.arch.regnet import RegNetParams
from designspace.arch.skeleton import Skeleton
from designspace.errors import InputError


@dataclass(frozen=True)
class Model:
    """A network that can be costed, built, derived from and exported.

    Attributes:
        name: Its name.
        body: The explicit stages.
        skeleton: Input, stem, strides and classes.
        regnet: The parameters that `body` comes from, or None for an AnyNet.
        provenance: Where it comes from, as (key, value) pairs: space, seed, run, parent, rule.
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
        if self.regnet is None:
            return
        body = self.body
        implied = replace(
            self.regnet.body(body.se_ratio),
            block=body.block,
            extras=body.extras,
            activation=body.activation,
        )
        if implied != self.body:
            raise InputError(
                f"{self.name}: the RegNet parameters give depths {list(implied.depths)} and widths "
                f"{list(implied.widths)}, the explicit stages say {list(self.body.depths)} and "
                f"{list(self.body.widths)}; drop one of the two"
            )

    @staticmethod
    def from_regnet(
        name: str,
        regnet: RegNetParams,
        se_ratio: float = 0.0,
        skeleton: Skeleton | None = None,
        like: Body | None = None,
    ) -> "Model":
        """Make a model of RegNet parameters.

        Args:
            name: Its name.
            regnet: The parameters.
            se_ratio: Squeeze-and-excitation ratio.
            skeleton: What surrounds the stages; by default ImageNet's at 224 pixels.
            like: A body whose block, its own axes (those of the first stage) and activation are
                taken; by default RegNet's block with ReLU.
        """
        body = regnet.body(se_ratio)
        if like is not None:
            extras = tuple((axis, values[:1] * body.num_stages) for axis, values in like.extras)
            body = replace(body, block=like.block, extras=extras, activation=like.activation)
        skeleton = skeleton or Skeleton(strides=(2,) * body.num_stages)
        return Model(name, body, skeleton, regnet)

    @property
    def cost(self) -> Cost:
        """Cost as arrays of one model."""
        return cost(BodyBatch.from_bodies([self.body]), self.skeleton)

    @property
    def output_width(self) -> int:
        """Channels of the pooled features: the head's, or those of the last stage."""
        return self.skeleton.head_width or self.body.widths[-1]

    @property
    def is_regnet_network(self) -> bool:
        """Whether it is what other libraries call a RegNet: RegNet's block with ReLU, a 3x3 stem,
        and no convolution between stages and pooling.
        """
        return (
            self.body.block == BOTTLENECK
            and self.body.activation == "relu"
            and self.skeleton.stem == "conv3"
            and not self.skeleton.head_width
        )

    @property
    def squeeze_widths(self) -> tuple[tuple[int, int], ...]:
        """Squeeze widths of the first and of the other blocks of each stage.

        A block has squeeze-and-excitation only where the width is not 0, as in pycls.
        """
        widths = (self.skeleton.stem_width, *self.body.widths)
        ratio = self.body.se_ratio
        return tuple((round(ratio * w_in), round(ratio * w)) for w_in, w in pairwise(widths))

    @property
    def flops(self) -> int:
        """Multiply-adds at the skeleton's resolution."""
        return int(self.cost.flops[0])

    @property
    def params(self) -> int:
        """Learnable numbers."""
        return int(self.cost.params[0])

    @property
    def acts(self) -> int:
        """Output elements of convolutions and linear layers."""
        return int(self.cost.acts[0])

    def at(
        self, resolution: int | None = None, classes: int | None = None, channels: int | None = None
    ) -> Self:
        """Return the same network for another input or number of classes; None leaves a value.

        Unless only classes differ, its nominal regime of flops is dropped.
        """
        changes = {"resolution": resolution, "classes": classes, "channels": channels}
        new: dict[str, Any] = {
            key: int(value) if isinstance(value, Integral) else value
            for key, value in changes.items()
            if value is not None
        }
        return self.with_skeleton(replace(self.skeleton, **new))

    def with_skeleton(self, skeleton: Skeleton) -> Self:
        """Return the same stages in another skeleton; see `at`.

        Raises:
            InputError: The skeleton has another number of stages.
        """
        same_cost = replace(skeleton, classes=self.skeleton.classes) == self.skeleton
        kept = tuple(pair for pair in self.provenance if same_cost or pair[0] != "regime")
        return replace(self, skeleton=skeleton, provenance=kept)

    def summary(self) -> dict[str, Any]:
        """Return name, input, cost and stages as plain data.

        RegNet's block has `activation` where it is not `relu`. Another block has `block`, `extras`
        (its axes), and `bottleneck_ratios`, `group_widths`, `se_ratio` and `activation` if it uses
        them.
        """
        block = self.body.block
        bodies = self.body.to_dict()
        if block != BOTTLENECK:
            used = {
                "bottleneck_ratios": "b" in body_axes(block),
                "group_widths": "g" in body_axes(block),
                "se_ratio": has_squeeze(block),
                "activation": bool(activations_of(block)),
            }
            bodies["activation"] = self.body.activation
            bodies = {key: value for key, value in bodies.items() if used.get(key, True)}
        return {
            "name": self.name,
            "resolution": self.skeleton.resolution,
            **({"channels": self.skeleton.channels} if self.skeleton.channels != 3 else {}),
            "classes": self.skeleton.classes,
            "flops": self.flops,
            "params": self.params,
            "acts": self.acts,
            **bodies,
        }
