"""pycls: a YAML config of a `regnet` by its parameters if possible, else of an `anynet`.

The schedule is that of the published baselines: 100 epochs, lr 0.1 per 128 images, weight decay
5e-5.
"""

from typing import Any

from designspace.arch import Model
from designspace.arch.pycls_names import PYCLS_BLOCKS, PYCLS_STEMS
from designspace.errors import InputError
from designspace.export.classyvision import has_published_form
from designspace.export.identifiers import describe, identifier
from designspace.export.target import Target
from designspace.io.yaml_files import dump_yaml


def pycls_config(model: Model) -> dict[str, Any]:
    """Return the config as plain data."""
    plain = model.is_regnet_network
    kind = "regnet" if plain and has_published_form(model) else "anynet"
    side = model.skeleton.resolution
    network = {"TYPE": kind, "NUM_CLASSES": model.skeleton.classes}
    if model.body.activation != "relu":
        network["ACTIVATION_FUN"] = model.body.activation
    return {
        "MODEL": network,
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
        "STEM_TYPE": PYCLS_STEMS[skeleton.stem, skeleton.stem_stride],
        "STEM_W": skeleton.stem_width,
        "BLOCK_TYPE": PYCLS_BLOCKS[body.block],
        "SE_ON": body.se_ratio > 0,
    }
    if skeleton.head_width:
        keys["HEAD_W"] = skeleton.head_width
    if body.se_ratio:
        keys["SE_R"] = body.se_ratio
    if kind == "regnet":
        assert regnet is not None
        names = {"DEPTH": "d", "W0": "w_0", "WA": "w_a", "WM": "w_m", "GROUP_W": "g"}
        return {**keys, **{key: getattr(regnet, name) for key, name in names.items()}}
    stages = {
        "DEPTHS": list(body.depths),
        "WIDTHS": list(body.widths),
        "STRIDES": list(skeleton.strides),
    }
    if body.block in ("vanilla", "residual-basic"):
        return {**keys, **stages}
    return {
        **keys,
        **stages,
        "BOT_MULS": [1 / b for b in body.bottleneck_ratios],
        "GROUP_WS": list(body.group_widths),
    }


def _files(model: Model) -> dict[str, str]:
    body, skeleton = model.body, model.skeleton
    if body.block not in PYCLS_BLOCKS:
        raise InputError(
            f"pycls: its anynets have blocks {', '.join(PYCLS_BLOCKS)}; {model.name} is made of "
            f"{body.block} blocks"
        )
    if (skeleton.stem, skeleton.stem_stride) not in PYCLS_STEMS or body.activation == "relu6":
        raise InputError(
            f"pycls has no {skeleton.stem} stem of stride {skeleton.stem_stride} with "
            f"{body.activation}, as {model.name} has"
        )
    return {f"{identifier(model)}.yaml": dump_yaml(pycls_config(model), describe(model))}


PYCLS = Target("pycls", _files, any_network=True)
