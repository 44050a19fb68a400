"""What a network is: body, skeleton, RegNet parameters, blocks, cost, the published models."""

from designspace.arch.activation import ACTIVATIONS
from designspace.arch.blocks import (
    BOTTLENECK,
    Block,
    BlockAxis,
    activations_of,
    block_axes,
    body_axes,
    find_block,
    has_squeeze,
    installed_blocks,
    is_shipped,
    register_block,
    registered_block,
    require_bottleneck,
    unregister_block,
)
from designspace.arch.body import Body, BodyBatch, group_compatible
from designspace.arch.catalog import CATALOG, published
from designspace.arch.cost import MEASURES, Cost, cost, countable
from designspace.arch.model import Model
from designspace.arch.population import Population
from designspace.arch.regnet import REGNET_AXES, RegNetParams, RegNetParamsBatch, quantized_widths
from designspace.arch.skeleton import Skeleton
from designspace.arch.unit_suffix import (
    format_measured,
    format_quantity,
    parse_measured,
    parse_quantity,
)
from designspace.arch.valid_names import NAME_PATTERN, check_name, model_name

__all__ = [
    "ACTIVATIONS",
    "BOTTLENECK",
    "CATALOG",
    "MEASURES",
    "NAME_PATTERN",
    "REGNET_AXES",
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
    "activations_of",
    "block_axes",
    "body_axes",
    "check_name",
    "cost",
    "countable",
    "find_block",
    "format_measured",
    "format_quantity",
    "group_compatible",
    "has_squeeze",
    "installed_blocks",
    "is_shipped",
    "model_name",
    "parse_measured",
    "parse_quantity",
    "published",
    "quantized_widths",
    "register_block",
    "registered_block",
    "require_bottleneck",
    "unregister_block",
]
