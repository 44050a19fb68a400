"""What a model is: stages, RegNet parameters, cost, the published models. NumPy only."""

from designspace.arch.blocks import (
    BOTTLENECK,
    Block,
    BlockAxis,
    find_block,
    installed_blocks,
    require_bottleneck,
)
from designspace.arch.body import Body, BodyBatch, group_compatible
from designspace.arch.catalog import CATALOG, published
from designspace.arch.cost import Cost, cost, countable
from designspace.arch.model import NAME_PATTERN, Model, check_name, model_name
from designspace.arch.population import Population
from designspace.arch.quantity import format_quantity, parse_quantity
from designspace.arch.regnet import RegNetParams, RegNetParamsBatch, quantized_widths
from designspace.arch.skeleton import Skeleton

__all__ = [
    "BOTTLENECK",
    "CATALOG",
    "NAME_PATTERN",
    "Block",
    "BlockAxis",
    "Body",
    "BodyBatch",
    "Cost",
    "Model",
    "Population",
    "RegNetParams",
    "RegNetParamsBatch",
    "Skeleton",
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
