"""pycls: a YAML config of a `regnet` by its parameters if possible, else of an `anynet`.

The schedule is that of the published baselines: 100 epochs, lr 0.1 per 128 images, weight decay
5e-5.
"""

from typing import Any

from designspace.arch import Model
from designspace.export.classyvision import has_published_form
from designspace.export.identifiers import describe, identifier
from designspace.export.target import Target
from designspace.io.yaml_files import dump_yaml


def pycls_config(model: Model) -> dict[str, Any]:
    """Return the config as plain data."""
    kind = "regnet" if has_published_form(model) else "anynet"
    side = model.skeleton.resolution
    return {
        "MODEL": {"TYPE": kind, "NUM_CLASSES": model.skeleton.classes},
        kind.upper(): _network(model, kind),
        "OPTIM": {
            "LR_POLICY": "cos",
            "BASE_LR": 0.8,
            "MAX_EPOCH": 100,
            "MOMENTUM": 0.9,
            "WEIGHT_DECAY": 5.0e-5,
            "WARMUP_EPOCHS": 5,
        },
        "TRAIN": {"DATASET": "imagenet", "IM_SIZE": side, "BATCH_SIZE": 1024},
        "TEST": {"DATASET": "imagenet", "IM_SIZE": round(side * 256 / 224), "BATCH_SIZE": 800},
        "NUM_GPUS": 8,
        "OUT_DIR": ".",
    }


def _network(model: Model, kind: str) -> dict[str, Any]:
    body, skeleton, regnet = model.body, model.skeleton, model.regnet
    keys: dict[str, Any] = {
        "STEM_TYPE": "simple_stem_in" if skeleton.stem_stride == 2 else "res_stem_cifar",
        "STEM_W": skeleton.stem_width,
        "BLOCK_TYPE": "res_bottleneck_block",
        "SE_ON": body.se_ratio > 0,
    }
    if body.se_ratio:
        keys["SE_R"] = body.se_ratio
    if kind == "regnet":
        assert regnet is not None
        names = {"DEPTH": "d", "W0": "w_0", "WA": "w_a", "WM": "w_m", "GROUP_W": "g"}
        return {**keys, **{key: getattr(regnet, name) for key, name in names.items()}}
    return {
        **keys,
        "DEPTHS": list(body.depths),
        "WIDTHS": list(body.widths),
        "STRIDES": list(skeleton.strides),
        "BOT_MULS": [1 / b for b in body.bottleneck_ratios],
        "GROUP_WS": list(body.group_widths),
    }


PYCLS = Target(
    "pycls",
    lambda model: {f"{identifier(model)}.yaml": dump_yaml(pycls_config(model), describe(model))},
)
