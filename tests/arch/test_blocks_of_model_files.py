"""model.yaml of other blocks: what the block does not have, or can't be, is refused."""

import pytest

from designspace.arch import published
from designspace.arch.catalog import published_names
from designspace.arch.model_file import model_text, read_model
from designspace.errors import InputError

STAGES = {
    "mbconv": "bottleneck_ratios: [1, 1], group_widths: [1, 1], block: mbconv, "
    "extras: {t: [1, 6], k: [3, 5]}",
    "residual-basic": "bottleneck_ratios: [1, 1], group_widths: [1, 1], block: residual-basic, "
    "extras: {}",
    "convnext": "bottleneck_ratios: [1, 1], group_widths: [1, 1], block: convnext, "
    "extras: {t: [4, 4], k: [7, 7]}",
    "bottleneck": "bottleneck_ratios: [1, 1], group_widths: [8, 8]",
}


def text_of(block, before="", after=""):
    stages = f"depths: [1, 1], widths: [16, 32], {STAGES[block]}, activation: relu"
    text = (
        "name: mine\nse_ratio: 0\ninput: {resolution: 32, strides: [1, 2]}\n"
        f"stages: {{{stages}}}\n"
    )
    assert before in text
    return text.replace(before, after) if before else text


@pytest.mark.parametrize("block", list(STAGES))
def test_the_files_themselves_are_read(tmp_path, block):
    (tmp_path / "m.yaml").write_text(text_of(block))
    assert read_model(tmp_path / "m.yaml").flops > 0


@pytest.mark.parametrize(
    ("block", "before", "after", "message"),
    [
        ("mbconv", "k: [3, 5]", "k: [4, 4]", r"stages\.extras\.k\[0\]: .*must be odd; found 4"),
        ("mbconv", "t: [1, 6]", "t: [1, 2.5]", r"stages\.extras\.t\[1\]: .*whole.*found 2\.5"),
        ("mbconv", "t: [1, 6]", "t: [1, 13]", r"stages\.extras\.t\[1\]: .*1 to 12; found 13"),
        ("mbconv", ", k: [3, 5]", "", r"stages\.extras has t; mbconv blocks have t, k"),
        ("mbconv", "k: [3, 5]", "q: [3, 5]", r"stages\.extras has t, q; mbconv blocks have t, k"),
        ("mbconv", "{t: [1, 6], k: [3, 5]}", "{}", r"stages\.extras has nothing; mbconv"),
        ("residual-basic", "{}", "{t: [1, 1]}", r"has t; residual-basic blocks have no axes"),
        ("bottleneck", "[8, 8]", "[8, 8], extras: {t: [1, 1]}", r"bottleneck blocks have no axes"),
        ("mbconv", "group_widths: [1, 1]", "group_widths: [8, 8]",
         r"stages\.group_widths: must be 1 .*mbconv blocks have no g; found 8, 8"),
        ("convnext", "ratios: [1, 1]", "ratios: [1, 2]",
         r"stages\.bottleneck_ratios: must be 1 .*found 1, 2"),
        ("residual-basic", "se_ratio: 0", "se_ratio: 0.25",
         r"m\.yaml: se_ratio: must be 0, as residual-basic blocks .*found 0\.25"),
    ],
)  # fmt: skip
def test_what_a_block_does_not_have_is_refused(tmp_path, block, before, after, message):
    (tmp_path / "m.yaml").write_text(text_of(block, before, after))
    with pytest.raises(InputError, match=message):
        read_model(tmp_path / "m.yaml")


def test_an_activation_of_other_blocks_is_refused(tmp_path, own_block):
    text = text_of("residual-basic", "block: residual-basic", "block: sigmoid-like")
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(InputError, match=r"stages\.activation: must be gelu or silu in .*relu"):
        read_model(tmp_path / "m.yaml")


@pytest.fixture
def own_block():
    from designspace.arch import Block, register_block, unregister_block

    yield register_block(
        Block("sigmoid-like", "Mine.", (), None, lambda *_: None, activations=("gelu", "silu"))
    )
    unregister_block("sigmoid-like")


@pytest.mark.parametrize("name", published_names())
def test_every_published_network_is_read_as_it_was_written(tmp_path, name):
    (tmp_path / "m.yaml").write_text(model_text(published(name)))
    assert read_model(tmp_path / "m.yaml") == published(name)


@pytest.mark.parametrize(
    ("top", "within", "se_ratio"),
    [(None, 0.25, 0.25), (0.25, None, 0.25), (0.25, 0.25, 0.25), (None, None, 0), (0, 0.25, None),
     (0.25, 0, None), (0.5, 0.25, None)],
)  # fmt: skip
def test_an_se_ratio_within_the_stages_counts_too(tmp_path, top, within, se_ratio):
    path = tmp_path / "m.yaml"
    text = text_of("bottleneck", "se_ratio: 0\n", "" if top is None else f"se_ratio: {top}\n")
    within_text = "" if within is None else f", se_ratio: {within}"
    path.write_text(text.replace("activation: relu", f"activation: relu{within_text}"))
    if se_ratio is not None:
        assert read_model(path).body.se_ratio == se_ratio
        return
    with pytest.raises(InputError, match=f"se_ratio is {top}, but stages.se_ratio is {within};"):
        read_model(path)
