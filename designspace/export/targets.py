"""The targets by name."""

from designspace.arch.model_file import model_text
from designspace.errors import InputError, nearest
from designspace.export.classyvision import CLASSYVISION
from designspace.export.pycls_config import PYCLS
from designspace.export.target import Target, same
from designspace.export.timm_code import TIMM
from designspace.export.torchvision_code import TORCHVISION
from designspace.export.transformers_config import TRANSFORMERS
from designspace.export.vissl import VISSL

# ONNX is a network with weights, not a description: see onnx_graph.
ONNX = Target("onnx", "onnxruntime", same, lambda model: {})
# Our own model.yaml is always written; as a target it brings converted weights along.
OURS = Target(
    "model.yaml",
    None,
    same,
    lambda model: {"model.yaml": model_text(model)},
    keys="torchvision",
    weights=lambda model: "weights.safetensors",
)
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        TORCHVISION, TIMM, TRANSFORMERS, CLASSYVISION, VISSL, PYCLS, ONNX, OURS
    )
}  # fmt: skip


def find_target(name: str) -> Target:
    """Return a target by name; `model` and `ours` are model.yaml.

    Raises:
        InputError: There is no such target; the message lists them.
    """
    known = {"model": "model.yaml", "ours": "model.yaml"}.get(name.lower(), name.lower())
    if known not in TARGETS:
        raise InputError(f"no export target {name!r}; {nearest(name, list(TARGETS))}")
    return TARGETS[known]
