"""Names of published RegNets in other libraries.

torchvision and ClassyVision write regnet_y_1_6gf, timm regnety_016 and regnety_016.pycls_in1k,
transformers facebook/regnet-y-016, pycls RegNetY-1.6GF_dds_8gpu, mmpretrain regnetx_1.6gf.
torchvision rounds widths differently, so that three of its networks are not those of pycls.
"""

import re
from dataclasses import replace

from designspace.arch.body import Body
from designspace.arch.catalog import CATALOG, published
from designspace.arch.model import Model
from designspace.arch.regnet import RegNetParams
from designspace.errors import InputError

# timm (multiply-adds in units of 0.1 G), transformers, Keras
_NUMBERED = re.compile(
    r"regnet[-_]?([xy])[-_]?(\d{3,4})(_tv)?(?:_sgn)?(?:\.[a-z0-9_]+|-seer(?:-in1k)?)?"
)
# torchvision, ClassyVision, pycls and mmpretrain, with their suffixes of config files
_SIZED = re.compile(
    r"regnet[-_]?([xy])[-_](\d+(?:[._]\d+)?)([mg])f(?:_(?:dds|\d+xb\d+)[a-z0-9_-]*)?(?:\.yaml|\.py)?"
)
_TEN_BILLION = re.compile(r"regnet[-_]?y[-_]10b(?:-seer(?:-in1k)?)?")
_HUB = re.compile(r"^(?:hf[-_]hub:)?(?:(?:timm|facebook)/)?")

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
# Names of networks of other blocks that differ from the catalog's in more than case and dashes.
_OTHER_NAMES = {
    "resnext50-32x4d": "ResNeXt-50",
    "resnext101-32x4d": "ResNeXt-101",
    "mobilenetv2-100": "MobileNetV2",
    "convnext-tiny": "ConvNeXt-T",
    "convnext-small": "ConvNeXt-S",
    "convnext-base": "ConvNeXt-B",
    "convnext-large": "ConvNeXt-L",
    "regnetz-005": "RegNetZ-500MF",
    "regnetz-040": "RegNetZ-4.0GF",
    "regnetz-040-h": "RegNetZ-4.0GF-head",
}
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
    other = _OTHER_NAMES.get(key.partition(".")[0].replace("_", "-"))
    if other is not None:
        return published(other)
    if re.match(r"regnetv[_-]?\d|regnetz[_-][a-e]\d", key):
        raise InputError(f"no published model {name!r}: timm's has blocks that are not built here")
    return published(_catalog_name(key) or name)


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
