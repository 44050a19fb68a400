"""Read a model from the files of other libraries: pycls, VISSL, ClassyVision, transformers.

Keys that do not describe the network (optimizer, data) are ignored. Networks that we can't build,
with another stem, block or activation, are refused with the key.
"""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from designspace.arch import Body, Model, RegNetParams, Skeleton, model_name
from designspace.arch.model_file import read_model
from designspace.arch.pycls_names import ACTIVATIONS_OF_PYCLS, BLOCKS_OF_PYCLS, STEMS_OF_PYCLS
from designspace.errors import InputError
from designspace.io.text_files import read_text
from designspace.io.validation import validate
from designspace.io.yaml_files import read_yaml

_STEM = Literal["simple_stem_in", "res_stem_cifar"]
_BLOCK = Literal["res_bottleneck_block"]
# Blocks with neither bottleneck, groups nor squeeze-and-excitation.
_PLAIN_BLOCKS = ("vanilla", "residual-basic")
# Of configs without labels.
_TRANSFORMERS_CLASSES = 2
_EPSILON = 1e-5


def _check_epsilon(value: float) -> float:
    if value != _EPSILON:
        raise ValueError(f"must be {_EPSILON:g}, the epsilon of BatchNorm in the networks here")
    return value


_Epsilon = Annotated[float, AfterValidator(_check_epsilon)]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _PyclsNet(_Keys):
    """What `REGNET` and `ANYNET` share; defaults are pycls' own, as in all classes here."""

    STEM_TYPE: Literal["simple_stem_in", "res_stem_cifar", "res_stem_in"] = "simple_stem_in"
    STEM_W: int = 32
    BLOCK_TYPE: Literal[
        "res_bottleneck_block", "vanilla_block", "res_basic_block", "res_bottleneck_linear_block"
    ] = "res_bottleneck_block"
    SE_ON: bool = False
    SE_R: float = 0.25
    HEAD_W: int = 0


class _PyclsRegNet(_PyclsNet):
    DEPTH: int = 10
    W0: int = 32
    WA: float = 5.0
    WM: float = 2.5
    GROUP_W: int = 16
    BOT_MUL: float = Field(default=1.0, gt=0)
    STRIDE: int = 2


class _PyclsAnyNet(_PyclsNet):
    DEPTHS: list[int] = Field(min_length=1)
    WIDTHS: list[int]
    STRIDES: list[int]
    BOT_MULS: list[float] = []
    GROUP_WS: list[int] = []


class _PyclsModel(_Keys):
    TYPE: Literal["regnet", "anynet"]
    NUM_CLASSES: int = 10
    ACTIVATION_FUN: Literal["relu", "silu", "swish", "gelu"] = "relu"


class _PyclsImages(_Keys):
    IM_SIZE: int = 224


class _PyclsBatchNorm(_Keys):
    EPS: _Epsilon = _EPSILON


class _PyclsFile(_Keys):
    MODEL: _PyclsModel
    BN: _PyclsBatchNorm = _PyclsBatchNorm()
    REGNET: _PyclsRegNet = _PyclsRegNet()
    ANYNET: _PyclsAnyNet | None = None
    TRAIN: _PyclsImages = _PyclsImages()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.MODEL.TYPE == "anynet" and self.ANYNET is None:
            raise ValueError("MODEL.TYPE is anynet; the key ANYNET is missing")
        return self


class _ClassyTrunk(_Keys):
    """A ClassyVision model, or a VISSL trunk: RegNet parameters, or the stages of an anynet."""

    name: str = "regnet"
    stem_type: _STEM = "simple_stem_in"
    stem_width: int = 32
    block_type: _BLOCK = "res_bottleneck_block"
    activation: Literal["relu"] = "relu"
    bn_epsilon: _Epsilon = _EPSILON
    use_se: bool = True
    se_ratio: float = 0.25
    depth: int | None = None
    w_0: int = 8
    w_a: float = 0
    w_m: float = 2
    group_width: int = 1
    bottleneck_multiplier: float = Field(default=1.0, gt=0)
    depths: list[int] | None = None
    widths: list[int] = []
    strides: list[int] = []
    group_widths: list[int] = []
    bottleneck_multipliers: list[float] = []
    heads: list[dict[str, Any]] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        key = {"regnet": "depth", "anynet": "depths"}.get(self.name)
        if key is None:
            raise ValueError(
                f"name is {self.name!r}, which may be another network in other libraries; it must "
                "be regnet or anynet"
            )
        if getattr(self, key) is None:
            raise ValueError(f"the key {key} is missing")
        return self


class _TransformersConfig(_Keys):
    model_type: Literal["regnet"]
    num_channels: int = 3
    embedding_size: int = 32
    hidden_sizes: list[int] = [128, 192, 512, 1088]
    depths: list[int] = [2, 6, 12, 2]
    groups_width: int = Field(default=64, ge=1)
    layer_type: Literal["x", "y"] = "y"
    hidden_act: Literal["relu"] = "relu"
    downsample_in_first_stage: bool = True
    num_labels: int | None = None
    id2label: dict[str, str] | None = None


def read_model_file(path: Path) -> Model:
    """Read a model from a model.yaml, or from a file of another library.

    Files that lack the resolution or the number of classes get ImageNet's, 224 pixels and 1000;
    but a transformers config without labels has 2 classes, as in transformers.

    Args:
        path: A model.yaml, a pycls or VISSL YAML, a ClassyVision JSON, a transformers config.json,
            or a folder with a model.yaml or config.json.

    Returns:
        The model, named after the file, or after its folder where the file has no name of its own.

    Raises:
        InputError: The file can't be read, or describes a network that can't be built.
    """
    if path.is_dir():
        files = [path / name for name in ("model.yaml", "config.json") if (path / name).is_file()]
        if not files:
            raise InputError(f"model: {path} has no model.yaml or config.json")
        path = files[0]
    try:
        if path.suffix == ".json":
            return _from_json(path)
        data = read_yaml(path, "model")
        if "MODEL" in data:
            return _from_pycls(validate(_PyclsFile, data, path, "pycls config"), path)
        if "config" in data:
            return _from_vissl(data, path)
    except InputError as error:
        text = str(error)
        raise error if str(path) in text else InputError(f"model: {path}: {text}") from None
    return read_model(path)


def _from_json(path: Path) -> Model:
    try:
        data = json.loads(read_text(path, "model"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"model: {path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"model: {path} must be a map of keys to values")
    if "model_type" in data:
        return _from_transformers(
            validate(_TransformersConfig, data, path, "transformers config"), path
        )
    inner = data["model"] if isinstance(data.get("model"), dict) else data
    trunk = validate(_ClassyTrunk, inner, path, "ClassyVision model")
    return _from_classy(trunk, path, Skeleton().resolution)


def _from_pycls(config: _PyclsFile, path: Path) -> Model:
    net: _PyclsNet
    regnet = None
    if config.MODEL.TYPE == "regnet":
        net = config.REGNET
        b = _ratio(net.BOT_MUL)
        regnet = RegNetParams(net.DEPTH, net.W0, net.WA, net.WM, b, net.GROUP_W)
        body = regnet.body(net.SE_R if net.SE_ON else 0.0)
        depths, widths, strides = body.depths, body.widths, [net.STRIDE] * body.num_stages
    else:
        assert config.ANYNET is not None
        net = config.ANYNET
        depths, widths, strides = tuple(net.DEPTHS), tuple(net.WIDTHS), net.STRIDES
    block = BLOCKS_OF_PYCLS[net.BLOCK_TYPE]
    if block in _PLAIN_BLOCKS:
        ones, regnet = (1,) * len(depths), None
        body = Body(depths, widths, tuple(map(float, ones)), ones)
    elif isinstance(net, _PyclsAnyNet):
        multipliers = net.BOT_MULS or [1.0] * len(depths)
        # Without group widths, the 3x3 is not grouped.
        whole = [round(w * m) for w, m in zip(widths, multipliers, strict=False)]
        se_ratio = net.SE_R if net.SE_ON else 0.0
        body = _body(net.DEPTHS, net.WIDTHS, multipliers, net.GROUP_WS or whole, se_ratio)
    activation = ACTIVATIONS_OF_PYCLS[config.MODEL.ACTIVATION_FUN]
    body = replace(body, block=block, activation=activation)
    stem, stem_stride = STEMS_OF_PYCLS[net.STEM_TYPE]
    skeleton = Skeleton(
        stem=stem,
        head_width=net.HEAD_W,
        resolution=config.TRAIN.IM_SIZE,
        classes=config.MODEL.NUM_CLASSES,
        stem_width=net.STEM_W,
        stem_stride=stem_stride,
        strides=tuple(strides),
    )
    return _model(path, body, skeleton, regnet)


def _from_vissl(data: dict[str, Any], path: Path) -> Model:
    try:
        keys = data["config"]["MODEL"]["TRUNK"]["REGNET"]
    except (KeyError, TypeError):
        raise InputError(f"VISSL config: {path} has no config.MODEL.TRUNK.REGNET") from None
    if not isinstance(keys, dict):
        raise InputError(f"VISSL config: {path}: config.MODEL.TRUNK.REGNET must be a map")
    # A trunk's stages need no name.
    name = "anynet" if keys.get("depths") else "regnet"
    trunk = validate(_ClassyTrunk, {"name": name, **keys}, path, "VISSL config")
    return _from_classy(trunk, path, _crop_size(data["config"], path))


def _crop_size(config: dict[str, Any], path: Path) -> int:
    """Return the side of the largest training crops of a VISSL config, else 224."""
    try:
        transforms = config["DATA"]["TRAIN"]["TRANSFORMS"]
        sizes = [t.get("size_crops", t.get("size")) for t in transforms if "name" in t]
        size = next(size for size in sizes if size)
    except (KeyError, TypeError, AttributeError, StopIteration):
        return Skeleton().resolution
    sides: list[Any] = size if isinstance(size, list) else [size]
    if not all(type(side) is int for side in sides):
        where = "config.DATA.TRAIN.TRANSFORMS"
        raise InputError(f"VISSL config: {path}: {where}: size is {size!r}; give whole numbers")
    return int(max(sides))


def _from_classy(trunk: _ClassyTrunk, path: Path, resolution: int) -> Model:
    se_ratio = trunk.se_ratio if trunk.use_se else 0.0
    regnet = None
    if trunk.name == "regnet":
        assert trunk.depth is not None
        b = _ratio(trunk.bottleneck_multiplier)
        regnet = RegNetParams(trunk.depth, trunk.w_0, trunk.w_a, trunk.w_m, b, trunk.group_width)
        body = regnet.body(se_ratio)
        strides = [2] * body.num_stages
    else:
        assert trunk.depths is not None
        multipliers, strides = trunk.bottleneck_multipliers, trunk.strides
        body = _body(trunk.depths, trunk.widths, multipliers, trunk.group_widths, se_ratio)
    classes = [head["num_classes"] for head in trunk.heads if head.get("num_classes")]
    skeleton = Skeleton(
        resolution=resolution,
        classes=classes[0] if classes else Skeleton().classes,
        stem_width=trunk.stem_width,
        stem_stride=STEMS_OF_PYCLS[trunk.stem_type][1],
        strides=tuple(strides),
    )
    return _model(path, body, skeleton, regnet)


def _from_transformers(config: _TransformersConfig, path: Path) -> Model:
    widths = config.hidden_sizes
    # As in transformers, a narrower stage has a single group.
    groups = [width // max(1, width // config.groups_width) for width in widths]
    se_ratio = 0.25 if config.layer_type == "y" else 0.0
    body = _body(config.depths, widths, [1.0] * len(widths), groups, se_ratio)
    skeleton = Skeleton(
        classes=config.num_labels or len(config.id2label or ()) or _TRANSFORMERS_CLASSES,
        stem_width=config.embedding_size,
        channels=config.num_channels,
        strides=(2 if config.downsample_in_first_stage else 1, *(2,) * (len(widths) - 1)),
    )
    return _model(path, body, skeleton, None)


def _body(
    depths: list[int],
    widths: list[int],
    multipliers: list[float],
    group_widths: list[int],
    se_ratio: float,
) -> Body:
    ratios = tuple(_ratio(multiplier) for multiplier in multipliers if multiplier > 0)
    return Body(tuple(depths), tuple(widths), ratios, tuple(group_widths), se_ratio)


def _ratio(multiplier: float) -> float:
    """Return the simplest bottleneck ratio with this inverse: 1 / (1 / 49) is not 49."""
    ratio = 1 / multiplier
    if not 1e-3 < ratio < 1e3:
        return ratio  # `Body` refuses it
    simple = float(Fraction(ratio).limit_denominator(10**6))
    return simple if 1 / simple == multiplier else ratio


def _model(path: Path, body: Body, skeleton: Skeleton, regnet: RegNetParams | None) -> Model:
    name = path.parent.name if path.stem in ("config", "model") else path.stem
    return Model(model_name(name), body, skeleton, regnet, (("file", str(path)),))
