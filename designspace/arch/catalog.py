"""The published RegNets: DDS tables 3 and 4 (24 models), SEER's trunks; other networks by name.

Parameters of the 24: pycls `configs/dds_baselines`, which are those of the DDS tables. SEER's:
arXiv 2103.01988 and 2202.08360 with their public VISSL configs. Tests compare their costs with the
published ones in `tests/golden/catalog.json`, which has the sources.
"""

import re
from dataclasses import dataclass, replace

from designspace.arch.model import Model
from designspace.arch.other_networks import OTHER_NETWORKS
from designspace.arch.regnet import RegNetParams
from designspace.arch.unit_suffix import format_quantity
from designspace.errors import InputError, nearest


@dataclass(frozen=True)
class Published:
    """A catalog entry.

    Attributes:
        regnet: The published parameters.
        se_ratio: Squeeze ratio.
        nominal_flops: Multiply-adds in its name.
        source: The publication.
    """

    regnet: RegNetParams
    se_ratio: float
    nominal_flops: float
    source: str


_DDS_X = "DDS (arXiv 2003.13678), table 3"
_DDS_Y = "DDS (arXiv 2003.13678), table 4"
_SEER = "SEER (arXiv 2103.01988)"
_SEER_10B = "SEER 10B (arXiv 2202.08360)"

# d, w_0, w_a, w_m, g
_REGNETX = {
    "200MF": (13, 24, 36.44, 2.49, 8),
    "400MF": (22, 24, 24.48, 2.54, 16),
    "600MF": (16, 48, 36.97, 2.24, 24),
    "800MF": (16, 56, 35.73, 2.28, 16),
    "1.6GF": (18, 80, 34.01, 2.25, 24),
    "3.2GF": (25, 88, 26.31, 2.25, 48),
    "4.0GF": (23, 96, 38.65, 2.43, 40),
    "6.4GF": (17, 184, 60.83, 2.07, 56),
    "8.0GF": (23, 80, 49.56, 2.88, 120),
    "12GF": (19, 168, 73.36, 2.37, 112),
    "16GF": (22, 216, 55.59, 2.1, 128),
    "32GF": (23, 320, 69.86, 2.0, 168),
}
_REGNETY = {
    "200MF": (13, 24, 36.44, 2.49, 8),
    "400MF": (16, 48, 27.89, 2.09, 8),
    "600MF": (15, 48, 32.54, 2.32, 16),
    "800MF": (14, 56, 38.84, 2.4, 16),
    "1.6GF": (27, 48, 20.71, 2.65, 24),
    "3.2GF": (21, 80, 42.63, 2.66, 24),
    "4.0GF": (22, 96, 31.41, 2.24, 64),
    "6.4GF": (25, 112, 33.22, 2.27, 72),
    "8.0GF": (17, 192, 76.82, 2.19, 56),
    "12GF": (19, 168, 73.36, 2.37, 112),
    "16GF": (18, 200, 106.23, 2.48, 112),
    "32GF": (20, 232, 115.89, 2.53, 232),
}
_SEER_TRUNKS = {
    "64GF": (20, 352, 147.48, 2.4, 328),
    "128GF": (27, 456, 160.83, 2.52, 264),
    "256GF": (27, 640, 230.83, 2.53, 373),
    "10B": (27, 1744, 620.83, 2.52, 1010),
}


def _regime(label: str) -> float:
    if label == "10B":  # a number of parameters; 1,863 billion multiply-adds at 224x224 (computed)
        return 1863e9
    return float(label[:-2]) * (1e9 if label.endswith("GF") else 1e6)


def _entry(
    row: tuple[int, int, float, float, int], se: float, label: str, source: str
) -> Published:
    d, w_0, w_a, w_m, g = row
    return Published(RegNetParams(d, w_0, w_a, w_m, 1.0, g), se, _regime(label), source)


CATALOG: dict[str, Published] = {
    **{f"RegNetX-{k}": _entry(v, 0.0, k, _DDS_X) for k, v in _REGNETX.items()},
    **{f"RegNetY-{k}": _entry(v, 0.25, k, _DDS_Y) for k, v in _REGNETY.items()},
    **{
        f"RegNetY-{k}": _entry(v, 0.25, k, _SEER_10B if k == "10B" else _SEER)
        for k, v in _SEER_TRUNKS.items()
    },
}


def published_names() -> list[str]:
    """Return the names of all published networks, RegNets first."""
    return [*CATALOG, *OTHER_NETWORKS]


def find_published(name: str) -> str:
    """Return the catalog's spelling of a name, whatever its case, `_` for `-` or missing `.0`.

    Raises:
        InputError: There is no such model; the message has the nearest names.
    """
    match = {_fold(entry): entry for entry in published_names()}.get(_fold(name))
    if match is None:
        raise InputError(f"no published model {name!r}; {nearest(name, published_names())}")
    return match


def published(name: str) -> Model:
    """Return a published model at its own resolution and classes; RegNets' are 224 and 1000.

    Raises:
        InputError: There is no such model; the message has the nearest names.
    """
    name = find_published(name)
    if name in OTHER_NETWORKS:
        return OTHER_NETWORKS[name]
    entry = CATALOG[name]
    model = Model.from_regnet(name, entry.regnet, entry.se_ratio)
    origin = (("source", entry.source), ("regime", format_quantity(entry.nominal_flops)))
    return replace(model, provenance=origin)


def _fold(name: str) -> str:
    return re.sub(r"[-_.]", "", name.lower().replace(".0gf", "gf").replace(".", "p"))
