"""What is explained of networks: nothing that their block does not have."""

import numpy as np
import pytest

from designspace.arch import (
    Block,
    Body,
    Cost,
    Model,
    RegNetParams,
    Skeleton,
    published,
    register_block,
    unregister_block,
)
from designspace.derivation.explain import explain


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        (
            "ConvNeXt-T",
            "Depths 3 3 9 3; widths 96 192 384 768; convnext blocks; t 4 4 4 4; k 7 7 7 7; "
            "activation gelu.",
        ),
        ("ResNet-18", "Depths 2 2 2 2; widths 64 128 256 512; residual-basic blocks."),
        (
            "EfficientNet-B0",
            "Depths 1 2 2 3 3 4 1; widths 16 24 40 80 112 192 320; mbconv blocks; "
            "t 1 6 6 6 6 6 6; k 3 3 5 3 5 5 3; squeeze-and-excitation 0.25; activation silu.",
        ),
        (
            "ResNet-50",
            "Depths 3 4 6 3; widths 256 512 1024 2048; group widths 64 128 256 512; "
            "bottleneck ratios 4 4 4 4; X blocks.",
        ),
        (
            "RegNetY-200MF",
            "Depths 1 1 4 7; widths 24 56 152 368; group widths 8 8 8 8; "
            "bottleneck ratios 1 1 1 1; squeeze-and-excitation 0.25.",
        ),
    ],
    ids=lambda text: text if len(text) < 20 else "stages",
)
def test_stages_have_what_their_block_has(name, stages):
    assert explain(published(name))[0][1][0] == stages


def test_only_a_classifier_that_ships_is_counted():
    def cost(bodies, skeleton):
        return Cost(*(np.full(len(bodies), 888),) * 3)

    register_block(Block("mine", "", (), cost, print))
    try:
        body = Body((1,), (8,), (1.0,), (1,), block="mine")
        own = explain(Model("m", body, Skeleton(classes=10, strides=(2,))))[0][1][1]
    finally:
        unregister_block("mine")
    assert own.endswith("; 888 parameters with 10 classes; 888 activations.")
    assert "27,820,128 without the classifier" in explain(published("ConvNeXt-T"))[0][1][1]


def test_a_group_width_that_changes_nothing_is_not_explained():
    model = Model.from_regnet("single", RegNetParams(8, 8, 8.0, 2.0, 1.0, 10**6))
    (follows,) = [lines for heading, lines in explain(model) if heading.startswith("How")]
    assert len(follows) == 2
    assert "8 16 32 64" in follows[1]


def test_other_widths_than_the_quantized_ones_are_explained():
    """A third of 16 channels is not whole: 5, of which the block has 15."""
    model = Model.from_regnet("thirds", RegNetParams(1, 16, 0.0, 2.0, 3.0, 10**6))
    (follows,) = [lines for heading, lines in explain(model) if heading.startswith("How")]
    assert follows[2] == "The 3x3's width must be whole, which makes them 15."
