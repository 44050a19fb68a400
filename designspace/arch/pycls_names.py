"""The names of blocks, stems and activations in pycls' configs."""

from collections.abc import Mapping
from typing import Any, TypeVar

from designspace.arch.activation import Activation
from designspace.arch.skeleton import Stem
from designspace.errors import InputError, nearest

_Ours = TypeVar("_Ours")

# By our names, and by stem and its stride.
PYCLS_BLOCKS = {
    "bottleneck": "res_bottleneck_block",
    "vanilla": "vanilla_block",
    "residual-basic": "res_basic_block",
    "linear-bottleneck": "res_bottleneck_linear_block",
}
PYCLS_STEMS: dict[tuple[Stem, int], str] = {
    ("conv3", 2): "simple_stem_in",
    ("conv3", 1): "res_stem_cifar",
    ("conv7_pool", 4): "res_stem_in",
}
# By pycls' names.
BLOCKS_OF_PYCLS = {theirs: ours for ours, theirs in PYCLS_BLOCKS.items()}
STEMS_OF_PYCLS = {theirs: ours for ours, theirs in PYCLS_STEMS.items()}
ACTIVATIONS_OF_PYCLS: dict[str, Activation] = {
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
}


def translate(value: Any, names: Mapping[str, _Ours], key: str) -> _Ours:
    """Return what a value of a config is called here.

    Raises:
        InputError: It has no name here; the message begins with its key.
    """
    if value not in names:
        raise InputError(f"{key} is {value!r}; {nearest(str(value), list(names))}")
    return names[value]
