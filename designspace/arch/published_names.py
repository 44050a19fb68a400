"""Names of published networks in other libraries.

torchvision and ClassyVision write regnet_y_1_6gf, timm regnety_016 and regnety_016.pycls_in1k,
transformers facebook/regnet-y-016, pycls RegNetY-1.6GF_dds_8gpu, mmpretrain regnetx_1.6gf.
torchvision rounds widths differently, so that three of its networks are not those of pycls.
Of other families those names are known whose network is one of the catalog: the convolutions pad
as in PyTorch, also where a name's weights were trained in TensorFlow (tf_efficientnet_b0). Such a
name has the same costs, but timm's weights of it give other outputs, so that they are refused.
"""

import re
from dataclasses import replace

from designspace.arch.body import Body
from designspace.arch.catalog import CATALOG, published, published_names
from designspace.arch.model import Model
from designspace.arch.regnet import RegNetParams
from designspace.errors import InputError

# timm (multiply-adds in units of 0.1 G), transformers, Keras
_NUMBERED = re.compile(r"regnet[-_]?([xy])[-_]?(\d{3,4})(_tv)?(?:\.[a-z0-9_]+|-seer(?:-in1k)?)?")
# torchvision, ClassyVision, pycls and mmpretrain, with their suffixes of config files
_SIZED = re.compile(
    r"regnet[-_]?([xy])[-_](\d+(?:[._]\d+)?)([mg])f(?:_(?:dds|\d+xb\d+)[a-z0-9_-]*)?(?:\.yaml|\.py)?"
)
_TEN_BILLION = re.compile(r"regnet[-_]?y[-_]10b(?:-seer(?:-in1k)?)?")
_HUB = re.compile(r"^(?:hf[-_]hub:)?(?:(?:timm|facebook|google|microsoft)/)?")

# depths, widths, group width, squeeze ratio of the networks that torchvision rounds differently.
_TORCHVISION = {
    "regnet_x_400mf": ((1, 2, 7, 12), (32, 64, 160, 400), 16, 0.0),
    "regnet_y_800mf": ((1, 3, 8, 2), (64, 144, 320, 784), 16, 0.25),
    "regnet_y_8gf": ((2, 4, 10, 1), (224, 448, 896, 2016), 56, 0.25),
}
_TIMM_COPIES = {
    "regnetx_004_tv": "regnet_x_400mf",
    "regnety_008_tv": "regnet_y_800mf",
    "regnety_080_tv": "regnet_y_8gf",
}
# Other families: names of torchvision, timm and transformers, and the catalog's.
_OTHER_NAMES = {
    r"convnext[-_](?P<size>tiny|small|base|large)(?:-(?P<side>\d{3})(?:-22k)?(?:-1k)?)?": (
        "ConvNeXt-{size[0]}"
    ),
    r"(?:tf_)?efficientnet[-_]?(?P<size>b[0-5])(?:_ns|_ap)?": "EfficientNet-{size}",
    r"mobilenet[-_]?v2(?:[-_]100|_1\.0(?:_(?P<side>\d{3}))?)?": "MobileNetV2",
    r"(?:tv_)?resnet[-_]?(?P<size>18|34|50|101|152)": "ResNet-{size}",
    r"resnext[-_]?(?P<size>50|101)(?:[-_]32x4d)?": "ResNeXt-{size}",
    r"regnetz[-_]005": "RegNetZ-500MF",
    r"regnetz[-_]040": "RegNetZ-4.0GF",
    r"regnetz[-_]040[-_]h": "RegNetZ-4.0GF-head",
}
# timm's tag of weights, such as .fb_in22k_ft_in1k_384
_TAG = r"(?:\.(?:[a-z0-9_]+_)?in(?:1|12|22)k(?:_\d{3})?)?"
_FAMILIES = {
    "convnext": "ConvNeXt",
    "efficientnet": "EfficientNet",
    "mobilenet": "MobileNet",
    "resnet": "ResNet",
    "resnext": "ResNeXt",
    "regnetz": "RegNetZ",
    "regnetv": "RegNet",
}
# The key of a model's provenance that holds the name of another network of the same cost.
_TIMM_NAME = "name in timm"
_CLASSY_256GF = RegNetParams(27, 640, 124.47, 2.04, 1.0, 848)


def published_model(name: str) -> Model:
    """Return a published model by its name in the catalog or in another library.

    Args:
        name: Such as RegNetY-4.0GF, regnet_y_400mf, regnety_040, facebook/regnet-y-040.

    Raises:
        InputError: There is no such model.
    """
    key = _HUB.sub("", name.strip().lower())
    key = _TIMM_COPIES.get(key.partition(".")[0], key)
    if key in _TORCHVISION:
        return _torchvision_model(key)
    if key == "regnet_y_256gf":
        model = Model.from_regnet(key, _CLASSY_256GF, 0.25)
        return replace(model, provenance=(("source", "ClassyVision; not SEER's RegNetY-256GF"),))
    for pattern, catalog_name in _OTHER_NAMES.items():
        if match := re.fullmatch(pattern + _TAG, key):
            groups = match.groupdict()
            side = groups.get("side")
            model = published(catalog_name.format(**groups))
            if key.startswith("tf_"):
                origin = (_TIMM_NAME, key.partition(".")[0])
                model = replace(model, provenance=(*model.provenance, origin))
            return model.at(int(side) if side else _side(key), _classes(key, name))
    try:
        return published(_catalog_name(key) or name).at(_side(key), _classes(key, name))
    except InputError as error:
        raise _unsupported(key, name) or error from None


def timm_name(model: Model) -> str:
    """Return the name in timm by which a model was loaded, if timm's network differs; else ""."""
    return dict(model.provenance).get(_TIMM_NAME, "")


def _side(key: str) -> int | None:
    """Return the side in pixels that timm's tag of weights ends with, or None for the usual one."""
    match = re.search(r"\..*in(?:1|12|22)k_(\d{3})$", key)
    return int(match[1]) if match else None


def _classes(key: str, name: str) -> int | None:
    """Return the classes of the weights that a name is of, or None for the network's own."""
    if re.search(r"(?:-|in)22k(?:_\d{3})?$", key):
        return 21841
    if re.search(r"in12k(?:_\d{3})?$", key):
        return 11821
    # transformers' MobileNets have a class for the background.
    return 1001 if name.strip().lower().startswith("google/mobilenet") else None


def _unsupported(key: str, name: str) -> InputError | None:
    """Return the error for a network of a known family that is built or sized differently."""
    if "_sgn" in key:
        return InputError(
            f"no published model {name!r}; timm's _sgn has GroupNorm and SiLU, published RegNets "
            "have BatchNorm and ReLU"
        )
    family = re.match(r"(?:tf_|tv_)?([a-z]+?)(?=v\d|[^a-z])", f"{key} ")
    prefix = _FAMILIES.get(family[1]) if family else None
    if prefix is None:
        return None
    supported = ", ".join(entry for entry in published_names() if entry.startswith(prefix))
    return InputError(
        f"no published model {name!r}; of its family, these are supported, under their names in "
        f"torchvision, timm and transformers too: {supported}"
    )


def _catalog_name(key: str) -> str | None:
    """Return the catalog's name of a model of another library, or None."""
    if _TEN_BILLION.fullmatch(key):
        return "RegNetY-10B"
    if match := _NUMBERED.fullmatch(key):
        flops = int(match[2]) * 10**8
    elif match := _SIZED.fullmatch(key):
        flops = round(float(match[2].replace("_", ".")) * {"m": 10**6, "g": 10**9}[match[3]])
    else:
        return None
    prefix = f"RegNet{match[1].upper()}-"
    names = (n for n, e in CATALOG.items() if n.startswith(prefix) and e.nominal_flops == flops)
    return next(names, None)


def _torchvision_model(key: str) -> Model:
    depths, widths, group_width, se_ratio = _TORCHVISION[key]
    body = Body(depths, widths, (1.0,) * 4, (group_width,) * 4, se_ratio)
    source = f"torchvision; its rounding makes it another network than {_catalog_name(key)}"
    return Model(key, body, provenance=(("source", source),))
