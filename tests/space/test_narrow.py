"""Spaces made in Python: `narrow`, dicts, paths, and their display in a notebook."""

import pytest
import yaml

from designspace.errors import InputError
from designspace.space import load_space, sample


def test_narrow_takes_the_keys_of_a_file_and_axes():
    parent = load_space("AnyNetXA@32")
    mine = parent.narrow(
        name="mine",
        reason="narrow bottlenecks looked worse",
        share=["b"],
        monotone={"w": "increasing"},
        b=[1, 2],
        g=8,
        w=(12, 100),
    )
    assert (mine.name, mine.parent, mine.reason) == (
        "mine",
        "AnyNetXA@32",
        "narrow bottlenecks looked worse",
    )
    assert (mine.share, mine.monotone) == (("b",), {"w": "increasing"})
    assert mine.axes["b"].values.tolist() == [1, 2]
    assert mine.axes["g"].values.tolist() == [8]
    # A range keeps the parent's values within it, its distribution and its step.
    assert mine.axes["w"].values.tolist() == list(range(16, 97, 8))
    assert mine.source["axes"]["w"]["distribution"] == "log_uniform"
    assert mine.axes["d"].values.tolist() == parent.axes["d"].values.tolist()
    assert len(sample(mine, 5).population) == 5
    finer = mine.narrow(name="finer", reason="r", monotone={"d": "increasing"}, se_ratio=0.25)
    assert finer.monotone == {"w": "increasing", "d": "increasing"}
    assert (finer.parent, finer.se_ratio) == ("mine", 0.25)


def test_a_narrowed_choice_keeps_the_weights_of_its_values():
    axis = {"distribution": "choice", "values": [8, 2, 4], "weights": [5, 1, 3]}
    parent = load_space("AnyNetXA@32").narrow(name="weighted", reason="r", g=axis)
    assert parent.axes["g"].probabilities == pytest.approx([1 / 9, 3 / 9, 5 / 9])
    narrowed = parent.narrow(name="narrowed", reason="r", g=(4, 8))
    assert narrowed.source["axes"]["g"] == axis | {"values": [4, 8], "weights": [3, 5]}
    with pytest.raises(InputError, match="2 weights for 3 values; give each value one"):
        parent.narrow(name="wrong", reason="r", g=axis | {"weights": [1, 2]})


def test_a_narrowed_space_is_that_of_the_equal_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nparent: RegNetX@32\nreason: r\n"
        "axes: {d: {distribution: uniform, low: 8, high: 16, step: 1}}\n"
    )
    narrowed = load_space("RegNetX@32").narrow(name="mine", reason="r", d=(8, 16))
    assert narrowed.hash == load_space(tmp_path / "mine.yaml").hash
    assert narrowed.source == load_space(tmp_path / "mine.yaml").source


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": ["b"]}, "shares is not a key of this space; did you mean share"),
        ({"w_0": [8]}, "w_0 is not a key"),
        ({"d": (1, 2, 3)}, "a range has two ends, and a list is a choice"),
        ({"d": (100, 200)}, r"d is \(100, 200\); AnyNetXA has no value in that range"),
        ({"b": [0.75]}, r"axes\.b: .*must be 1/n where it is below 1.*found 0\.75"),
        ({"b": []}, r"axes\.b.*at least 1"),
        ({"share": ["q"]}, "share: no axis q"),
        ({"family": "regnet"}, "family is not a key"),
    ],
)
def test_wrong_changes_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        load_space("AnyNetXA").narrow(name="mine", reason="r", **changes)


def test_a_space_is_loaded_from_a_dict_or_a_path(tmp_path):
    space = load_space("AnyNetXE@16")
    assert load_space(space.source).hash == space.hash
    child = load_space({"name": "mine", "parent": "AnyNetXE@16", "reason": "r", "share": ["b"]})
    assert child.share == ("b",)
    assert child.skeleton == space.skeleton
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(dict(space.source)))
    assert load_space(tmp_path / "x.yaml").hash == space.hash
    with pytest.raises(InputError, match="mine: parent: no space 'AnyNetXQ'; did you mean"):
        load_space({"name": "mine", "parent": "AnyNetXQ", "reason": "r"})
    with pytest.raises(InputError, match="famly: unknown key; did you mean family"):
        load_space({**space.source, "famly": 1})


CAPPED = {"name": "x", "parent": "RegNetX-constrained", "reason": "r"}


@pytest.mark.parametrize("nothing", [{}, None])
def test_an_empty_map_or_null_removes_what_the_parent_states(nothing):
    assert {cap.measure for cap in load_space(CAPPED).caps} == {"params", "acts"}
    assert load_space({**CAPPED, "caps": nothing}).caps == ()
    assert load_space("RegNetX-constrained").narrow(name="x", reason="r", caps=nothing).caps == ()
    free = {"name": "x", "parent": "AnyNetXE-4widths", "reason": "r"}
    assert load_space({**free, "distinct": nothing}).distinct == {}
    assert load_space({**free, "monotone": nothing, "total_depth": None}).total_depth is None


def test_null_removes_one_entry_of_the_parents():
    (cap,) = load_space({**CAPPED, "caps": {"params": None}}).caps
    assert cap.measure == "acts"


def test_channels_count_only_where_they_are_not_3(tmp_path):
    plain = load_space("RegNetX@32")
    assert "channels" not in plain.source["input"]
    rgb = plain.narrow(name="rgb", reason="r", input={"channels": 3})
    assert (rgb.hash, rgb.source["input"]) == (plain.hash, plain.source["input"])
    gray = plain.narrow(name="gray", reason="r", input={"channels": 1})
    assert gray.hash != plain.hash
    assert gray.skeleton.resolution == 32
    models = [sample(space, 1, seed=1).population.model(0) for space in (plain, gray)]
    assert models[1].skeleton.channels == 1
    setting = tmp_path / "xray.yaml"
    setting.write_text("name: xray\nreason: r\ninput: {resolution: 32, channels: 1}\n")
    assert load_space(f"AnyNetXA@{setting}").skeleton.channels == 1


def test_html_is_escaped_and_has_every_axis():
    space = load_space("AnyNetXD").narrow(name="x", reason="<b>wide & deep</b>", b=[1, 2])
    text = space._repr_html_()
    assert "&lt;b&gt;wide &amp; deep&lt;/b&gt;" in text
    assert "<b>wide" not in text
    for name in space.axes:
        assert f"<th>{name}</th>" in text
    assert "increasing" in text


WIDER = "b has 8, which its parent RegNetX@8 lacks"


def test_values_that_the_parent_lacks_are_noted():
    parent = load_space("RegNetX@8")
    wider = parent.narrow(name="m", reason="r", b=[8])
    assert wider.notes == (WIDER,)
    assert WIDER in wider._repr_html_()
    assert parent.narrow(name="m", reason="r", b=[1], d=(4, 8)).notes == ()
    axes = {"b": {"distribution": "choice", "values": [1, 8]}}
    assert load_space({"name": "m", "parent": "RegNetX@8", "reason": "r", "axes": axes}).notes == (
        WIDER,
    )


def test_commands_print_the_note(cli, tmp_path):
    file = tmp_path / "m.yaml"
    axes = {"b": {"distribution": "choice", "values": [1, 8]}}
    file.write_text(yaml.safe_dump({"name": "m", "parent": "RegNetX", "reason": "r", "axes": axes}))
    assert f"# note: {WIDER}" in cli("spaces", f"{file}@8").out
    out = cli("sample", f"{file}@8", "-n", 2, "--out", tmp_path / "run").out
    assert f"note: {WIDER}" in out
    file.write_text(yaml.safe_dump({"name": "m", "parent": "RegNetX", "reason": "r"}))
    assert "note" not in cli("spaces", f"{file}@8").out


def test_a_complete_file_may_name_itself_as_its_parent(tmp_path):
    source = dict(load_space("RegNetX@8").source) | {"name": "own", "parent": "own"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(source))
    assert load_space(tmp_path / "own.yaml").notes == ()


STEPS = {"distribution": "choice", "values": [8, 16]}


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        ("AnyNetXC@8", {"total_depth": {"high": 3}}, "high is 3, but 4 stages have at least 4"),
        ("AnyNetXC@8", {"total_depth": {"low": 25}}, "low is 25, but 4 stages have at most 24"),
        (
            "AnyNetXC@8",
            {"total_depth": {"high": 9}, "monotone": {"d": "strictly_increasing"}},
            "high is 9, but 4 stages have at least 10",
        ),
        (
            "AnyNetXC@8",
            {"total_depth": {"low": 23}, "distinct": {"d": 3}},
            "low is 23, but 4 stages have at most 21",
        ),
        (
            "AnyNetXC@8",
            {"total_depth": {"high": 1}, "stages": [2, 4]},
            "high is 1, but 2 stages have at least 2",
        ),
        (
            "RegNetX@8",
            {"total_depth": {"low": 9, "high": 12}, "d": STEPS},
            "no value of axes.d, which has 8 to 16, is from 9 to 12",
        ),
        (
            "AnyNetXC@8",
            {"total_depth": {"low": 5, "high": 7}, "share": ["d"]},
            "from 5 to 7 there is no value of axes.d, which the stages share",
        ),
    ],
)
def test_a_total_depth_that_no_network_has_is_refused(space, changes, message):
    with pytest.raises(InputError, match=f"total_depth: {message}"):
        load_space(space).narrow(name="m", reason="r", **changes)


@pytest.mark.parametrize(
    ("space", "changes"),
    [
        ("AnyNetXC@8", {"total_depth": {"high": 4}}),
        ("AnyNetXC@8", {"total_depth": {"low": 24}}),
        ("AnyNetXC@8", {"total_depth": {"high": 10}, "monotone": {"d": "strictly_decreasing"}}),
        ("AnyNetXC@8", {"total_depth": {"high": 2}, "stages": [2, 4]}),
        ("AnyNetXC@8", {"total_depth": {"low": 5, "high": 8}, "share": ["d"]}),
        ("RegNetX@8", {"total_depth": {"low": 16, "high": 30}, "d": STEPS}),
    ],
)
def test_a_total_depth_that_a_network_just_has_is_accepted(space, changes):
    assert load_space(space).narrow(name="m", reason="r", **changes).total_depth


W, B, G = ({"distribution": "choice", "values": v} for v in ([72, 88], [1, 4], [16, 8]))
FEW = {"axes": {"w": W, "b": B, "g": G}}


@pytest.mark.parametrize(
    ("space", "changes", "most"),
    [
        ("AnyNetXA@8", {"b": [1, 2, 4], "distinct": {"b": 4}}, 3),
        ("AnyNetXA@8", {"share": ["b"], "distinct": {"b": 2}}, 1),
        ("AnyNetXA@8", {"share": ["w"], "distinct": {"w": 4}}, 3),
        ("AnyNetXA@8", {"share": ["w", "b", "g"], "distinct": {"w": 2}}, 1),
        ("AnyNetXA@8", {**FEW, "share": ["b", "g"], "distinct": {"w": 3}}, 2),
        ("AnyNetXA@8", {"block": "vanilla", "share": ["w"], "distinct": {"w": 2}}, 1),
        ("RegNetX@8", {"distinct": {"b": 2}}, 1),
    ],
)
def test_more_distinct_values_than_a_network_has_are_refused(space, changes, most):
    ((name, count),) = changes["distinct"].items()
    with pytest.raises(InputError, match=f"{name}: no network has {count} .* at most {most}; "):
        load_space(space).narrow(name="m", reason="r", **changes)
    fewer = {**changes, "distinct": {name: most}}
    assert load_space(space).narrow(name="m", reason="r", **fewer).distinct == {name: most}


def test_rounding_gives_a_shared_width_several_values():
    """A w of 72 becomes 64 or 72, one of 88 becomes 64, 88 or 96: by group width and ratio."""
    free = load_space("AnyNetXA@32").narrow(name="m", reason="r", **FEW, share=["w"])
    most = max(len({*row}) for row in sample(free, 300).population.bodies.widths.tolist())
    assert most > 1
    assert free.narrow(name="n", reason="r", distinct={"w": most}).distinct == {"w": most}
    with pytest.raises(InputError, match=f"at most {most}; "):
        free.narrow(name="n", reason="r", distinct={"w": most + 1})


def test_rules_of_finished_bodies_make_a_size_a_bound():
    plain, ruled = load_space("AnyNetXE"), load_space("AnyNetXE-4widths")
    assert (plain.size_is_bound, ruled.size_is_bound) == (False, True)
    assert plain.exact_size == ruled.exact_size
    assert "(exactly 8.17e+11)" in plain._repr_html_()
    assert "(at most 8.17e+11)" in ruled._repr_html_()


def test_activations_are_shown_by_name():
    space = load_space("AnyNetXA").narrow(name="m", reason="r", activation=["silu", "relu"])
    assert repr(space).endswith("activation relu, silu)")
    assert "<th>activation</th><td>relu, silu</td>" in space._repr_html_()


def test_an_unknown_block_is_one_mistake():
    data = {**load_space("AnyNetXA@8").source, "block": "vanila"}
    with pytest.raises(InputError) as error:
        load_space(data)
    assert str(error.value).count("no block") == 1
    assert "block: no block 'vanila': did you mean vanilla?" in str(error.value)
    assert "axes." not in str(error.value)


def test_another_block_keeps_what_holds_for_any_and_a_note_names_the_rest():
    parent = load_space("AnyNetXE-stages@16").narrow(
        name="parent",
        reason="r",
        recipe={"lr": {"distribution": "uniform", "low": 0.1, "high": 0.2}},
        total_depth={"low": 4, "high": 20},
    )
    child = parent.narrow(name="child", reason="r", block="residual-basic")
    assert child.stage_counts == (3, 4, 5)
    assert (child.total_depth, set(child.recipe)) == ((4, 20), {"lr"})
    (note,) = child.notes
    assert note.startswith(
        "its block differs from that of its parent parent, so that it does not inh"
    )
    assert note.endswith("not inherit monotone; state it to keep it")
    assert not parent.narrow(name="c", reason="r", block="residual-basic", monotone={}).notes


def test_another_family_keeps_block_and_stages(tmp_path):
    parent = load_space("AnyNetZA@16")
    regnets = load_space("RegNetZ@16")
    axes = {name: regnets.source["axes"][name] for name in ("d", "w_0", "w_a", "w_m")}
    space = {"name": "mine", "parent": "AnyNetZA@16", "reason": "r", "family": "regnet"}
    bodies = {name: parent.source["axes"][name] for name in parent.axes if name not in ("d", "w")}
    child = load_space({**space, "axes": {**axes, **bodies}})
    assert (child.block, child.activations) == (parent.block, parent.activations)


def test_the_order_of_keys_and_repeats_do_not_make_another_space():
    constrained = load_space("RegNetX-constrained")
    assert constrained.hash == "2fe056b71e914423"  # of version 0.1
    source = constrained.source
    turned = {**source, "caps": dict(reversed(source["caps"].items()))}
    assert load_space(turned).hash == constrained.hash
    once, twice = (
        load_space("AnyNetXA@32").narrow(name="n", reason="r", share=names)
        for names in (["b"], ["b", "b"])
    )
    assert once.hash == twice.hash


def test_wrong_values_of_narrow_are_refused():
    space = load_space("RegNetX@32")
    with pytest.raises(InputError, match="d is '4'; it must be a number"):
        space.narrow(name="n", reason="r", d=("4", "28"))
    with pytest.raises(InputError, match="axes is None; give a map of axes"):
        space.narrow(name="n", reason="r", axes=None)
