"""What a stage is made of: RegNet's bottleneck, another block that ships, or one of your own.

A block of your own is a `Block`, as the others that ship are (`designspace.blocks`).
`register_block` adds it to this process, `arch.plugins` those of a Python file, and a package adds
one through an entry point of the group `designspace.blocks`:

    [project.entry-points."designspace.blocks"]
    inverted-residual = "their_package.module:BLOCK"

A space names it (`block: inverted-residual`) and gives distributions to its axes; sampling, costs,
training, analysis and reports then work as on any other space.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Annotated, Any, Literal

from pydantic import Field, InstanceOf

from designspace.arch.activation import ACTIVATIONS, Activation
from designspace.arch.valid_names import check_name
from designspace.errors import InputError, nearest, shortened
from designspace.io.validation import check_fields

BOTTLENECK = "bottleneck"
_GROUP = "designspace.blocks"
# The blocks that ship are loaded as those of packages are.
_SHIPPED = {
    name: metadata.EntryPoint(name, f"designspace.blocks.{name.replace('-', '_')}:BLOCK", _GROUP)
    for name in ("vanilla", "residual-basic", "linear-bottleneck", "mbconv", "convnext")
}
# RegNet's axes, and the other columns of tables of models.
_RESERVED = (
    *("d", "w", "b", "g", "w_0", "w_a", "w_m"),
    *("flops", "params", "acts", "id", "index", "state", "error", "seconds", "activation"),
    # Settings of the training that a space draws, and other columns of tables.
    *("stages", "lr", "weight_decay", "label_smoothing", "epochs", "batch_size", "se_ratio"),
    *("status", "seed", "split", "reason", "device", "latency", "memory"),
    *("population", "name", "space", "counted", "rank", "latency_low", "latency_high"),
)
_Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]


@dataclass(frozen=True)
class BlockAxis:
    """A parameter of each stage, besides its depth d and width w.

    Example:
        >>> import designspace as ds
        >>> ds.BlockAxis("t", "expansion", 1, 12).whole
        True

    Attributes:
        name: A letter or a word, for spaces, tables and findings. There, `t2` is axis t of stage 2,
            so a name does not end with a digit.
        about: What it is, for messages.
        low: The smallest sensible value.
        high: The largest sensible value.
        whole: Whether it takes whole numbers only.
        odd: Whether it takes odd numbers only, as the side of a kernel does.
    """

    name: str
    about: str
    low: _Finite
    high: _Finite
    whole: bool = True
    odd: bool = False

    def __post_init__(self) -> None:
        name = self.name
        word = isinstance(name, str) and name.isidentifier() and name.isascii()
        if not word or name in _RESERVED or name[-1].isdigit():
            raise InputError(
                f"{shortened(repr(name))} can't name an axis of a block: it must be a word of "
                "letters, digits and _ that does not end with a digit, and none of "
                + ", ".join(_RESERVED)
            )
        check_fields(self, f"axis {name}: ")
        if self.low > self.high:
            raise InputError(f"axis {name}: low {self.low:g} is above high {self.high:g}")

    def check(self, value: float) -> None:
        """Raise ValueError unless a stage may have the value."""
        if self.whole and not float(value).is_integer():
            raise ValueError(f"{self.about}: must be a whole number; found {value:g}")
        if self.odd and value % 2 != 1:
            raise ValueError(f"{self.about}: must be odd; found {value:g}")
        if not self.low <= value <= self.high:
            raise ValueError(
                f"{self.about}: must be {self.low:g} to {self.high:g}; found {value:g}"
            )


@dataclass(frozen=True)
class Block:
    """A block of your own: its axes, its network and, optionally, its cost.

    `cost(bodies, skeleton)` counts n networks at once. Without it, networks are built on torch's
    `meta` device and counted there, layer by layer, which takes some milliseconds each. `bodies` is
    a `BodyBatch`: the arrays `depths` and `widths` (int64) and, for each axis, `extras[axis]`
    (float64), all (n, stages) and read-only. `skeleton` is the `Skeleton` that all n networks
    share: `resolution` (pixels),
    `channels` of the image, `classes`, `stem_width` (channels), `stem_stride`, `strides` (one a
    stage) and `stage_resolutions()`, the side of the map after the stem, then after each stage.
    It returns a `Cost(flops, params, acts)` of three int64 arrays (n,): multiply-adds of all
    convolutions and matrix products, those of attention too (half of what torch's `FlopCounterMode`
    counts), with the bias additions of convolutions and linear layers; learnable numbers; and
    output elements of convolutions and linear layers. They are of whole networks, stem and
    classifier included.

    `network(model, zero_init_residual)` builds one network in torch. `model` is a `Model`:
    `model.skeleton` as above, and `model.body` with tuples of one value a stage: `depths`, `widths`
    and `dict(model.body.extras)[axis]`. It returns a `torch.nn.Module` that turns images
    (n, channels, resolution, resolution) into logits (n, classes) and has exactly the parameters
    that `cost` counts. With `zero_init_residual`, residual branches start at zero (Goyal et al.
    2017, §5.1), where there are any. Import torch inside it: counting must not need it.

    Example:
        >>> import designspace as ds
        >>> def cost(bodies, skeleton): ...
        >>> def network(model, zero_init_residual): ...
        >>> ds.Block("plain", "Two 3x3 convolutions.", (), cost, network).name
        'plain'

    Attributes:
        name: Its name in spaces, and that of the entry point.
        about: What it is and where it comes from.
        axes: The parameters of a stage besides depth and width; may be empty.
        cost: Counts networks; see above. None counts the built networks.
        network: Builds one; see above.
        body_axes: Which of RegNet's axes b and g its stages have too: `body.bottleneck_ratios`,
            `body.group_widths`.
        squeeze: Whether it may have squeeze-and-excitation, of ratio `body.se_ratio`.
        activations: Values of `body.activation` that it supports, its usual one first; none where
            the block itself decides.
    """

    name: str
    about: str
    axes: Annotated[tuple[InstanceOf[BlockAxis], ...], Field(strict=True)]
    cost: Callable[..., Any] | None
    network: Callable[..., Any]
    body_axes: tuple[Literal["b", "g"], ...] = ()
    squeeze: bool = False
    activations: tuple[Activation, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name, "a block")
        if self.name == BOTTLENECK:
            raise InputError(f"the name {BOTTLENECK} is that of RegNet's block; choose another")
        check_fields(self, f"block {self.name}: ")
        names = [axis.name for axis in self.axes]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"block {self.name}: duplicate axis {name}")


_registered: dict[str, Block] = {}


def register_block(block: Block) -> Block:
    """Make a block available to this process, replacing one of the same name registered before.

    Worker processes get it with their tasks.

    Returns:
        The block.

    Raises:
        InputError: It is not a `Block`, or an installed package has one of the same name.

    Example:
        >>> import designspace as ds
        >>> def cost(bodies, skeleton): ...
        >>> def network(model, zero_init_residual): ...
        >>> axes = (ds.BlockAxis("t", "expansion", 1, 12),)
        >>> ds.register_block(ds.Block("mine", "An example.", axes, cost, network)).name
        'mine'
    """
    if not isinstance(block, Block):
        raise InputError(f"block is {shortened(repr(block))}; it must be a Block", "block")
    if block.name in _SHIPPED and find_block(block.name) is not block:
        raise InputError(f"block {block.name}: one that ships has this name; rename it")
    if _entry_points(block.name) and _installed_block(block.name) is not block:
        raise InputError(
            f"block {block.name}: an installed package has one of this name; rename it"
        )
    _registered[block.name] = block
    return block


def registered_block(name: str) -> Block | None:
    """Return the block that was registered in this process by that name, or None."""
    return _registered.get(name)


def unregister_block(name: str) -> None:
    """Undo `register_block`; a name that is not registered is ignored."""
    _registered.pop(name, None)


def installed_blocks() -> tuple[list[str], list[str]]:
    """Load all blocks: those that ship, the registered ones and those of installed packages.

    Returns:
        The usable names, RegNet's first, and why each of the others can't be used.
    """
    # A plugin file that imports a block that ships registers it too.
    usable, problems = [BOTTLENECK, *_SHIPPED, *sorted(_registered.keys() - _SHIPPED)], []
    installed = {entry.name for entry in metadata.entry_points(group=_GROUP)}
    for name in sorted(installed - set(_registered)):
        try:
            usable.append(_installed_block(name).name)
        except InputError as error:
            problems.append(str(error))
    return usable, problems


def find_block(name: str) -> Block:
    """Return a registered block, or one that ships or is of an installed package.

    Raises:
        InputError: There is none of that name, several packages have one, or it can't be loaded.
    """
    return _registered[name] if name in _registered else _installed_block(name)


@cache
def _installed_block(name: str) -> Block:
    entries = _entry_points(name)
    if not entries:
        raise InputError(
            f"no block {shortened(repr(name))}: {nearest(name, installed_blocks()[0])}; register "
            f"yours, load its plugin file, or install a package with an entry point in {_GROUP}"
        )
    where = f"block {name}: the entry point {' and '.join(map(_origin, entries))}"
    if name == BOTTLENECK:
        raise InputError(f"{where} has the name of RegNet's own block; rename it")
    if name in _SHIPPED and len(entries) > 1:
        raise InputError(f"{where}: one that ships has this name; rename the other")
    if len(entries) > 1:
        raise InputError(f"{where} have the same name; uninstall all but one, or rename one")
    try:
        block = entries[0].load()
    except InputError as error:
        raise InputError(f"{where} is not a block: {error}") from error
    except (Exception, SystemExit) as error:  # another's code may fail in any way
        raise InputError(f"{where} can't be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(block, Block):
        raise InputError(f"{where} must be a Block; found {shortened(repr(block))}")
    if block.name != name:
        raise InputError(f"{where} must be a block of the same name; found {block.name}")
    return block


def _entry_points(name: str) -> list[metadata.EntryPoint]:
    shipped = [_SHIPPED[name]] if name in _SHIPPED else []
    return shipped + sorted(metadata.entry_points(group=_GROUP, name=name), key=_origin)


def _origin(entry: metadata.EntryPoint) -> str:
    return entry.value + (f" of {entry.dist.name}" if entry.dist else "")


def is_shipped(name: str) -> bool:
    """Return whether a block other than RegNet's comes with this package."""
    return name in _SHIPPED


def body_axes(name: str) -> tuple[str, ...]:
    """Return which of RegNet's axes b and g the stages of a block have."""
    return ("b", "g") if name == BOTTLENECK else find_block(name).body_axes


def has_squeeze(name: str) -> bool:
    """Return whether a block may have squeeze-and-excitation."""
    return name == BOTTLENECK or find_block(name).squeeze


def activations_of(name: str) -> tuple[Activation, ...]:
    """Return the activations that a block supports, its usual one first."""
    return ACTIVATIONS if name == BOTTLENECK else find_block(name).activations


def block_axes(name: str) -> tuple[BlockAxis, ...]:
    """Return a block's own axes; RegNet's has none."""
    return () if name == BOTTLENECK else find_block(name).axes


def require_bottleneck(block: str, purpose: str) -> None:
    """Raise unless the block is RegNet's.

    Raises:
        InputError: It is another; the message begins with the purpose.
    """
    if block != BOTTLENECK:
        raise InputError(
            f"{purpose} supports RegNet's bottleneck block only, and these networks are made of "
            f"{block} blocks"
        )
