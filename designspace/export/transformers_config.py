"""transformers: a folder for `RegNetForImageClassification.from_pretrained`.

Its RegNets have one group width, bottleneck ratio 1, squeeze ratio 0 or 1/4, a stem of stride 2,
and stride 2 in every stage except, optionally, the first.
"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from designspace.arch import Body, Model
from designspace.export.target import Target

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "model.safetensors"


def transformers_config(model: Model) -> dict[str, Any]:
    """Return config.json as plain data."""
    body, skeleton = model.body, model.skeleton
    return {
        "architectures": ["RegNetForImageClassification"],
        "model_type": "regnet",
        "num_channels": skeleton.channels,
        "embedding_size": skeleton.stem_width,
        "hidden_sizes": list(_widths(body)),
        "depths": list(body.depths),
        "groups_width": _group_width(body),
        "layer_type": "y" if body.se_ratio else "x",
        "hidden_act": "relu",
        "downsample_in_first_stage": skeleton.strides[0] == 2,
        "num_labels": skeleton.classes,
        "name_or_path": model.name,
    }


def _represent(model: Model) -> Model:
    config = transformers_config(model)
    widths = tuple(config["hidden_sizes"])
    groups = tuple(w // max(1, w // config["groups_width"]) for w in widths)
    body = Body(
        depths=model.body.depths,
        widths=widths,
        bottleneck_ratios=(1.0,) * len(widths),
        group_widths=groups,
        se_ratio=0.25 if model.body.se_ratio else 0.0,
    )
    skeleton = replace(
        model.skeleton,
        stem_stride=2,
        strides=(model.skeleton.strides[0], *(2,) * (len(widths) - 1)),
    )
    return Model(model.name, body, skeleton, None, model.provenance)


def _group_width(body: Body) -> int:
    """The group width of most blocks, ignoring stages of a single group where possible."""
    wide = [
        (g, depth)
        for g, w, depth in zip(body.group_widths, body.widths, body.depths, strict=True)
        if g != w
    ] or [(max(body.group_widths), 1)]
    blocks: Counter[int] = Counter()
    for g, depth in wide:
        blocks[g] += depth
    return max(blocks, key=lambda g: (blocks[g], g))


def _widths(body: Body) -> tuple[int, ...]:
    """Widths that the one group width divides: transformers itself rounds nothing."""
    g = _group_width(body)
    return tuple(w if w < g else max(1, round(w / g)) * g for w in body.widths)


def _files(model: Model) -> dict[str, str]:
    return {"config.json": json.dumps(transformers_config(model), indent=2) + "\n"}


def _rebuild(model: Model, folder: Path) -> "nn.Module":
    from torch import nn
    from transformers import RegNetConfig, RegNetForImageClassification

    network = RegNetForImageClassification(RegNetConfig.from_pretrained(folder))

    class Logits(nn.Module):
        """Return only the classifier's output, as the networks of other libraries do."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Any) -> Any:
            return self.network(image).logits

    return cast("nn.Module", Logits())


TRANSFORMERS = Target(
    name="transformers",
    package="transformers",
    represent=_represent,
    files=_files,
    rebuild=_rebuild,
    keys="transformers",
    weights=lambda _: WEIGHTS,
    any_channels=True,
)
