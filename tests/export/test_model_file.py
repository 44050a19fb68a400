"""model.yaml: what is written is read back; what is wrong is said with file, key and rule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designspace.arch import Body, Model, RegNetParams, Skeleton, published
from designspace.arch.model_file import model_text, read_model, write_model
from designspace.errors import InputError


@pytest.mark.parametrize("name", ["RegNetX-200MF", "RegNetY-256GF", "RegNetY-10B"])
def test_published_models_survive(tmp_path, name):
    write_model(published(name), tmp_path / "m.yaml")
    assert read_model(tmp_path / "m.yaml") == published(name)


@settings(max_examples=40, deadline=None)
@given(
    d=st.integers(1, 20),
    w_0=st.integers(1, 20).map(lambda k: 8 * k),
    w_a=st.floats(0, 99),
    w_m=st.floats(1.5, 3),
    b=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    g=st.integers(1, 64),
    free=st.booleans(),
)
def test_any_model_survives(tmp_path_factory, d, w_0, w_a, w_m, b, g, free):
    regnet = RegNetParams(d, w_0, w_a, w_m, b, g)
    body = regnet.body(0.25)
    skeleton = Skeleton(33, 7, 24, 1, (1,) * body.num_stages)
    model = Model("any", body, skeleton, None if free else regnet, (("run", "results/a"),))
    path = tmp_path_factory.mktemp("model") / "m.yaml"
    write_model(model, path)
    assert read_model(path) == model


def test_parameters_alone_and_stages_alone(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(
        "name: mine\nse_ratio: 0.25\nregnet: {d: 27, w_0: 640, w_a: 230.83, w_m: 2.53, g: 373}\n"
    )
    assert read_model(path).body == published("RegNetY-256GF").body
    path.write_text(
        "name: mine\nstages: {depths: [1, 2], widths: [16, 32], bottleneck_ratios: [1, 2], "
        "group_widths: [8, 16]}\ninput: {resolution: 32, strides: [1, 2]}\n"
    )
    model = read_model(path)
    assert model.body == Body((1, 2), (16, 32), (1.0, 2.0), (8, 16))
    assert model.skeleton.classes == 1000


GOOD = model_text(published("RegNetY-400MF"))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("w_0: 48", "w_0: 50", r"regnet\.w_0: .*multiple of 8.*found 50"),
        ("w_m: 2.09", "w_m: 0.9", r"regnet\.w_m: .*greater than 1.*found 0\.9"),
        ("w_m: 2.09", "w_n: 2.09", r"regnet\.w_n: unknown key; did you mean w_m"),
        ("d: 16", "d: sixteen", r'regnet\.d: .*whole number.*found "sixteen"'),
        ("d: 16", "d: 15", "explicit stages say"),
        ("widths: [48, 104", "widths: [48, 105", "group width 8 does not divide"),
        ("widths: [48, 104, 208, 440]", "widths: [48]", "widths has 1 values for 4 depths"),
        ("flops: 401849056", "flops: 401849057", r"cost\.flops: 401849057; .* 401849056.*edited"),
        ("resolution: 224", "resolution: 0", r"input\.resolution: .*found 0"),
        ("strides: [2, 2, 2, 2]", "strides: [2, 2, 2]", "4 stages but 3 strides"),
        ("name: RegNetY-400MF", "name: ../up", r'name: .*found "../up"'),
        ("name: RegNetY-400MF", "name: !!python/name:os.system", "could not determine|tag"),
        ("se_ratio: 0.25", "se_ratio: 2", r"se_ratio: .*less than or equal to 1.*found 2"),
    ],
)
def test_mistakes_are_named(tmp_path, before, after, message):
    path = tmp_path / "bad.yaml"
    assert before in GOOD
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(InputError, match=message) as caught:
        read_model(path)
    assert "bad.yaml" in str(caught.value)


def test_nothing_to_build_is_refused(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("name: mine\n")
    with pytest.raises(InputError, match=r"needs `regnet`.* or explicit `stages`"):
        read_model(path)
