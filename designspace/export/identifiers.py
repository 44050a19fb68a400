"""Names that written files and functions go by."""

import re

from designspace.arch import Model

# Names that torchvision, ClassyVision and timm register. Theirs may be other networks:
# ClassyVision's regnet_y_256gf has widths 640 1696 2544 5088.
_TAKEN = re.compile(r"regnet_[xyz]_.*|regnet[xyzv]_(\d{3}|[a-z]\d+)(_.*)?")


def identifier(model: Model) -> str:
    """Return a Python identifier for a model, never one of another registry's names."""
    text = re.sub(r"[^a-z0-9]+", "_", model.name.lower()).strip("_") or "model"
    if text[0].isdigit():
        text = f"net_{text}"
    return f"derived_{text}" if _TAKEN.fullmatch(text) else text


def describe(model: Model) -> str:
    """Return one line that tells a reader of a written file what it holds."""
    return (
        f"{model.name}: {model.flops:,} multiply-adds at {model.skeleton.resolution} pixels, "
        f"{model.params:,} parameters with {model.skeleton.classes} classes."
    )
