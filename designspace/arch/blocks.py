"""What a stage is made of: RegNet's bottleneck, or a block that another package brings.

A package brings a block through an entry point of the group `designspace.blocks`:

    [project.entry-points."designspace.blocks"]
    inverted-residual = "their_package.module:BLOCK"

where `BLOCK` is a `Block`. A space names it (`block: inverted-residual`) and gives distributions to
its axes; sampling, costs, training, analysis and reports then work on it as on any other.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from numbers import Real
from typing import TYPE_CHECKING, Any

from designspace.errors import InputError, nearest, shortened

if TYPE_CHECKING:
    from designspace.arch.body import BodyBatch
    from designspace.arch.cost import Cost
    from designspace.arch.model import Model
    from designspace.arch.skeleton import Skeleton

BOTTLENECK = "bottleneck"
# As a space's `block:` can name it.
BLOCK_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$"
_GROUP = "designspace.blocks"
# Of RegNet's axes, and of what stands beside an axis in the tables of models.
_TAKEN = (
    *("d", "w", "b", "g", "w_0", "w_a", "w_m"),
    *("flops", "params", "acts", "id", "index", "state", "error", "seconds"),
)


@dataclass(frozen=True)
class BlockAxis:
    """A parameter that each stage has beside its depth d and width w.

    Attributes:
        name: A letter or a word, as it stands in spaces, tables and findings. There, `t2` is axis t
            of stage 2, so a name ends with no digit.
        about: What it is, for people.
        low: The least value that makes sense.
        high: The largest.
        whole: Whether only whole numbers do.
    """

    name: str
    about: str
    low: float
    high: float
    whole: bool = True

    def __post_init__(self) -> None:
        name = self.name
        plain = isinstance(name, str) and name.isidentifier() and name.isascii()
        if not plain or name in _TAKEN or name[-1].isdigit():
            raise InputError(
                f"{shortened(repr(name))} can't name an axis of a block: it must be a word of "
                f"letters, digits and _ that ends with no digit, and none of {', '.join(_TAKEN)}"
            )
        if not isinstance(self.about, str):
            raise InputError(f"axis {name}: about must be text; found {_shown(self.about)}")
        for bound, value in (("low", self.low), ("high", self.high)):
            if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
                raise InputError(
                    f"axis {name}: {bound} must be a finite number; found {_shown(value)}"
                )
        if self.low > self.high:
            raise InputError(f"axis {name}: low {self.low:g} is above high {self.high:g}")


@dataclass(frozen=True)
class Block:
    """A block of one's own: its axes, its cost and its network.

    `cost(stages, skeleton)` counts n networks at once. `stages` is an `body.BodyBatch`: the arrays
    `depths` and `widths` (int64) and, for each axis, `extras[axis]` (float64), all (n, stages) and
    read-only. `skeleton` is an `body.Skeleton`, what lies around the stages of all n networks:
    `resolution` (pixels), `classes`, `stem_width` (channels), `stem_stride`, `strides` (one a
    stage) and `stage_resolutions()`, the side of the map after the stem, then after each stage.
    What it returns is an `body.Cost(flops, params, acts)` of three int64 arrays (n,): multiply-adds
    of convolutions and linear layers with their bias additions, all learnable numbers, output
    elements of convolutions and linear layers; of whole networks, stem and classifier included.

    `network(model, zero_init_residual)` builds one network in torch. `model` is an `body.Model`:
    `model.skeleton` as above, and `model.body` with tuples of one value a stage: `depths`, `widths`
    and `dict(model.body.extras)[axis]`. What it returns is a `torch.nn.Module` that turns images
    (n, 3, resolution, resolution) into logits (n, classes) and has just the parameters that `cost`
    counts. With `zero_init_residual`, residual branches start at zero (Goyal et al. 2017, §5.1),
    where there are any. Import torch inside it: counting must not need it.

    Attributes:
        name: As spaces name it, and as the entry point is called.
        about: What it is and where it comes from, for people.
        axes: The parameters of a stage beside depth and width; may be empty.
        cost: Counts networks; see above.
        network: Builds one; see above.
    """

    name: str
    about: str
    axes: tuple[BlockAxis, ...]
    cost: "Callable[[BodyBatch, Skeleton], Cost]"
    network: "Callable[[Model, bool], Any]"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(BLOCK_PATTERN, self.name):
            raise InputError(
                f"{_shown(self.name)} can't name a block: it must be letters, digits and ._@-, up "
                "to 100, a letter or digit first"
            )
        if self.name == BOTTLENECK:
            raise InputError(f"the name {BOTTLENECK} is that of RegNet's block; choose another")
        if not isinstance(self.about, str):
            raise InputError(f"block {self.name}: about must be text; found {_shown(self.about)}")
        axes = self.axes
        if not isinstance(axes, tuple) or not all(isinstance(axis, BlockAxis) for axis in axes):
            raise InputError(
                f"block {self.name}: axes must be a tuple of BlockAxis; found {_shown(axes)}"
            )
        names = [axis.name for axis in axes]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"block {self.name}: the axis {name} stands twice; name each once")
        for what, given in (("cost", self.cost), ("network", self.network)):
            if not callable(given):
                raise InputError(
                    f"block {self.name}: {what} must be a function; found {_shown(given)}"
                )


def _shown(value: object) -> str:
    return shortened(repr(value))


def installed_blocks() -> tuple[list[str], list[str]]:
    """Load all blocks that packages bring.

    Returns:
        The names that a space can use, RegNet's first, and why each of the others can't be used.
    """
    usable, problems = [BOTTLENECK], []
    for name in sorted({entry.name for entry in metadata.entry_points(group=_GROUP)}):
        try:
            usable.append(find_block(name).name)
        except InputError as error:
            problems.append(str(error))
    return usable, problems


@cache
def find_block(name: str) -> Block:
    """Load a block that another package brings.

    Raises:
        InputError: No installed package brings it, several do, or what one brings is no block of
            that name.
    """
    entries = sorted(metadata.entry_points(group=_GROUP, name=name), key=_origin)
    if not entries:
        raise InputError(
            f"no installed package brings the block {shortened(repr(name))}: "
            f"{nearest(name, installed_blocks()[0])}; packages bring blocks through the "
            f"entry-point group {_GROUP}"
        )
    where = f"block {name}: the entry point {' and '.join(map(_origin, entries))}"
    if name == BOTTLENECK:
        raise InputError(f"{where} has the name of RegNet's own block, which stands; rename it")
    if len(entries) > 1:
        raise InputError(f"{where} have the same name; uninstall all but one, or rename one")
    try:
        block = entries[0].load()
    except InputError as error:
        raise InputError(f"{where} is no block: {error}") from error
    except (Exception, SystemExit) as error:  # another's code, which may fail in any way
        raise InputError(f"{where} can't be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(block, Block):
        raise InputError(f"{where} must be a designspace.arch.Block; found {_shown(block)}")
    if block.name != name:
        raise InputError(f"{where} must be a block of the same name; found {block.name}")
    return block


def _origin(entry: metadata.EntryPoint) -> str:
    return entry.value + (f" of {entry.dist.name}" if entry.dist else "")


def require_bottleneck(block: str, purpose: str) -> None:
    """Refuse what is known of RegNet's block alone.

    Raises:
        InputError: The block is another.
    """
    if block != BOTTLENECK:
        raise InputError(
            f"{purpose} knows RegNet's bottleneck block only, and these networks are made of "
            f"{block} blocks"
        )
