"""pycls: its YAML, `regnet` by parameters where those say all, else `anynet` with explicit stages.

The schedule is that of the published baselines: 100 epochs, lr 0.1 a 128 images, weight decay 5e-5.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from designspace.arch import Model
from designspace.export.classyvision import by_parameters
from designspace.export.identifiers import describe, identifier
from designspace.export.target import Target, same
from designspace.io.validation import validate
from designspace.io.yaml_files import dump_yaml, read_yaml


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Model(_Strict):
    TYPE: Literal["regnet", "anynet"]
    NUM_CLASSES: int = Field(ge=1)


class _Common(_Strict):
    STEM_TYPE: Literal["simple_stem_in", "res_stem_cifar", "res_stem_in"]
    STEM_W: int = Field(ge=1)
    BLOCK_TYPE: Literal["res_bottleneck_block"]
    SE_ON: bool
    SE_R: float = Field(default=0.25, ge=0, le=1)


class _RegNet(_Common):
    DEPTH: int = Field(ge=1)
    W0: int = Field(ge=8, multiple_of=8)
    WA: float = Field(ge=0)
    WM: float = Field(gt=1)
    GROUP_W: int = Field(ge=1)


class _AnyNet(_Common):
    DEPTHS: list[int]
    WIDTHS: list[int]
    STRIDES: list[int]
    BOT_MULS: list[float]
    GROUP_WS: list[int]


class _Optim(_Strict):
    LR_POLICY: Literal["cos"]
    BASE_LR: float
    MAX_EPOCH: int
    MOMENTUM: float
    WEIGHT_DECAY: float
    WARMUP_EPOCHS: int


class _Data(_Strict):
    DATASET: str
    IM_SIZE: int
    BATCH_SIZE: int


class PyclsFile(_Strict):
    """The keys of a pycls config that we write, as its `core/config.py` declares them."""

    MODEL: _Model
    REGNET: _RegNet | None = None
    ANYNET: _AnyNet | None = None
    OPTIM: _Optim
    TRAIN: _Data
    TEST: _Data
    NUM_GPUS: int
    OUT_DIR: str


def config(model: Model) -> dict[str, Any]:
    """Return the YAML as plain data."""
    kind = "regnet" if by_parameters(model) else "anynet"
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
    common: dict[str, Any] = {
        "STEM_TYPE": "simple_stem_in" if model.skeleton.stem_stride == 2 else "res_stem_cifar",
        "STEM_W": model.skeleton.stem_width,
        "BLOCK_TYPE": "res_bottleneck_block",
        "SE_ON": model.body.se_ratio > 0,
    }
    if model.body.se_ratio:
        common["SE_R"] = model.body.se_ratio
    if kind == "regnet":
        assert model.regnet is not None
        regnet = model.regnet
        names = {"DEPTH": "d", "W0": "w_0", "WA": "w_a", "WM": "w_m", "GROUP_W": "g"}
        return {**common, **{key: getattr(regnet, name) for key, name in names.items()}}
    return {
        **common,
        "DEPTHS": list(model.body.depths),
        "WIDTHS": list(model.body.widths),
        "STRIDES": list(model.skeleton.strides),
        "BOT_MULS": [1 / b for b in model.body.bottleneck_ratios],
        "GROUP_WS": list(model.body.group_widths),
    }


def _files(model: Model) -> dict[str, str]:
    return {f"{identifier(model)}.yaml": dump_yaml(config(model), describe(model))}


def _check(model: Model, folder: Path) -> list[str]:
    path = folder / f"{identifier(model)}.yaml"
    validate(PyclsFile, read_yaml(path, "pycls"), path, "pycls")
    return ["keys are pycls'"]


PYCLS = Target("pycls", None, same, _files, check=_check)
