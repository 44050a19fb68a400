"""torchvision: a Python module with explicit BlockParams, which represents every model.

`from_init_params` is never used: its rounding refuses to go down by more than 10 %, and a third of
random RegNets come out otherwise.
"""

from designspace.arch import Model
from designspace.export.identifiers import describe, identifier
from designspace.export.python_code import rebuild
from designspace.export.target import Target, same

_STEM = '''
def _stem(width_in, width_out, norm_layer, activation_layer):
    """A 3x3 convolution that keeps the size of small images."""
    return Conv2dNormActivation(
        width_in, width_out, 3, 1, norm_layer=norm_layer, activation_layer=activation_layer
    )

'''


def _files(model: Model) -> dict[str, str]:
    arch, frame, name = model.arch, model.frame, identifier(model)
    small = frame.stem_stride == 1
    imports = "from torchvision.ops.misc import Conv2dNormActivation\n" if small else ""
    stem = ", stem_type=_stem" if small else ""
    text = f'''"""{describe(model)}"""

from torchvision.models.regnet import BlockParams, RegNet
{imports}
BLOCKS = BlockParams(
    depths={list(arch.depths)},
    widths={list(arch.widths)},
    group_widths={list(arch.group_widths)},
    bottleneck_multipliers={[1 / b for b in arch.bottleneck_ratios]},
    strides={list(frame.strides)},
    se_ratio={arch.se_ratio or None},
)
{_STEM if small else ""}
def {name}(num_classes: int = {frame.classes}, **kwargs) -> RegNet:
    """Build the network with fresh weights."""
    return RegNet(BLOCKS, num_classes, stem_width={frame.stem_width}{stem}, **kwargs)
'''
    return {f"{name}.py": text.replace(")\n\ndef", ")\n\n\ndef")}


TORCHVISION = Target(
    name="torchvision",
    package="torchvision",
    made=same,
    files=_files,
    rebuild=rebuild,
    keys="torchvision",
    weights=lambda model: f"{identifier(model)}.safetensors",
)
