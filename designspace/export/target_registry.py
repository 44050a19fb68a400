"""The export targets by name."""

from designspace.arch.model_file import model_text
from designspace.errors import InputError, nearest
from designspace.export.classyvision import CLASSYVISION
from designspace.export.pycls_config import PYCLS
from designspace.export.target import Target
from designspace.export.timm_code import TIMM
from designspace.export.torchvision_code import TORCHVISION
from designspace.export.transformers_config import TRANSFORMERS
from designspace.export.vissl import VISSL

# An ONNX file is a network with weights, not a description: see onnx_graph.
ONNX = Target("onnx", lambda model: {}, package="onnxruntime", any_channels=True)
# model.yaml is always written; as a target it adds converted weights.
MODEL_YAML = Target(
    "model.yaml",
    lambda model: {"model.yaml": model_text(model)},
    keys="torchvision",
    weights=lambda model: "weights.safetensors",
    any_channels=True,
)
TORCHSCRIPT = Target("torchscript", lambda model: {}, any_channels=True)
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        TORCHVISION, TIMM, TRANSFORMERS, CLASSYVISION, VISSL, PYCLS, ONNX, TORCHSCRIPT, MODEL_YAML
    )
}  # fmt: skip


def find_target(name: str) -> Target:
    """Return a target by name; `model` and `ours` are model.yaml.

    Raises:
        InputError: There is no such target.
    """
    key = {"model": "model.yaml", "ours": "model.yaml"}.get(name.lower(), name.lower())
    if key not in TARGETS:
        raise InputError(f"no export target {name!r}; {nearest(name, list(TARGETS))}", "targets")
    return TARGETS[key]
