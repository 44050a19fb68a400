"""torchvision: a Python module with explicit BlockParams, which represent every RegNet.

Networks of other blocks are spelled out layer by layer (`module_code`).

`BlockParams.from_init_params` is not used: it never rounds widths down by more than 10 %, which
changes a third of random RegNets.
"""

from designspace.arch import Model
from designspace.export.identifiers import describe, identifier
from designspace.export.load_python_module import rebuild
from designspace.export.target import Target

_STEM = '''
def _stem(_, width_out, norm_layer, activation_layer):
    """A 3x3 convolution of {channels} channels and stride {stride}."""
    return Conv2dNormActivation(
        {channels},
        width_out,
        3,
        {stride},
        norm_layer=norm_layer,
        activation_layer=activation_layer,
    )

'''


def _files(model: Model) -> dict[str, str]:
    if not model.is_regnet_network:
        from designspace.export.module_code import module_code

        return {f"{identifier(model)}.py": module_code(model)}
    body, skeleton, name = model.body, model.skeleton, identifier(model)
    channels, stride = skeleton.channels, skeleton.stem_stride
    other = (channels, stride) != (3, 2)
    imports = "from torchvision.ops.misc import Conv2dNormActivation\n" if other else ""
    stem = ", stem_type=_stem" if other else ""
    text = f'''"""{describe(model)}"""

from torchvision.models.regnet import BlockParams, RegNet
{imports}
BLOCKS = BlockParams(
    depths={list(body.depths)},
    widths={list(body.widths)},
    group_widths={list(body.group_widths)},
    bottleneck_multipliers={[1 / b for b in body.bottleneck_ratios]},
    strides={list(skeleton.strides)},
    se_ratio={body.se_ratio or None},
)
{_STEM.format(channels=channels, stride=stride) if other else ""}
def {name}(num_classes: int = {skeleton.classes}, **kwargs) -> RegNet:
    """Build the network with fresh weights."""
    return RegNet(BLOCKS, num_classes, stem_width={skeleton.stem_width}{stem}, **kwargs)
'''
    return {f"{name}.py": text.replace(")\n\ndef", ")\n\n\ndef")}


TORCHVISION = Target(
    name="torchvision",
    package="torchvision",
    files=_files,
    rebuild=rebuild,
    keys="torchvision",
    weights=lambda model: f"{identifier(model)}.safetensors",
    any_channels=True,
    any_network=True,
)
