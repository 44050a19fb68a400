"""timm's EfficientNet: networks of mbconv blocks with a 3x3 stem, such as MobileNetV2's.

Its stem has stride 2. Widths inside blocks, the input's times t, are rounded to multiples of 8;
other widths stay as they are with `round_chs_fn=int`.
"""

import json
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

from designspace.arch import Model
from designspace.errors import InputError
from designspace.export.timm_network import TimmNetwork, settings_code

_MULTIPLE = 8
_OUTPUT_STRIDE = 32  # beyond it, timm dilates in place of striding, unless the number is stated


@dataclass(frozen=True)
class _Block:
    """Channels in and out, expansion, side of the kernel, and channels of the squeeze, if any."""

    width_in: int
    width: int
    t: int
    k: int
    squeeze_width: int


def represent(model: Model) -> Model:
    """Return the nearest model that timm's EfficientNet represents.

    Raises:
        InputError: timm would round widths inside blocks.
    """
    rounded = []
    for i, stage in enumerate(_blocks(model), start=1):
        for width, t in dict.fromkeys((block.width_in, block.t) for block in stage):
            if t != 1 and width * t % _MULTIPLE:
                rounded.append(f"stage {i}: {width} x {t} = {width * t}")
    if rounded:
        raise InputError(
            f"timm's EfficientNet rounds widths inside blocks, those of their inputs times t, to "
            f"multiples of {_MULTIPLE}; {model.name} has others ({'; '.join(rounded)})"
        )
    skeleton = replace(model.skeleton, stem_stride=2)
    return Model(model.name, model.body, skeleton, None, model.provenance)


def code(model: Model) -> TimmNetwork:
    """Return the code of the network of the nearest model."""
    skeleton = model.skeleton
    stages = [
        _stage(blocks, stride, model.body.se_ratio)
        for blocks, stride in zip(_blocks(model), skeleton.strides, strict=True)
    ]
    lines = "".join(f"    {json.dumps(stage)},\n" for stage in stages)
    settings: dict[str, object] = {
        "num_features": skeleton.head_width,
        "stem_size": skeleton.stem_width,
        "act_layer": model.body.activation,
    }
    if (output_stride := 2 * prod(skeleton.strides)) > _OUTPUT_STRIDE:
        settings["output_stride"] = output_stride
    levels = tuple(range(1 + sum(stride == 2 for stride in skeleton.strides)))
    return TimmNetwork(
        "from timm.models._efficientnet_builder import decode_arch_def\n"
        "from timm.models.efficientnet import EfficientNet",
        f"BLOCKS = [\n{lines}]\n{settings_code(settings)}",
        (
            f'feature_cfg={{"out_indices": {levels}, "flatten_sequential": True}}',
            "block_args=decode_arch_def(BLOCKS)",
            "round_chs_fn=int",
            "**(CFG | kwargs)",
        ),
    )


def _blocks(model: Model) -> list[list[_Block]]:
    """Return the blocks of each stage."""
    body, axes = model.body, dict(model.body.extras)
    stages, width_in = [], model.skeleton.stem_width
    for i, (depth, width) in enumerate(zip(body.depths, body.widths, strict=True)):
        t, k = int(axes["t"][i]), int(axes["k"][i])
        first, other = model.squeeze_widths[i]
        blocks = [_Block(width_in, width, t, k, first)]
        stages.append(blocks + [_Block(width, width, t, k, other)] * (depth - 1))
        width_in = width
    return stages


def _stage(blocks: list[_Block], stride: int, se_ratio: float) -> list[str]:
    """Return timm's descriptions of the blocks of a stage, one for each run of equal ones."""
    result: list[str] = []
    for (kind, rest), equal in groupby(_describe(block, se_ratio) for block in blocks):
        result.append(f"{kind}_r{len(list(equal))}_s{1 if result else stride}_{rest}")
    return result


def _describe(block: _Block, se_ratio: float) -> tuple[str, str]:
    """Return the type of a block in timm, and its kernel, expansion, width and squeeze ratio."""
    t, squeeze = block.t, block.squeeze_width
    kind, expansion = ("ds", "") if t == 1 else ("ir", f"e{t}_")
    text = f"k{block.k}_{expansion}c{block.width}"
    if not squeeze:
        return kind, text
    # timm rounds (width in * t) * (ratio / t), which may round a tie differently.
    exact = round(block.width_in * t * (se_ratio / t)) == squeeze
    return kind, f"{text}_se{float(se_ratio if exact else squeeze / block.width_in)!r}"
