"""Published models against published figures."""

import json
from pathlib import Path

import pytest

from designspace.arch import CATALOG, published
from designspace.errors import InputError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "catalog.json").read_text())["models"]

# SEER's trunks (arXiv 2103.01988, 2202.08360, and their public VISSL configs): widths, depths,
# parameters without classifier, billions of multiply-adds at 224 pixels. Parameters were counted on
# the networks that the configs build.
SEER = {
    "8.0GF": ((168, 448, 896, 2016), (2, 4, 10, 1), 37_163_068, 7.96),
    "16GF": ((224, 448, 1232, 3024), (2, 4, 11, 1), 80_565_140, 15.91),
    "32GF": ((232, 696, 1392, 3712), (2, 5, 12, 1), 141_333_770, 32.28),
    "64GF": ((328, 984, 1968, 4920), (2, 5, 12, 1), 276_457_786, 64.07),
    "128GF": ((528, 1056, 2904, 7392), (2, 7, 17, 1), 637_419_894, 127.52),
    "256GF": ((746, 1492, 4103, 10444), (2, 7, 17, 1), 1_272_156_138, 254.38),
    "10B": ((2020, 4040, 11110, 28280), (2, 7, 17, 1), 9_323_934_872, 1863.3),
}


def test_the_catalog_is_the_24_of_the_paper_and_those_of_seer():
    assert len(GOLDEN) == 24
    assert set(CATALOG) == set(GOLDEN) | {f"RegNetY-{name}" for name in SEER}


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_cost_of_the_papers_models_is_exact(name):
    model, golden = published(name), GOLDEN[name]
    assert {key: getattr(model, key) for key in ("flops", "params", "acts")} == {
        key: golden[key] for key in ("flops", "params", "acts")
    }


@pytest.mark.parametrize("name", sorted(SEER))
def test_seer_trunks(name):
    model = published(f"RegNetY-{name}")
    widths, depths, trunk, billions = SEER[name]
    assert model.body.widths == widths
    assert model.body.depths == depths
    assert model.params - (widths[-1] + 1) * 1000 == trunk
    assert model.flops / 1e9 == pytest.approx(billions, abs=0.05 if billions > 1000 else 0.006)


def test_the_256gf_figures():
    """Computed on the network of the published parameters, and given as such in the literature."""
    model = published("RegNetY-256GF")
    assert (model.flops, model.params) == (254_384_928_298, 1_282_601_138)
    assert model.body.group_widths == (373,) * 4
    small = published("RegNetY-128GF")
    assert (small.flops, small.params) == (127_517_896_350, 644_812_894)


@pytest.mark.parametrize(("resolution", "billions"), [(96, 46.87), (160, 129.87), (224, 254.38)])
def test_the_256gf_at_other_sizes(resolution, billions):
    assert published("RegNetY-256GF").at(resolution).flops / 1e9 == pytest.approx(
        billions, abs=0.006
    )


@pytest.mark.parametrize("word", ["regnety_4.0gf", "RegNetY-4GF", "REGNETY-4.0GF"])
def test_names_are_matched_in_any_spelling(word):
    assert published(word).name == "RegNetY-4.0GF"


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(InputError, match=r"did you mean .*RegNetY-12"):
        published("RegNetY-127GF")


def test_regimes_are_what_the_names_say():
    for name, entry in CATALOG.items():
        assert entry.nominal_flops == pytest.approx(published(name).flops, rel=0.07), name
