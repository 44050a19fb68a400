"""Axes that are fixed stage by stage."""

import numpy as np
import pytest
import yaml

import designspace as ds
from designspace.errors import InputError
from designspace.space import load_space, sample
from designspace.studies.claim_parameters import parameter_names

RESNET = {"distribution": "fixed", "values": [3, 4, 6, 3]}


def resnets(parent="AnyNetXC@32", **changes):
    return load_space(parent).narrow(
        name="resnets", reason="ResNet-50's depths.", d=RESNET, **changes
    )


def test_every_network_has_the_values_and_nothing_is_drawn_for_them():
    parent, space = load_space("AnyNetXC@32"), resnets()
    population = sample(space, 50).population
    assert (population.bodies.depths == [3, 4, 6, 3]).all()
    assert np.ptp(population.bodies.widths, axis=0).all()
    # AnyNetXC has d and w of each stage, and one b and g: 10 dimensions, of which 4 are depths.
    assert (parent.dimensions, space.dimensions) == (10, 6)
    assert (parent.columns, space.columns) == (10, 6)
    assert space.exact_size * len(parent.axes["d"]) ** 4 == parent.exact_size
    assert space.paper_size * len(parent.axes["d"]) ** 4 == pytest.approx(parent.paper_size)


def test_the_order_of_the_values_counts():
    space = resnets()
    turned = load_space("AnyNetXC@32").narrow(
        name="t", reason="r", d={"distribution": "fixed", "values": [3, 6, 4, 3]}
    )
    listed = load_space("AnyNetXC@32").narrow(name="l", reason="r", d=[3, 4, 6])
    assert len({space.hash, turned.hash, listed.hash}) == 3
    assert load_space(space.source).hash == space.hash


def test_it_is_shown_as_in_the_file(cli, tmp_path):
    space = resnets()
    assert "d [3, 4, 6, 3], w 8 to " in repr(space)
    assert "<td>[3, 4, 6, 3]</td><td>1</td><td>fixed</td>" in space._repr_html_()
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nparent: AnyNetXC\nreason: r\n"
        "axes: {d: {distribution: fixed, values: [3, 4, 40, 3]}}\n"
    )
    shown = cli("spaces", file).out
    assert "d:\n    distribution: fixed\n    values: [3.0, 4.0, 40.0, 3.0]\n" in shown
    assert "# 6 dimensions" in shown
    # A setting lowers what is above its upper end.
    highest = load_space("AnyNetXC@32").axes["d"].values[-1]
    assert load_space(f"{file}@32").axes["d"].values.tolist() == [3, 4, highest, 3]


def test_networks_of_fewer_stages_take_the_first_values():
    values = {"distribution": "fixed", "values": [1, 3, 2, 1, 2]}
    several = load_space("AnyNetXE-stages@8")
    space = several.narrow(name="s", reason="r", monotone={"d": None}, d=values)
    bodies = sample(space, 60).population.bodies
    assert {body.depths for body in map(bodies.body, range(60))} == {
        (1, 3, 2),
        (1, 3, 2, 1),
        (1, 3, 2, 1, 2),
    }


@pytest.mark.parametrize(
    ("parent", "changes", "message"),
    [
        ("AnyNetXC@32", {"d": {**RESNET, "values": [3, 4, 6]}}, "d: 3 fixed values for 4 stages"),
        ("AnyNetXC@32", {"d": RESNET, "share": ["b", "g", "d"]}, "share: d is fixed"),
        ("AnyNetXC@32", {"d": RESNET, "monotone": {"d": "increasing"}}, "monotone: d is fixed"),
        ("AnyNetXC@32", {"d": RESNET, "distinct": {"d": 4}}, "distinct: d is fixed"),
        ("AnyNetXC@32", {"d": RESNET, "total_depth": {"high": 15}}, "stages have at least 16"),
        ("AnyNetXC@32", {"d": RESNET, "total_depth": {"low": 17}}, "stages have at most 16"),
        ("AnyNetXC@32", {"d": {**RESNET, "values": [3, 4, 0.5, 3]}}, "axes.d: "),
        ("AnyNetXC@32", {"d": {"distribution": "fixed", "low": 3}}, "axes.d"),
        ("RegNetX@32", {"d": {**RESNET, "values": [9]}}, "axes.d: fixed is for anynet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_named(parent, changes, message):
    with pytest.raises(InputError, match=message):
        load_space(parent).narrow(name="m", reason="r", **changes)


def test_a_child_replaces_it_whole():
    space = resnets()
    with pytest.raises(InputError, match=r"d is \(3, 4\); resnets has it fixed"):
        space.narrow(name="m", reason="r", d=(3, 4))
    ranged = {"distribution": "uniform", "low": 1, "high": 9, "step": 1}
    assert len(space.narrow(name="m", reason="r", d=ranged).axes["d"]) == 9
    assert space.narrow(name="m", reason="r", w=(16, 64)).axes["d"].fixed


def test_findings_refine_and_derive_leave_it_alone(tmp_path):
    ratios = {"distribution": "fixed", "values": [1, 2, 1, 2]}
    space = resnets("AnyNetXA@8", b=ratios, share=["g"], w=(8, 64))
    run = ds.sample(space, n=40, seed=1).save(tmp_path / "run")
    widths = run.population().bodies.widths[:, 0]
    for i in range(len(run)):
        run.record(i, error=float(40 + widths[i] / 8 + i % 3))
    findings = ds.analyze([run])
    findings.save(tmp_path / "findings")
    tested = {trend.name for trend in findings.populations[0].trends}
    assert "w1" in tested
    assert not {"d", "d1", "d2", "b", "b1"} & tested
    refined = ds.refine(findings, run)
    claims = [proposal.claim for proposal in refined.proposals]
    assert claims
    assert not [claim for claim in claims if claim.startswith(("d ", "b ", "depths", "one b"))]
    assert ds.derive(source=tmp_path / "findings", flops="400K").body.num_stages == 4


def test_ratios_that_differ_between_stages_are_no_regnets(tmp_path):
    ratios = {"distribution": "fixed", "values": [1, 2, 1, 2]}
    space = load_space("AnyNetXE@8").narrow(name="e", reason="r", b=ratios, share=["g"])
    run = ds.sample(space, n=24, seed=1).save(tmp_path / "run")
    for i in range(len(run)):
        run.record(i, error=40.0 + i % 5)
    claims = [proposal.claim for proposal in ds.refine(ds.analyze([run]), run).proposals]
    assert "4 distinct widths" in claims
    assert "widths that follow the quantized linear rule" not in claims


def test_a_study_may_set_it_to_one_value(tmp_path):
    ratios = {"distribution": "fixed", "values": [1, 2, 1, 2]}
    space = load_space("AnyNetXE@8").narrow(name="e", reason="r", b=ratios, share=["g"])
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(dict(space.source)))
    study = {
        **{"name": "s", "data": "digits", "recipe": "quick", "n": 4},
        "populations": {
            "e": {"space": "e.yaml"},
            "one": {"same_as": "e", "toggle": {"b": 1}},
        },
        "reports": {"report": {"populations": ["e", "one"]}},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert ds.Study.load(tmp_path / "study.yaml").plan().models == 8
    names = parameter_names(space)
    assert "b" not in names
    assert {"b1", "b2", "b3", "b4"} <= set(names)
