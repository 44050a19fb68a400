"""Names of written files and functions."""

import builtins
import keyword
import re
import sys

from designspace.arch import Model

# Names registered by torchvision, ClassyVision and timm, possibly for other networks:
# ClassyVision's regnet_y_256gf has widths 640 1696 2544 5088.
_REGISTERED = re.compile(
    r"regnet_[xyz]_.*|regnet[xyzv]_(\d{3}|[a-z]\d+)(_.*)?|convnext(v2)?_[a-z]{4,}(_.*)?"
    r"|(tf_)?efficientnet(v2)?_.*|mobilenet_?v\d.*|(tv_)?resne[xt]t?\d+.*"
)
# Modules and names that written code uses, or that a file of that name would hide.
_USED = {
    *keyword.kwlist,
    *dir(builtins),
    *sys.stdlib_module_names,
    *("torch", "nn", "functional", "torchvision", "timm"),
    *("build_model_with_cfg", "decode_arch_def", "default_cfgs"),
}


def identifier(model: Model) -> str:
    """Return a Python identifier for a model: no keyword, and no name that is in use."""
    text = re.sub(r"[^a-z0-9]+", "_", model.name.lower()).strip("_") or "model"
    if text[0].isdigit() or text in _USED:
        text = f"net_{text}"
    return f"derived_{text}" if _REGISTERED.fullmatch(text) else text


def describe(model: Model) -> str:
    """Return a one-line description of a model for the head of a file."""
    return (
        f"{model.name}: {model.flops:,} multiply-adds at {model.skeleton.resolution} pixels, "
        f"{model.params:,} parameters with {model.skeleton.classes} classes."
    )
