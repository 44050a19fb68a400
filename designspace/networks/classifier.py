"""The classifier of a network: trunks lack it, and fine-tuning trains it at a rate of its own."""

from torch import nn

from designspace.arch import Model
from designspace.errors import InputError


def classifier_path(network: nn.Module, model: Model) -> str:
    """Return the path of a network's classifier among its modules.

    It is the linear layer `fc`, or else the last one from the model's output width to its classes.

    Args:
        network: Built from the model.
        model: States output width and classes.

    Returns:
        Such as "fc" or "head.1"; the classifier's state keys begin with it and a dot.

    Raises:
        InputError: The network has no such layer.
    """
    width, classes = model.output_width, model.skeleton.classes
    paths = [
        path
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
        and (layer.in_features, layer.out_features) == (width, classes)
    ]
    if not paths:
        raise InputError(
            f"{model.name}: its network has no linear layer from {width} features, its output "
            f"width, to {classes} classes; to be a trunk, a network of {model.body.block} blocks "
            f"must end with nn.Linear({width}, {classes})"
        )
    return "fc" if "fc" in paths else paths[-1]


def remove_classifier(network: nn.Module, model: Model) -> None:
    """Let a network return features (n, output width), in place.

    Raises:
        InputError: It has no classifier.
    """
    parent, _, name = classifier_path(network, model).rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
