"""timm: a Python module with a RegNetCfg and a registered entry point.

timm accepts only RegNet parameters, and applies the width rule in float32, which changes about 1 in
20,000 RegNets. Its networks have four stages and stride 2 everywhere.
"""

from dataclasses import replace

from designspace.analysis.fit_regnet import fitted_regnet
from designspace.arch import BOTTLENECK, Body, Model, RegNetParams
from designspace.errors import InputError
from designspace.export.identifiers import describe, identifier
from designspace.export.load_python_module import rebuild
from designspace.export.target import Target

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
    groups = [min(regnet.g, v) for v in inner]
    rounded = [int(round(v / g) * g) for v, g in zip(inner, groups, strict=True)]
    return Body(
        depths=tuple(depths.tolist()),
        widths=tuple(int(v / ratio) for v in rounded),
        bottleneck_ratios=(regnet.b,) * len(rounded),
        group_widths=tuple(groups),
        se_ratio=se_ratio,
    )


def _represent(model: Model) -> Model:
    linear = model.body.block == "linear-bottleneck"
    if not (linear or model.body.block == BOTTLENECK) or model.skeleton.stem != "conv3":
        raise InputError(
            f"timm's RegNets have blocks bottleneck and linear-bottleneck, and a 3x3 stem; "
            f"{model.name} has {model.body.block} blocks and a {model.skeleton.stem} stem"
        )
    if model.body.num_stages != _STAGES:
        raise InputError(
            f"timm builds RegNets of {_STAGES} stages; {model.name} has {model.body.num_stages}"
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
    return Model(model.name, body, skeleton, None, model.provenance)


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


def _files(model: Model) -> dict[str, str]:
    regnet, name = model.regnet or fitted_regnet(model.body), identifier(model)
    skeleton = model.skeleton
    side, classes, channels = skeleton.resolution, skeleton.classes, skeleton.channels
    text = f'''"""{describe(_represent(model))}"""

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.regnet import RegNet, RegNetCfg

CFG = RegNetCfg(
    depth={regnet.d},
    w0={regnet.w_0},
    wa={regnet.w_a!r},
    wm={regnet.w_m!r},
    group_size={regnet.g},
    bottle_ratio={1 / regnet.b!r},
    se_ratio={float(model.body.se_ratio)!r},
    stem_width={skeleton.stem_width},{_network_keys(model)}
)
default_cfgs = generate_default_cfgs(
    {{"{name}": {{"input_size": ({channels}, {side}, {side}), "num_classes": {classes}}}}}
)


@register_model
def {name}(pretrained: bool = False, num_classes: int = {classes}, **kwargs) -> RegNet:
    """Build the network with fresh weights; after import also timm.create_model("{name}")."""
    return build_model_with_cfg(
        RegNet, "{name}", pretrained, model_cfg=CFG, num_classes=num_classes, **kwargs
    )
'''
    return {f"{name}.py": text}


TIMM = Target(
    name="timm",
    package="timm",
    represent=_represent,
    files=_files,
    rebuild=rebuild,
    keys="timm",
    any_network=True,
    weights=lambda model: f"{identifier(model)}.safetensors",
    any_channels=True,
)
