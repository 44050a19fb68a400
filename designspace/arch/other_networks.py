"""Published networks of other blocks, and ResNets: pycls' baselines, EfficientNet, ConvNeXt.

Tests compare their costs with published ones. ResNet's and EfficientNet's are those of pycls, which
counts the outputs of max-pooling as activations too.
"""

from collections.abc import Sequence

from designspace.arch.activation import Activation
from designspace.arch.body import Body
from designspace.arch.model import Model
from designspace.arch.regnet import RegNetParams
from designspace.arch.skeleton import Skeleton

_RESNET = "ResNet (He et al. 2016, arXiv 1512.03385)"
_CIFAR = f"{_RESNET}; depths of pycls' configs for CIFAR-10"
_RESNEXT = "ResNeXt (Xie et al. 2017, arXiv 1611.05431)"
_MOBILENET = "MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), table 2"
_EFFICIENTNET = "EfficientNet (Tan and Le 2019, arXiv 1905.11946)"
_CONVNEXT = "ConvNeXt (Liu et al. 2022, arXiv 2201.03545), §2"
_REGNETZ = "timm's RegNetZ; the block of arXiv 2103.06877"


def _body(
    block: str,
    depths: Sequence[int],
    widths: Sequence[int],
    activation: Activation = "relu",
    se_ratio: float = 0.0,
    **extras: Sequence[float],
) -> Body:
    ones = (1,) * len(depths)
    named = tuple((name, tuple(map(float, values))) for name, values in extras.items())
    ratios = tuple(map(float, ones))
    return Body(tuple(depths), tuple(widths), ratios, ones, se_ratio, block, named, activation)


def _small(name: str, block: str, depth: int) -> Model:
    """A network for CIFAR-10: three stages of equal depth."""
    body = _body(block, (depth,) * 3, (16, 32, 64))
    return _model(name, body, Skeleton(32, 10, 16, 1, (1, 2, 2)), _CIFAR)


def _resnet(name: str, depths: tuple[int, ...], group: int | None, source: str) -> Model:
    """A ResNet of bottlenecks, without groups, or a ResNeXt with 32 groups."""
    ratio = 4.0 if group is None else 2.0
    inner = [round(64 * 4 / ratio) * 2**i for i in range(4)]
    groups = tuple(inner if group is None else (group * 2**i for i in range(4)))
    body = Body(depths, (256, 512, 1024, 2048), (ratio,) * 4, groups)
    return _model(name, body, _IMAGENET_STEM, source)


def _basic_resnet(name: str, depths: tuple[int, ...]) -> Model:
    body = _body("residual-basic", depths, (64, 128, 256, 512))
    return _model(name, body, _IMAGENET_STEM, _RESNET)


def _efficientnet(
    name: str, depths: Sequence[int], widths: Sequence[int], stem: int, head: int, side: int
) -> Model:
    kernels, expansions = (3, 3, 5, 3, 5, 5, 3), (1, 6, 6, 6, 6, 6, 6)
    body = _body("mbconv", depths, widths, "silu", 0.25, t=expansions, k=kernels)
    strides = (1, 2, 2, 2, 1, 2, 1)
    return _model(
        name, body, Skeleton(side, 1000, stem, 2, strides, head_width=head), _EFFICIENTNET
    )


def _mobilenet() -> Model:
    depths, widths = (1, 2, 3, 4, 3, 3, 1), (16, 24, 32, 64, 96, 160, 320)
    body = _body("mbconv", depths, widths, "relu6", t=(1, 6, 6, 6, 6, 6, 6), k=(3,) * 7)
    around = Skeleton(stem_width=32, strides=(1, 2, 2, 2, 1, 2, 1), head_width=1280)
    return _model("MobileNetV2", body, around, _MOBILENET)


def _convnext(name: str, depths: Sequence[int], width: int) -> Model:
    widths = [width * 2**i for i in range(4)]
    body = _body("convnext", depths, widths, "gelu", t=(4,) * 4, k=(7,) * 4)
    around = Skeleton(stem_width=width, stem_stride=4, strides=(1, 2, 2, 2), stem="patch")
    return _model(name, body, around, _CONVNEXT)


def _regnetz(name: str, regnet: RegNetParams, head: int) -> Model:
    like = _body("linear-bottleneck", (1,), (8,), "silu")
    around = Skeleton(head_width=head)
    model = Model.from_regnet(name, regnet, 0.25, around, like)
    source = _REGNETZ if head else f"{_REGNETZ}, without timm's activation behind the last stage"
    return _model(name, model.body, around, source, regnet)


def _model(
    name: str, body: Body, around: Skeleton, source: str, regnet: RegNetParams | None = None
) -> Model:
    return Model(name, body, around, regnet, (("source", source),))


_IMAGENET_STEM = Skeleton(stem_width=64, stem_stride=4, strides=(1, 2, 2, 2), stem="conv7_pool")
_Z4 = RegNetParams(28, 48, 14.5, 2.226, 0.25, 8)

OTHER_NETWORKS: dict[str, Model] = {
    model.name: model
    for model in (
        _small("V-56", "vanilla", 9),
        _small("R-56", "residual-basic", 9),
        _small("R-110", "residual-basic", 18),
        _basic_resnet("ResNet-18", (2, 2, 2, 2)),
        _basic_resnet("ResNet-34", (3, 4, 6, 3)),
        _resnet("ResNet-50", (3, 4, 6, 3), None, _RESNET),
        _resnet("ResNet-101", (3, 4, 23, 3), None, _RESNET),
        _resnet("ResNet-152", (3, 8, 36, 3), None, _RESNET),
        _resnet("ResNeXt-50", (3, 4, 6, 3), 4, _RESNEXT),
        _resnet("ResNeXt-101", (3, 4, 23, 3), 4, _RESNEXT),
        _mobilenet(),
        _efficientnet(
            "EfficientNet-B0", (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320), 32, 1280, 224
        ),
        _efficientnet(
            "EfficientNet-B1", (2, 3, 3, 4, 4, 5, 2), (16, 24, 40, 80, 112, 192, 320), 32, 1280, 240
        ),
        _efficientnet(
            "EfficientNet-B2", (2, 3, 3, 4, 4, 5, 2), (16, 24, 48, 88, 120, 208, 352), 32, 1408, 260
        ),
        _efficientnet(
            "EfficientNet-B3", (2, 3, 3, 5, 5, 6, 2), (24, 32, 48, 96, 136, 232, 384), 40, 1536, 300
        ),
        _efficientnet(
            "EfficientNet-B4",
            (2, 4, 4, 6, 6, 8, 2),
            (24, 32, 56, 112, 160, 272, 448),
            48,
            1792,
            380,
        ),
        _efficientnet(
            "EfficientNet-B5",
            (3, 5, 5, 7, 7, 9, 3),
            (24, 40, 64, 128, 176, 304, 512),
            48,
            2048,
            456,
        ),
        _efficientnet(
            "EfficientNet-B6",
            (3, 6, 6, 8, 8, 11, 3),
            (32, 40, 72, 144, 200, 344, 576),
            56,
            2304,
            528,
        ),
        _efficientnet(
            "EfficientNet-B7",
            (4, 7, 7, 10, 10, 13, 4),
            (32, 48, 80, 160, 224, 384, 640),
            64,
            2560,
            600,
        ),
        _convnext("ConvNeXt-T", (3, 3, 9, 3), 96),
        _convnext("ConvNeXt-S", (3, 3, 27, 3), 96),
        _convnext("ConvNeXt-B", (3, 3, 27, 3), 128),
        _convnext("ConvNeXt-L", (3, 3, 27, 3), 192),
        _regnetz("RegNetZ-500MF", RegNetParams(21, 16, 10.7, 2.51, 0.25, 4), 1024),
        _regnetz("RegNetZ-4.0GF", _Z4, 0),
        _regnetz("RegNetZ-4.0GF-head", _Z4, 1536),
    )
}
