"""What a pycls config states about a network besides its stages."""

from collections.abc import Mapping, Sequence
from typing import Any

from designspace.arch.activation import Activation
from designspace.arch.pycls_names import (
    ACTIVATIONS_OF_PYCLS,
    BLOCKS_OF_PYCLS,
    STEMS_OF_PYCLS,
    translate,
)


def read_block(kind: str, part: Mapping[str, Any]) -> str:
    """Return the block of a network.

    Args:
        kind: `REGNET` or `ANYNET`.
        part: What the config has under it.

    Raises:
        InputError: The block has no name here.
    """
    name = part.get("BLOCK_TYPE", "res_bottleneck_block")
    return translate(name, BLOCKS_OF_PYCLS, f"{kind}.BLOCK_TYPE")


def read_activation(model: Mapping[str, Any]) -> Activation:
    """Return the activation of a network, of what the config has under `MODEL`.

    Raises:
        InputError: The activation has no name here.
    """
    name = model.get("ACTIVATION_FUN", "relu")
    return translate(name, ACTIVATIONS_OF_PYCLS, "MODEL.ACTIVATION_FUN")


def read_input(
    kind: str, part: Mapping[str, Any], resolution: int, classes: int, strides: Sequence[int]
) -> dict[str, Any]:
    """Return input, stem, strides and head, as a space file has them under `input`.

    Args:
        kind: `REGNET` or `ANYNET`.
        part: What the config has under it: STEM_TYPE and STEM_W at least.
        resolution: Side of the images in pixels.
        classes: Number of classes.
        strides: Stride of each stage.

    Raises:
        InputError: The stem has no name here.
    """
    stem, stem_stride = translate(part["STEM_TYPE"], STEMS_OF_PYCLS, f"{kind}.STEM_TYPE")
    head_width = int(part.get("HEAD_W") or 0)
    return {
        "resolution": int(resolution),
        "classes": int(classes),
        **({} if stem == "conv3" else {"stem": stem}),
        "stem_width": int(part["STEM_W"]),
        "stem_stride": stem_stride,
        "strides": [int(stride) for stride in strides],
        **({"head_width": head_width} if head_width > 0 else {}),
    }
