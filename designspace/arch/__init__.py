"""What a model is: stages, RegNet parameters, cost, the published models. NumPy only."""

from designspace.arch.blocks import (
    BOTTLENECK,
    Block,
    BlockAxis,
    find_block,
    installed_blocks,
    require_bottleneck,
)
from designspace.arch.body import Arch, Stages, group_compatible
from designspace.arch.catalog import CATALOG, published
from designspace.arch.cost import Cost, cost, countable
from designspace.arch.model import NAME_PATTERN, Model, check_name, model_name
from designspace.arch.population import Population
from designspace.arch.quantity import format_quantity, parse_quantity
from designspace.arch.regnet import RegNet, RegNets, quantized_widths
from designspace.arch.skeleton import Frame

__all__ = [
    "BOTTLENECK",
    "CATALOG",
    "NAME_PATTERN",
    "Arch",
    "Block",
    "BlockAxis",
    "Cost",
    "Frame",
    "Model",
    "Population",
    "RegNet",
    "RegNets",
    "Stages",
    "check_name",
    "cost",
    "countable",
    "find_block",
    "format_quantity",
    "group_compatible",
    "installed_blocks",
    "model_name",
    "parse_quantity",
    "published",
    "quantized_widths",
    "require_bottleneck",
]
