"""timm: a Python module with a network of one of timm's classes, and a registered entry point.

The class follows from block and stem; each has a file that says what it can represent.
"""

from collections.abc import Callable

from designspace.arch import Model
from designspace.errors import InputError
from designspace.export import timm_convnext, timm_efficientnet, timm_regnet, timm_resnet
from designspace.export.identifiers import describe, identifier
from designspace.export.load_python_module import rebuild
from designspace.export.target import Target
from designspace.export.timm_keys import CLASSES, TimmClass, timm_class
from designspace.export.timm_network import TimmNetwork

_REPRESENT: dict[TimmClass, Callable[[Model], Model]] = {
    "RegNet": timm_regnet.represent,
    "ResNet": timm_resnet.represent,
    "EfficientNet": timm_efficientnet.represent,
    "ConvNeXt": timm_convnext.represent,
}
_CODE: dict[TimmClass, Callable[[Model], TimmNetwork]] = {
    "RegNet": timm_regnet.code,
    "ResNet": timm_resnet.code,
    "EfficientNet": timm_efficientnet.code,
    "ConvNeXt": timm_convnext.code,
}


def _class_of(model: Model) -> TimmClass:
    """Return the class of timm that builds a model.

    Raises:
        InputError: timm has none with the model's block, or none with its stem.
    """
    kind, classes = timm_class(model), CLASSES.get(model.body.block)
    if kind is not None:
        return kind
    if classes is None:
        raise InputError(
            f"timm has no class for {model.body.block} blocks, of which {model.name} is made; it "
            f"has some for {', '.join(CLASSES)}"
        )
    stems = " or ".join(f"a {stem} stem ({name})" for stem, name in classes.items())
    raise InputError(
        f"timm builds networks of {model.body.block} blocks with {stems}; {model.name} has a "
        f"{model.skeleton.stem} stem"
    )


def _represent(model: Model) -> Model:
    return _REPRESENT[_class_of(model)](model)


def _files(model: Model) -> dict[str, str]:
    kind, name = _class_of(model), identifier(model)
    represented = _represent(model)
    network, skeleton = _CODE[kind](model), model.skeleton
    side, classes, channels = skeleton.resolution, skeleton.classes, skeleton.channels
    arguments = "".join(
        f"        {line},\n"
        for line in (kind, f'"{name}"', "pretrained", "num_classes=num_classes", *network.arguments)
    )
    text = f'''"""{describe(represented)}"""

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
{network.imports}

{network.settings}
default_cfgs = generate_default_cfgs(
    {{"{name}": {{"input_size": ({channels}, {side}, {side}), "num_classes": {classes}}}}}
)


@register_model
def {name}(pretrained: bool = False, num_classes: int = {classes}, **kwargs) -> {kind}:
    """Build the network with fresh weights; after import also timm.create_model("{name}")."""
    return build_model_with_cfg(
{arguments}    )
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
