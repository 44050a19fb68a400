"""timm's RegNet: networks of bottleneck and linear-bottleneck blocks with a 3x3 stem.

It accepts only RegNet parameters, and applies the width rule in float32, which changes about 1 in
20,000 RegNets. Its networks have four stages and stride 2 everywhere.
"""

from dataclasses import replace

from designspace.analysis.fit_regnet import fitted_regnet
from designspace.arch import BOTTLENECK, Body, Model, RegNetParams
from designspace.errors import InputError
from designspace.export.timm_network import TimmNetwork

_STAGES = 4


def timm_body(regnet: RegNetParams, se_ratio: float) -> Body:
    """Return the stages that timm computes from RegNet parameters.

    Raises:
        InputError: timm would fail on these stages.
    """
    import math

    import torch

    u = torch.arange(regnet.d, dtype=torch.float32) * regnet.w_a + regnet.w_0
    s = torch.round(torch.log(u / regnet.w_0) / math.log(regnet.w_m))
    blocks = torch.round(regnet.w_0 * torch.pow(regnet.w_m, s) / 8) * 8
    widths, depths = torch.unique(blocks.int(), return_counts=True)
    ratio = 1 / regnet.b
    inner = [int(width * ratio) for width in widths.tolist()]
    if 0 in inner:
        raise InputError(
            f"timm computes a bottleneck width of 0 from width {widths[inner.index(0)]} and "
            f"bottleneck ratio {regnet.b:g}"
        )
    groups = [min(regnet.g, v) for v in inner]
    rounded = [int(round(v / g) * g) for v, g in zip(inner, groups, strict=True)]
    return Body(
        depths=tuple(depths.tolist()),
        widths=tuple(int(v / ratio) for v in rounded),
        bottleneck_ratios=(regnet.b,) * len(rounded),
        group_widths=tuple(groups),
        se_ratio=se_ratio,
    )


def has_final_activation(model: Model) -> bool:
    """Return whether timm's network of a model has an activation that ours lacks, at its end."""
    return model.body.block == "linear-bottleneck" and not model.skeleton.head_width


def represent(model: Model) -> Model:
    """Return the nearest model that timm's RegNet represents.

    Raises:
        InputError: There is none.
    """
    if model.body.num_stages != _STAGES:
        raise InputError(
            f"timm builds RegNets of {_STAGES} stages; {model.name} has {model.body.num_stages}"
        )
    if has_final_activation(model):
        raise InputError(
            f"timm puts an activation behind the last stage of a RegNetZ without a head; "
            f"{model.name} has none there, so that it is another network"
        )
    regnet = model.regnet or fitted_regnet(model.body)
    body = timm_body(regnet, model.body.se_ratio)
    if body.num_stages != _STAGES:
        raise InputError(
            f"timm computes stages from RegNet parameters; those nearest to {model.name}, which "
            f"has {_STAGES} stages, give {body.num_stages}"
        )
    body = replace(body, block=model.body.block, activation=model.body.activation)
    skeleton = replace(model.skeleton, stem_stride=2, strides=(2,) * _STAGES)
    represented = Model(model.name, body, skeleton, None, model.provenance)
    if body.se_ratio and not all(map(all, represented.squeeze_widths)):
        raise InputError(
            "timm can't leave out squeeze-and-excitation where its width rounds to 0, as se_ratio "
            f"{body.se_ratio:g} does in {model.name}; torchvision (as Python code), onnx, "
            "torchscript and model.yaml can"
        )
    return represented


def _network_keys(model: Model) -> str:
    """Return the lines of the config for other blocks, activations and heads than RegNet's."""
    lines = []
    if model.body.block != BOTTLENECK:
        lines += ["downsample=None", "linear_out=True"]
    if model.skeleton.head_width:
        lines.append(f"num_features={model.skeleton.head_width}")
    if model.body.activation != "relu":
        lines.append(f"act_layer={model.body.activation!r}")
    return "".join(f"\n    {line}," for line in lines)


def code(model: Model) -> TimmNetwork:
    """Return the code of a model's network."""
    regnet = model.regnet or fitted_regnet(model.body)
    settings = f"""CFG = RegNetCfg(
    depth={regnet.d},
    w0={regnet.w_0},
    wa={regnet.w_a!r},
    wm={regnet.w_m!r},
    group_size={regnet.g},
    bottle_ratio={1 / regnet.b!r},
    se_ratio={float(model.body.se_ratio)!r},
    stem_width={model.skeleton.stem_width},{_network_keys(model)}
)"""
    return TimmNetwork(
        "from timm.models.regnet import RegNet, RegNetCfg", settings, ("model_cfg=CFG", "**kwargs")
    )
