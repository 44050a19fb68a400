"""timm's ResNet: ResNets and ResNeXts of bottleneck and residual-basic blocks.

Its stem is a 7x7 convolution of 64 channels with a max-pool, and its four stages have strides 1, 2,
2 and 2. Bottlenecks are 4 times as wide outside as their `planes`, whose share inside (`base_width`
of 64, times the number of groups) and number of groups (`cardinality`) are those of all stages.
"""

from dataclasses import replace
from math import floor

from designspace.arch import BOTTLENECK, Body, Model
from designspace.errors import InputError
from designspace.export.timm_network import TimmNetwork, settings_code

_STAGES = 4
_STEM_WIDTH = 64
_EXPANSION = 4
_BASE = 64


def represent(model: Model) -> Model:
    """Return the nearest model that timm's ResNet represents.

    Raises:
        InputError: There is none.
    """
    body = model.body
    if body.num_stages != _STAGES:
        raise InputError(
            f"timm builds ResNets of {_STAGES} stages; {model.name} has {body.num_stages}"
        )
    if body.se_ratio:
        raise InputError(
            f"timm's ResNet has squeeze-and-excitation behind a block's last convolution; "
            f"{model.name} has it behind the 3x3 convolution"
        )
    if body.block == BOTTLENECK:
        body = _bottlenecks(body)
    skeleton = replace(model.skeleton, stem_width=_STEM_WIDTH, strides=(1, 2, 2, 2), head_width=0)
    return Model(model.name, body, skeleton, None, model.provenance)


def _bottlenecks(body: Body) -> Body:
    """Return the stages that timm computes from the first stage's groups and share inside."""
    planes = [max(1, round(width / _EXPANSION)) for width in body.widths]
    cardinality, base_width = _groups(body)
    groups = [max(1, floor(count * (base_width / _BASE))) for count in planes]
    inner = [count * cardinality for count in groups]
    widths = [count * _EXPANSION for count in planes]
    ratios = [
        b if width == old and round(old / b) == v else width / v
        for b, old, width, v in zip(body.bottleneck_ratios, body.widths, widths, inner, strict=True)
    ]
    return replace(
        body,
        widths=tuple(widths),
        bottleneck_ratios=tuple(ratios),
        group_widths=tuple(groups),
    )


def _groups(body: Body) -> tuple[int, float]:
    """Return timm's `cardinality` and `base_width` of a network, from its first stage."""
    group_width = body.group_widths[0]
    cardinality = round(body.widths[0] / body.bottleneck_ratios[0]) // group_width
    base_width = group_width * _BASE * _EXPANSION / body.widths[0]
    return cardinality, int(base_width) if base_width.is_integer() else base_width


def code(model: Model) -> TimmNetwork:
    """Return the code of the network of the nearest model."""
    nearest = represent(model).body
    settings: dict[str, object] = {"layers": nearest.depths, "act_layer": nearest.activation}
    if nearest.block == BOTTLENECK:
        block = "Bottleneck"
        settings["channels"] = tuple(width // _EXPANSION for width in nearest.widths)
        settings["cardinality"], settings["base_width"] = _groups(model.body)
    else:
        block, settings["channels"] = "BasicBlock", nearest.widths
    return TimmNetwork(
        f"from timm.models.resnet import {block}, ResNet",
        settings_code(settings),
        (f"block={block}", "**(CFG | kwargs)"),
    )
