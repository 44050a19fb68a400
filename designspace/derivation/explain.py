"""Explain where a model comes from, in words and computed numbers."""

from dataclasses import replace
from itertools import pairwise

from designspace.arch import (
    BOTTLENECK,
    CATALOG,
    Model,
    RegNetParams,
    body_axes,
    is_shipped,
    published,
)
from designspace.arch.published_names import published_model
from designspace.derivation.scale_model import scale_model
from designspace.derivation.scaled_models import fixed_group_width
from designspace.derivation.scaling_rules import RULES
from designspace.errors import InputError

_PROTOTYPES = 16_000
# What popular articles give for RegNetY-256GF.
_POPULAR_WIDTHS = (528, 1056, 2904, 7392)
_POPULAR_PARAMS = 695.5e6
_HEAD = (10444, 8192, 8192, 256)


def explain(model: Model) -> list[tuple[str, list[str]]]:
    """Return (heading, sentences) pairs about a model: its stages, cost and origin."""
    parts = [("What it is", _what(model))]
    if model.regnet is not None:
        parts.append(("How its stages follow", _stages(model, model.regnet)))
    parts.append(("Where it comes from", _origin(model)))
    if _is_256gf(model):
        parts.append(("Why the popular description can't be it", _popular()))
    return parts


def trunk_params(model: Model) -> int:
    """Return a model's parameters without its classifier, which is linear with a bias."""
    return model.params - (model.output_width + 1) * model.skeleton.classes


def head_params(dims: tuple[int, ...]) -> int:
    """Return the parameters of a projection head: linear layers with biases, no BatchNorm."""
    return sum((a + 1) * b for a, b in pairwise(dims))


def _what(model: Model) -> list[str]:
    body, skeleton = model.body, model.skeleton
    present = body_axes(body.block)
    stages = [f"Depths {_row(body.depths)}", f"widths {_row(body.widths)}"]
    if "g" in present:
        stages.append(f"group widths {_row(body.group_widths)}")
    if "b" in present:
        stages.append(f"bottleneck ratios {_row(body.bottleneck_ratios)}")
    if body.block != BOTTLENECK:
        stages.append(f"{body.block} blocks")
    stages += [f"{name} {_row(values)}" for name, values in body.extras]
    if body.se_ratio:
        stages.append(f"squeeze-and-excitation {body.se_ratio:g}")
    elif body.block == BOTTLENECK:
        stages.append("X blocks")
    if body.activation != "relu":
        stages.append(f"activation {body.activation}")
    params = f"{model.params:,} parameters with {skeleton.classes} classes"
    # A block of one's own may have a classifier of another kind.
    if body.block == BOTTLENECK or is_shipped(body.block):
        params += f", {trunk_params(model):,} without the classifier"
    return [
        f"{'; '.join(stages)}.",
        f"{model.flops:,} multiply-adds at {skeleton.resolution} pixels; "
        f"{params}; {model.acts:,} activations.",
    ]


def _stages(model: Model, regnet: RegNetParams) -> list[str]:
    last = regnet.w_0 + regnet.w_a * (regnet.d - 1)
    quantized = replace(regnet, b=1.0, g=1).body().widths
    sentences = [
        f"Linear widths u_j = {regnet.w_0} + {regnet.w_a:g} j for blocks j = 0 to {regnet.d - 1}: "
        f"{regnet.w_0} to {last:,.0f}.",
        f"Each is rounded to the nearest power, {regnet.w_0} x {regnet.w_m:g}^k, and to a multiple "
        f"of 8: {_row(quantized)}.",
    ]
    widths = _row(model.body.widths)
    if fixed_group_width(model) is None:
        sentences.append(
            f"Group width {regnet.g} must divide the 3x3's width, which makes them {widths}."
        )
    elif model.body.widths != quantized:
        sentences.append(f"The 3x3's width must be whole, which makes them {widths}.")
    return sentences


def _origin(model: Model) -> list[str]:
    origin = dict(model.provenance)
    lines = []
    if "source" in origin:
        lines.append(f"Published: {origin['source']}.")
    lines += [f"{key}: {value}" for key, value in origin.items() if key not in ("source", "regime")]
    lines += _as_scaled(model)
    if not lines:
        lines.append("The file does not state it.")
    return lines


def _as_scaled(model: Model) -> list[str]:
    """Name the published models that give exactly this model when scaled in width."""
    sentences = []
    for name, entry in CATALOG.items():
        parent = published(name)
        if name == model.name or (entry.se_ratio > 0) != (model.body.se_ratio > 0):
            continue
        for factor in (2.0, 4.0):
            try:
                scaled = scale_model(parent, RULES["width"], factor=factor).model
            except InputError:
                continue
            if scaled.body == model.body and scaled.regnet is not None:
                new = scaled.regnet
                sentences.append(
                    f"It is {name} with {factor:g} times the flops, all in width (x "
                    f"{factor**0.5:.4g}): w_0 {entry.regnet.w_0} -> {new.w_0}, w_a "
                    f"{entry.regnet.w_a:g} -> {new.w_a:g}, g {entry.regnet.g} -> {new.g}, d and "
                    f"w_m unchanged give exactly these stages{_other_parameters(model, new)}."
                )
    return sentences


def _other_parameters(model: Model, new: RegNetParams) -> str:
    stated = model.regnet
    if stated is None or stated == new:
        return ""
    return f", although its stated w_0 and w_a are {stated.w_0} and {stated.w_a:g}"


def _is_256gf(model: Model) -> bool:
    return model.body == published("RegNetY-256GF").body


def _popular() -> list[str]:
    small, large = published("RegNetY-128GF"), published("RegNetY-256GF")
    assert small.body.widths == _POPULAR_WIDTHS
    prototypes = _PROTOTYPES * _HEAD[-1]
    own_head = head_params((small.body.widths[-1], *_HEAD[1:]))
    large_head = head_params(_HEAD)
    totals = {
        "128GF's trunk": trunk_params(small),
        "128GF with its classifier": small.params,
        "128GF's trunk with its SwAV head and prototypes": trunk_params(small)
        + own_head
        + prototypes,
        "256GF's trunk": trunk_params(large),
        "256GF with its classifier": large.params,
        "256GF's trunk with its SwAV head and prototypes": trunk_params(large)
        + large_head
        + prototypes,
    }
    other = published_model("regnet_y_256gf").body
    return [
        f"It is often described with widths {_row(_POPULAR_WIDTHS)}, a projection head "
        f"{_row(_HEAD)} and {_POPULAR_PARAMS / 1e6:.1f}M parameters. The three contradict each "
        "other.",
        f"Those widths are RegNetY-128GF's ({small.flops:,} multiply-adds): half the flops.",
        f"The head takes {_HEAD[0]} channels: this network's last width. A trunk that ends at "
        f"{_POPULAR_WIDTHS[-1]} can't feed it.",
        f"{_POPULAR_PARAMS / 1e6:.1f}M parameters fit neither: "
        + "; ".join(f"{name} {total / 1e6:,.1f}M" for name, total in totals.items())
        + ".",
        "The name regnet_y_256gf of ClassyVision and registries after it is another network again: "
        f"widths {_row(other.widths)}. Exports here never use it.",
    ]


def _row(values: tuple[float, ...] | list[int]) -> str:
    return " ".join(f"{value:g}" for value in values)
