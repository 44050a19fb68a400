"""A Python module that spells out a network layer by layer, for blocks that no library has.

Its layers are those of torch and torchvision, its state keys are ours, and it needs nothing else.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from designspace.arch import Model
from designspace.errors import InputError
from designspace.export.identifiers import describe, identifier
from designspace.networks import build_on_meta
from designspace.networks.layers import (
    ChannelScale,
    Gelu,
    LayerNorm2d,
    PatchConv,
    Residual,
    SqueezeExcitation,
)
from designspace.networks.staged_network import StagedNetwork
from designspace.networks.strided_projection import StridedProjection

_HEAD = '''
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops.misc import SqueezeExcitation


class Residual(nn.Module):
    """A branch added to its input, or to a projection of it, then an activation."""

    def __init__(self, f, proj=None, activation=None):
        super().__init__()
        if proj is not None:
            self.proj = proj
        self.f = f
        self.activation = activation or nn.Identity()

    def forward(self, x):
        identity = self.proj(x) if hasattr(self, "proj") else x
        return self.activation(self.f(x) + identity)


class ChannelScale(nn.Module):
    """A learnable factor of each channel."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), 1e-6))

    def forward(self, x):
        return self.weight * x


class PatchConv(nn.Conv2d):
    """A convolution of non-overlapping patches; the last ones are filled up with zeros."""

    def forward(self, x):
        stride = self.stride[0]
        return super().forward(
            functional.pad(x, (0, -x.shape[-1] % stride, 0, -x.shape[-2] % stride))
        )


class Network(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
'''


def module_code(model: Model) -> str:
    """Return the text of a module whose function of the model's name builds the network.

    Raises:
        InputError: The network has modules other than those of the blocks that ship.
    """
    network = build_on_meta(model)
    layers = [module for part in network.children() for module in part.modules()]
    if type(network) is not StagedNetwork or not all(map(_is_writable, layers)):
        raise InputError(
            f"torchvision: {model.name} is made of {model.body.block} blocks, whose code is their "
            "own; onnx, torchscript and model.yaml support them"
        )
    name = identifier(model)
    lines = [f'"""{describe(model)}"""\n{_HEAD}'.rstrip()]
    for part in ("stem", "trunk_output", "avgpool"):
        lines.append(f"        self.{part} = {_expression(getattr(network, part), 8)}")
    lines.append(f"        self.fc = nn.Linear({model.output_width}, num_classes)")
    lines.append(
        "\n    def forward(self, x):\n"
        "        x = self.avgpool(self.trunk_output(self.stem(x)))\n"
        "        return self.fc(torch.flatten(x, 1))\n\n\n"
        f"def {name}(num_classes: int = {model.skeleton.classes}) -> Network:\n"
        '    """Build the network with fresh weights of torch\'s defaults."""\n'
        "    return Network(num_classes)\n"
    )
    return "\n".join(lines)


def _is_writable(module: nn.Module) -> bool:
    """Whether the text can say what a module and its forward pass are."""
    if isinstance(module, nn.Sequential):
        return type(module).forward is nn.Sequential.forward
    return type(module) in (*_LAYERS, Residual)


def _options(module: Any, **usual: Any) -> str:
    """Return the arguments of a layer that are not as usual."""
    return "".join(
        f", {name}={getattr(module, name)!r}"
        for name, value in usual.items()
        if getattr(module, name) != value
    )


def _bias(module: Any) -> str:
    return "" if module.bias is not None else ", bias=False"


def _conv(module: Any) -> str:
    sides = (module.kernel_size, module.stride, module.padding)
    sizes = ", ".join(repr(side[0] if len(set(side)) == 1 else side) for side in sides)
    more = _options(module, dilation=(1, 1), groups=1, padding_mode="zeros")
    return f"({module.in_channels}, {module.out_channels}, {sizes}{more}{_bias(module)})"


def _batch_norm(module: Any) -> str:
    more = _options(module, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True)
    return f"nn.BatchNorm2d({module.num_features}{more})"


def _max_pool(module: Any) -> str:
    more = _options(module, dilation=1, return_indices=False, ceil_mode=False)
    return f"nn.MaxPool2d({module.kernel_size}, {module.stride}, {module.padding}{more})"


def _inplace(module: Any) -> str:
    return "(inplace=True)" if module.inplace else "()"


# How each kind of layer is written. Subclasses may do anything else in their forward pass.
_LAYERS: dict[type[nn.Module], Callable[[Any], str]] = {
    PatchConv: lambda m: f"PatchConv{_conv(m)}",
    nn.Conv2d: lambda m: f"nn.Conv2d{_conv(m)}",
    StridedProjection: lambda m: f"nn.Conv2d{_conv(m)}",
    nn.Linear: lambda m: f"nn.Linear({m.in_features}, {m.out_features}{_bias(m)})",
    nn.BatchNorm2d: _batch_norm,
    LayerNorm2d: lambda m: f"LayerNorm2d({m.normalized_shape[0]}, eps={m.eps})",
    ChannelScale: lambda m: f"ChannelScale({m.weight.shape[0]})",
    Gelu: lambda m: "nn.GELU()",
    nn.ReLU6: lambda m: f"nn.ReLU6{_inplace(m)}",
    nn.ReLU: lambda m: f"nn.ReLU{_inplace(m)}",
    nn.SiLU: lambda m: f"nn.SiLU{_inplace(m)}",
    nn.Sigmoid: lambda m: "nn.Sigmoid()",
    nn.Identity: lambda m: "nn.Identity()",
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveAvgPool2d: lambda m: f"nn.AdaptiveAvgPool2d({m.output_size})",
    SqueezeExcitation: lambda m: (
        f"SqueezeExcitation({m.fc1.in_channels}, {m.fc1.out_channels}, "
        f"activation=nn.{type(m.activation).__name__.replace('Gelu', 'GELU')})"
    ),
}


def _expression(module: Any, indent: int) -> str:
    """Return the Python expression that builds a module, over several lines where it has parts."""
    pad = " " * (indent + 4)
    end = f"\n{' ' * indent})"
    if isinstance(module, Residual):
        parts = [_expression(module.f, indent + 4)]
        if hasattr(module, "proj"):
            parts.append(f"proj={_expression(module.proj, indent + 4)}")
        if not isinstance(module.activation, nn.Identity):
            parts.append(f"activation={_expression(module.activation, indent + 4)}")
        return "Residual(" + "".join(f"\n{pad}{part}," for part in parts) + end
    if isinstance(module, nn.Sequential):
        children = dict(module._modules)  # named_children() leaves out repeated ones
        if list(children) == [str(i) for i in range(len(children))]:
            items = [_expression(child, indent + 4) for child in children.values()]
            return "nn.Sequential(" + "".join(f"\n{pad}{item}," for item in items) + end
        deeper = " " * (indent + 8)
        entries = [f'"{key}": {_expression(child, indent + 8)}' for key, child in children.items()]
        inner = "".join(f"\n{deeper}{entry}," for entry in entries)
        return f"nn.Sequential(\n{pad}OrderedDict({{{inner}\n{pad}}}){end}"
    return _LAYERS[type(module)](module)
