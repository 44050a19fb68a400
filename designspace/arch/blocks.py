"""What a stage is made of: RegNet's bottleneck, or a block that another package brings.

A package brings a block through an entry point of the group `designspace.blocks`:

    [project.entry-points."designspace.blocks"]
    inverted-residual = "their_package.module:BLOCK"

where `BLOCK` is a `Block`. A space names it (`block: inverted-residual`) and gives distributions to
its axes; sampling, costs, training, analysis and reports then work on it as on any other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from designspace.errors import InputError, nearest, shortened

if TYPE_CHECKING:
    from designspace.arch.cost import Cost
    from designspace.arch.frame import Frame
    from designspace.arch.model import Model
    from designspace.arch.stages import Stages

BOTTLENECK = "bottleneck"
_GROUP = "designspace.blocks"


@dataclass(frozen=True)
class BlockAxis:
    """A parameter that each stage has beside its depth d and width w.

    Attributes:
        name: A letter or a word, as it stands in spaces, tables and findings.
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
        if not self.name.isidentifier() or self.name in ("d", "w", "b", "g", "w_0", "w_a", "w_m"):
            raise InputError(
                f"{self.name!r} can't name an axis of a block: a word of letters and digits other "
                "than d, w, b, g and RegNet's"
            )
        if not self.low <= self.high:
            raise InputError(f"axis {self.name}: low {self.low:g} is above high {self.high:g}")


@dataclass(frozen=True)
class Block:
    """A block of one's own: its axes, its cost and its network.

    Attributes:
        name: As spaces name it.
        about: What it is and where it comes from, for people.
        axes: The parameters of a stage beside depth and width.
        cost: Counts what whole networks of such blocks cost, stem and classifier included, for
            all bodies at once: arrays `depths` and `widths`, and `extras[axis]` for each axis,
            all (n, stages), give three int64 arrays (n,) in the convention of `arch.cost`.
        network: Builds the torch network of a model: images (n, 3, side, side) to logits
            (n, classes). The flag asks for residual branches that start at zero (Goyal et al.
            2017, §5.1), where there are any. Import torch inside it: counting must not need it.
    """

    name: str
    about: str
    axes: tuple[BlockAxis, ...]
    cost: "Callable[[Stages, Frame], Cost]"
    network: "Callable[[Model, bool], Any]"


def installed_blocks() -> list[str]:
    """Return the names of all blocks, RegNet's first."""
    return [BOTTLENECK, *sorted(entry.name for entry in metadata.entry_points(group=_GROUP))]


@cache
def find_block(name: str) -> Block:
    """Load a block that another package brings.

    Raises:
        InputError: No installed package brings it, or what one brings is no block of that name.
    """
    entries = metadata.entry_points(group=_GROUP, name=name)
    if not entries:
        raise InputError(
            f"no installed package brings the block {shortened(repr(name))}: "
            f"{nearest(name, installed_blocks())}; packages bring blocks through the entry-point "
            f"group {_GROUP}"
        )
    entry = next(iter(entries))
    where = f"block {name}: the entry point {entry.value}"
    try:
        block = entry.load()
    except Exception as error:  # another's code, which may fail in any way
        raise InputError(f"{where} can't be loaded: {type(error).__name__}: {error}") from None
    if not isinstance(block, Block) or block.name != name:
        raise InputError(f"{where} must be a designspace.arch.Block of the same name")
    return block


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
