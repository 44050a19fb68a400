"""The names of blocks, stems and activations in pycls' configs."""

from designspace.arch.activation import Activation
from designspace.arch.skeleton import Stem

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
