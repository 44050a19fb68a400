"""Space files: the shipped ones against the paper's table, a person's own, and wrong ones."""

import math

import pytest
import yaml

from designspace.errors import InputError
from designspace.space import load_space, shipped_settings, shipped_spaces

# DDS, table 1 and section 3.2: dimensions and size; exact counts by combinations with repetition.
PAPER = {
    "AnyNetXA": (16, (16 * 128 * 3 * 6) ** 4, (16 * 128 * 3 * 6) ** 4),
    "AnyNetXB": (13, (16 * 128 * 6) ** 4 * 3, (16 * 128 * 6) ** 4 * 3),
    "AnyNetXC": (10, (16 * 128) ** 4 * 18, (16 * 128) ** 4 * 18),
    "AnyNetXD": (10, (16 * 128) ** 4 * 18 / 24, 16**4 * math.comb(131, 4) * 18),
    "AnyNetXE": (10, (16 * 128) ** 4 * 18 / 24**2, math.comb(19, 4) * math.comb(131, 4) * 18),
    "RegNetX": (6, 64**4 * 18, 60 * 31 * 2480 * 1501 * 18),
}


@pytest.mark.parametrize("name", PAPER)
def test_dimensions_and_sizes_are_the_papers(name):
    space = load_space(name)
    dimensions, size, exact = PAPER[name]
    assert space.dimensions == dimensions
    assert space.paper_size == pytest.approx(size)
    assert space.exact_size == exact


def test_every_shipped_space_goes_with_every_setting():
    assert len(shipped_spaces()) == 32
    assert shipped_settings() == ["8", "16", "32"]
    for name in shipped_spaces():
        plain = load_space(name)
        assert plain.name == name
        assert plain.reason
        for setting in shipped_settings():
            space = load_space(f"{name}@{setting}")
            assert space.name == f"{name}@{setting}"
            assert space.skeleton.resolution == int(setting)
            assert space.skeleton.num_stages == plain.skeleton.num_stages
            assert space.exact_size < plain.exact_size or name == "RegNetX-w0-wa"


def test_names_of_spaces_have_any_case():
    for name in ("regnetx@8", "REGNETX@8"):
        space = load_space(name)
        assert (space.name, space.hash) == ("RegNetX@8", load_space("RegNetX@8").hash)
    for wrong, right in (("regnetx2", "RegNetX"), ("anynetxaa@32", "AnyNetXA"), ("", "known:")):
        with pytest.raises(InputError, match=f"^no space .*{right}"):
            load_space(wrong)


def test_32_pixels_end_at_4_by_4():
    assert load_space("AnyNetXA@32").skeleton.stage_resolutions() == (32, 32, 16, 8, 4)


def test_parents_come_before_children():
    order = shipped_spaces()
    for name in order:
        parent = load_space(name).parent
        assert parent is None or order.index(parent) < order.index(name)


def test_a_resolved_space_stands_alone_and_hashes_alike(tmp_path):
    space = load_space("AnyNetXE@16")
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump({**space.source, "reason": "other words"}))
    assert load_space(str(path)).hash == space.hash


def test_an_own_space_narrows_a_neighbour_or_a_shipped_one(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nparent: AnyNetXC\nreason: b = 1\n"
        "axes: {b: {distribution: choice, values: [1]}}\n"
    )
    (tmp_path / "finer.yaml").write_text("name: finer\nparent: mine\nreason: SE\nse_ratio: 0.25\n")
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\nreason: 12 pixels\ninput: {resolution: 12, classes: 3}\nhigh: {w: 60}\n"
    )
    space = load_space(f"{tmp_path}/finer.yaml@{tmp_path}/tiny.yaml")
    assert space.name == "finer@tiny"
    assert (space.se_ratio, space.share, space.dimensions) == (0.25, ("b", "g"), 9)
    assert (space.skeleton.resolution, space.skeleton.classes) == (12, 3)
    assert space.axes["w"].values[-1] == 56


BASE = {
    "name": "x",
    "reason": "r",
    "parent": "AnyNetXA",
}
WRONG = [
    ({"name": "a/b"}, "name: "),
    ({"reason": ""}, "reason: "),
    ({"famly": "anynet"}, "famly: unknown key; did you mean family"),
    ({"b": [1, 2]}, "b: parameters belong under axes, such as axes: {b: {distribution: choice"),
    ({"family": "convnext"}, "family: .*'anynet' or 'regnet'.*found \"convnext\""),
    ({"share": ["q"]}, "share: no axis q; the axes are d, w, b, g"),
    ({"monotone": {"q": "increasing"}}, "monotone: no axis q; the axes are d, w, b, g"),
    ({"share": ["b"], "monotone": {"b": "increasing"}}, "monotone.b: .*shared"),
    ({"monotone": {"w": "up"}}, "monotone.w: .*'increasing', 'decreasing', 'strictly_increasing'"),
    ({"tie": {"w_a": "w_0"}}, "tie is for regnet"),
    ({"se_ratio": 2}, "se_ratio: .*less than or equal to 1"),
    ({"axes": {"w": {"distribution": "log_uniform", "low": 9, "high": 8, "step": 1}}}, "axes.w"),
    ({"axes": {"w": {"distribution": "normal"}}}, "axes.w: distribution is .normal.; did you mean"),
    (
        {"axes": {"d": {"distribution": "choice", "values": [1.5]}}},
        "axes.d: .*whole.*; found 1.5",
    ),
    ({"axes": {"b": {"distribution": "choice", "values": []}}}, "axes.b.*at least 1"),
    ({"axes": {"q": {"distribution": "choice", "values": [1]}}}, "exactly the axes d, w, b, g"),
    ({"input": {"resolution": 0}}, "input.resolution: .*found 0"),
    ({"input": {"strides": [3]}}, "input.strides\\[0\\]: "),
    ({"input": {"strides": [2] * 12}}, "12 stages; .* 224 pixels is down to one before stage 8"),
    ({"input": {"resolution": 4}}, "4 pixels is down to one before stage 2"),
    ({"parent": "AnyNetXQ"}, "no space 'AnyNetXQ'; did you mean AnyNetX"),
    ({"parent": "../x"}, "must be a name, not a path"),
    ({"parent": "x"}, "x -> x is a circle"),
    ({"parent": 3}, "parent: must be the name"),
    ({"caps": {"flops": {}}}, "caps.flops"),
    (
        {"axes": {"b": {"distribution": "choice", "values": [True]}}},
        r"axes\.b: values\[0\]: found true",
    ),
    ({"axes": {"w": {"distribution": "uniform", "low": True, "high": 8, "step": 1}}}, "low: found"),
    (
        {"input": {"stem_stride": True}},
        r"input\.stem_stride: found true \(YAML reads yes.* a number",
    ),
    ({"se_ratio": False}, "se_ratio: found false"),
    ({"caps": {"params": {"constant": True}}}, r"caps\.params: constant: found true"),
    ({"name": False}, "name: found false .* a name in quotes"),
    ({"share": [True]}, r"share\[0\]: found true"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[str(w[0])[:40] for w in WRONG])
def test_a_wrong_file_gets_file_key_value_and_rule(tmp_path, change, message):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({**BASE, **change}))
    with pytest.raises(InputError, match=message) as caught:
        load_space(str(path))
    assert "x.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parents", "asked", "circle"),
    [
        ({"a": "b", "b": "a"}, "a", "b.yaml: parent: a -> b -> a is a circle"),
        ({"a": "b", "b": "c", "c": "b"}, "a", "c.yaml: parent: b -> c -> b is a circle"),
        ({"RegNetX": "RegNetX"}, "RegNetX", "RegNetX -> RegNetX is a circle; a file beside"),
        ({"a" * 60: "b" * 60, "b" * 60: "a" * 60}, "a" * 60, f"{'b' * 60} -> {'a' * 60} is a"),
    ],
)
@pytest.mark.parametrize("named", ["{}", "other-{}"])
def test_a_circle_of_parents_is_named(tmp_path, parents, asked, circle, named):
    for name, parent in parents.items():
        text = f"name: {named.format(name)}\nparent: {parent}\nreason: r\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(InputError, match=circle):
        load_space(str(tmp_path / f"{asked}.yaml"))


def test_a_setting_has_no_switches(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("name: s\nreason: r\ninput: {resolution: 8}\nhigh: {w: yes}\n")
    with pytest.raises(InputError, match=r"s\.yaml: high\.w: found true"):
        load_space(f"AnyNetXA@{path}")


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b]\n"
HOSTILE = {
    "tag": ("name: !!python/object/apply:os.system ['touch gone']\n", "line 1: tags"),
    "bomb": (BOMB, "aliases"),
    "list": ("- a\n- b\n", "map of keys"),
    "scalar": ("5\n", "map of keys"),
    "empty": ("", "map of keys"),
    "broken": ("name: [1, 2\n", "line"),
    "twice": ("name: d\nname: e\n", "line 2: duplicate key 'name'"),
    "deep": ("a: " + "[" * 200 + "]" * 200, "nested too deep"),
    "date": ("name: 2020-99-99\n", "reason: missing"),
    "tab": ("name:\n\t- x\n", "line 2"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_yaml_is_refused_with_a_line(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, message = HOSTILE[kind]
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_space(str(path))
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("AnyNetXZ", "did you mean AnyNet"),
        ("AnyNetXA@17", "no setting '17'; "),
        ("missing.yaml", "no file missing.yaml"),
        ("../spaces/AnyNetXA", "no space"),
        ("", "no space ''"),
        ("@8", "no space ''"),
    ],
)
def test_unknown_names_list_the_known(text, message):
    with pytest.raises(InputError, match=message):
        load_space(text)


def test_binary_files_are_refused(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_space(str(tmp_path / "x.yaml"))


def test_a_range_keeps_what_it_leaves_out_of_the_parents_range():
    data = {"name": "mine", "parent": "RegNetX", "reason": "test"}
    axes = {
        "d": {"distribution": "uniform", "low": 10, "high": 20},
        "w_a": {"high": 64},
        "b": {"distribution": "choice", "values": [1]},
    }
    source = load_space(data | {"axes": axes}).source["axes"]
    assert source["d"] == {"distribution": "uniform", "low": 10, "high": 20, "step": 1}
    assert source["w_a"] == {"distribution": "log_uniform", "low": 8, "high": 64, "step": 0.1}
    with pytest.raises(InputError, match=r"axes\.b\.step: missing"):
        load_space(data | {"axes": {"b": {"distribution": "log_uniform", "low": 1, "high": 4}}})


MISTAKES = {
    "activation": ["relu", "tanh"],
    "axes": {
        "q": {"distribution": "choice", "values": [1]},
        "d": {"distribution": "chioce", "values": [1]},
        "b": 3,
    },
}


@pytest.mark.parametrize("parent", ["AnyNetXA", "AnyNetXZ"])
def test_all_mistakes_of_a_file_are_reported_once_whatever_its_parent(parent):
    with pytest.raises(InputError) as caught:
        load_space({"name": "mine", "parent": parent, "reason": "test", **MISTAKES})
    message = str(caught.value)
    assert ("no space 'AnyNetXZ'; did you mean" in message) == (parent == "AnyNetXZ")
    assert "axes.d: distribution is 'chioce'; did you mean choice?" in message
    assert "axes.b: must be a map" in message
    assert ("axes.q: unknown axis; an anynet has" in message) == (parent == "AnyNetXA")
    assert message.count("activation") == 1
    assert "activation[1]: must be 'relu', 'silu'" in message
    for phrase in ("Value error", "Input", "should", "tag"):
        assert phrase not in message


def test_one_number_of_stages_needs_no_list():
    data = {"name": "mine", "parent": "AnyNetXA", "reason": "test"}
    assert load_space(data | {"stages": 3}).stage_counts == (3,)
    with pytest.raises(InputError, match="stages: must be a list; found"):
        load_space(data | {"stages": "three"})
